"""The cursor of a list: which release was shown last, so that the next page begins after it. Pure.

It is a place in the order and not a number, so that nothing is skipped or shown twice when releases come and go between two pages.
To a client it is opaque; only what :func:`encode` writes is read.
"""

from __future__ import annotations

import base64
import json

from kubernaut.errors import RequestInvalid

Place = tuple[str, str, int]
"""Namespace, name and revision."""

LONGEST = 800
_LONGEST_NAME = 253
_LARGEST_REVISION = 2**63


def encode(place: Place) -> str:
    """Return the cursor of a place."""
    text = json.dumps(place, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode("ascii")


def decode(cursor: str) -> Place:
    """Return the place that a cursor names. Raises: RequestInvalid."""
    place = _place(cursor)
    if place is None or encode(place) != cursor:
        raise RequestInvalid(
            "The cursor is none that this server gave.", hint="Take it from `next` of the page before; without one the list begins."
        )
    return place


def _place(cursor: str) -> Place | None:
    try:
        match json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)):
            case [str(namespace), str(name), int(revision)] if not isinstance(revision, bool):
                return (namespace, name, revision) if _is_possible(namespace, name, revision) else None
    except (ValueError, RecursionError):
        return None
    return None


def _is_possible(namespace: str, name: str, revision: int) -> bool:
    return 0 < len(namespace) <= _LONGEST_NAME and 0 < len(name) <= _LONGEST_NAME and 0 <= revision < _LARGEST_REVISION
