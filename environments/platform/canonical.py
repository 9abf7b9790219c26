"""Canonical JSON and digests: equal documents have equal bytes on both sides."""

import hashlib
import json
from typing import Any

LARGEST_BODY = 16 * 1024 * 1024


class MalformedError(ValueError):
    """The bytes are no JSON document that both sides would read alike."""


def canonical(value: Any) -> bytes:
    """The one way to write a document: sorted keys, no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest(body: bytes) -> str:
    """The digest of a document written by `canonical`."""
    return "sha256:" + hashlib.sha256(body).hexdigest()


def parse(body: bytes) -> Any:
    """Read a document; refuse what parsers disagree about: repeated names, NaN, half surrogates, deep nesting."""
    try:
        value = json.loads(body.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
        canonical(value)
    except RecursionError:
        raise MalformedError("the document is nested too deeply") from None
    except UnicodeEncodeError:
        raise MalformedError("a string holds half a surrogate pair") from None
    except UnicodeDecodeError:
        raise MalformedError("the body is not UTF-8") from None
    except ValueError as error:
        raise MalformedError(str(error)) from None
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("an object names a member twice")
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
