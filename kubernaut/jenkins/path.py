"""The name of a job, folders and all, checked before it becomes a part of a URL."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from kubernaut.errors import JobInvalid

_REFUSED = frozenset("?*/\\%!@#$^&|<>[]:;")  # Jenkins refuses the same
_LONGEST = 255  # a job is a folder on the server's disk


@dataclass(frozen=True)
class JobPath:
    """A job, by the names of its folders and its own.

    Attributes:
        segments: At least one; each is a name that Jenkins and every URL take as it is.
    """

    segments: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> JobPath:
        """Read ``FOLDER/…/NAME``.

        Raises:
            JobInvalid: A segment is empty, has dots alone, a blank at an end, or a character that names of jobs cannot have.
        """
        segments = tuple(text.split("/"))
        for segment in segments:
            fault = _fault(segment)
            if fault is not None:
                raise JobInvalid(f"{_shown(text)!r} names no job: {fault}.", hint=_HINT)
        return cls(segments)

    @property
    def name(self) -> str:
        """The job's own name."""
        return self.segments[-1]

    @property
    def url_path(self) -> str:
        """The path on the server, such as ``job/team/job/shop-release``; quoted, without slashes at its ends."""
        return "/".join(f"job/{quote(segment, safe='')}" for segment in self.segments)

    def __str__(self) -> str:
        return "/".join(self.segments)


_HINT = "A job is named as in `team/shop-release`: its folders and its name, without `job/` between them."


def _fault(segment: str) -> str | None:
    """Say what is wrong with a name. Letters of any script, emoji and inner blanks are not: URLs have them quoted."""
    if not segment:
        return "a part between slashes is empty"
    if segment != segment.strip() or segment.endswith("."):
        return "a part begins or ends with a blank, or ends with a dot"
    refused = next((char for char in segment if char in _REFUSED or not char.isprintable()), None)
    if refused is not None:
        return f"{refused!r} cannot be in a name"
    if len(segment.encode()) > _LONGEST:
        return f"a part has more than {_LONGEST} bytes"
    return None


def _shown(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:79]}…"
