"""A text that is encrypted at rest: the column `sealed_<name>` holds the ciphertext, the attribute `<name>` the text.

Rows are loaded without decrypting; only who reads the attribute pays for it.
"""

import base64
import hashlib
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings

if TYPE_CHECKING:
    from django.db.models import Model


def seal(text: str) -> str:
    """The ciphertext, by the first of `ENCRYPTION_KEYS`; an empty text stays empty."""
    return _fernet(tuple(settings.ENCRYPTION_KEYS)).encrypt(text.encode()).decode() if text else ""


def unseal(ciphertext: str) -> str:
    """The text, by whichever key sealed it; ValueError when none of them did."""
    return _unsealed(ciphertext, tuple(settings.ENCRYPTION_KEYS)) if ciphertext else ""


# Every contact needs its environment's token. Whoever can read this process's memory finds the keys there as well.
@lru_cache(maxsize=2048)
def _unsealed(ciphertext: str, keys: tuple[str, ...]) -> str:
    try:
        return _fernet(keys).decrypt(ciphertext.encode()).decode()
    except InvalidToken:
        raise ValueError("None of LIFETIME_ENCRYPTION_KEYS opens this value.") from None


class SealedText:
    """Descriptor of the plain text beside its column `sealed_<name>`."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._column = f"sealed_{name}"

    def __get__(self, instance: "Model", owner: type) -> str:
        return unseal(getattr(instance, self._column))

    def __set__(self, instance: "Model", text: str) -> None:
        setattr(instance, self._column, seal(text))


@cache
def _fernet(keys: tuple[str, ...]) -> MultiFernet:
    digests = [hashlib.sha256(key.encode()).digest() for key in keys]
    return MultiFernet([Fernet(base64.urlsafe_b64encode(digest)) for digest in digests])
