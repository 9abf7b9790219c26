"""What others say, as far as it can be shown and stored."""


def printable(text: str, *, instead: str = " ") -> str:
    """The text with something else for each character that cannot be printed."""
    return "".join(character if character.isprintable() else instead for character in text)
