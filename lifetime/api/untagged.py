"""What an application is based on that was never tagged. Clients need a version's key wherever it is published."""

from uuid import UUID, uuid5

VERSION = "0.0"


def key_of(application_key: str | UUID) -> str:
    """The key that stands for "no version yet" of this application; always the same."""
    return str(uuid5(UUID(str(application_key)), "untagged"))
