"""What a client prefers: how long it waits (``Prefer``, RFC 7240), and whether it reads a stream (``Accept``, RFC 9110). Pure.

Preferences are no demands: what cannot be read is passed over, as if it had not been sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from kubernaut.server.http.routing import EVENT_STREAM, JSON

LONGEST_WAIT = 300
"""Seconds; who prefers to wait longer waits as long, and is told so by ``Preference-Applied``."""

_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_ELEMENT = re.compile(rf"(?:[^,\"]|{_QUOTED})+")
_PREFERENCE = re.compile(rf"[ \t]*({_NAME})(?:[ \t]*=[ \t]*({_NAME}|{_QUOTED}))?[ \t]*(?:;|$)")
_QUALITY = re.compile(r"q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)", re.IGNORECASE)


@dataclass(frozen=True)
class Preferences:
    """What ``Prefer`` says, as far as it concerns us.

    Attributes:
        wait: For how many seconds the client waits for the end; ``None`` where it does not say, and then nobody waits.
    """

    wait: int | None = None

    @property
    def applied(self) -> dict[str, str]:
        """The header that says what was honoured."""
        return {} if self.wait is None else {"Preference-Applied": f"wait={self.wait}"}


def preferences(header: str | None) -> Preferences:
    """Read ``Prefer``: of a preference that is named twice, the first counts, and what is malformed is ignored."""
    found: dict[str, str] = {}
    for element in _ELEMENT.findall(header or ""):
        match = _PREFERENCE.match(element)
        if match:
            found.setdefault(match[1].lower(), (match[2] or "").strip('"'))
    wait = found.get("wait", "")
    return Preferences(min(int(wait), LONGEST_WAIT) if re.fullmatch(r"[0-9]{1,9}", wait) else None)


def prefers_stream(accept: str | None) -> bool:
    """Say whether ``Accept`` prefers server-sent events to JSON; who takes both alike gets JSON."""
    ranges = dict(_ranges(accept or "*/*"))
    return _quality(ranges, EVENT_STREAM) > _quality(ranges, JSON)


def _ranges(accept: str) -> Iterator[tuple[str, float]]:
    for element in _ELEMENT.findall(accept):
        media, *parameters = (part.strip() for part in element.split(";"))
        qualities = (match[1] for part in parameters if (match := _QUALITY.fullmatch(part)))
        yield media.lower(), float(next(qualities, 1.0))


def _quality(ranges: dict[str, float], media: str) -> float:
    """Return how much a media type is wanted, by the most exact range that fits it."""
    fitting = (media, f"{media.partition('/')[0]}/*", "*/*")
    return next((ranges[one] for one in fitting if one in ranges), 0.0)
