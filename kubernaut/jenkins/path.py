"""The name of a job, folders and all, checked before it becomes a part of a URL."""

from __future__ import annotations

from dataclasses import dataclass


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
        raise NotImplementedError

    @property
    def name(self) -> str:
        """The job's own name."""
        return self.segments[-1]

    @property
    def url_path(self) -> str:
        """The path on the server, such as ``job/team/job/shop-release``; quoted, without slashes at its ends."""
        raise NotImplementedError

    def __str__(self) -> str:
        return "/".join(self.segments)
