"""The password rule of IT users: at least 12 characters (Django's own validator) with digit, lower and upper case."""

from django.core.exceptions import ValidationError

NEEDED = {"a digit": str.isdigit, "a lower-case letter": str.islower, "an upper-case letter": str.isupper}


class MixedCharacters:
    def validate(self, password: str, user: object = None) -> None:
        missing = [name for name, has in NEEDED.items() if not any(has(character) for character in password)]
        if missing:
            raise ValidationError(f"This password needs {' and '.join(missing)}.", code="password_not_mixed")

    def get_help_text(self) -> str:
        return "Your password must contain a digit, a lower-case and an upper-case letter."
