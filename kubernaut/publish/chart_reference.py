"""What names a chart in a registry. Pure.

Helm takes paths, URLs and names of repositories for a chart too, and fetches each from wherever it leads. Here there is one form:
in a registry, by tag or by digest, without a user.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from kubernaut.errors import BadInput

_LONGEST = 512
_HOST = r"[a-z0-9]+(?:(?:\.|-+)[a-z0-9]+)*(?::(?P<port>[1-9][0-9]{0,4}))?"
_PATH = r"(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)+"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}"
_DIGEST = r"sha256:[0-9a-f]{64}"
_REFERENCE = re.compile(rf"oci://(?P<repository>{_HOST}{_PATH})(?::(?P<tag>{_TAG})|@(?P<digest>{_DIGEST}))")


@dataclass(frozen=True)
class ChartReference:
    """A chart in a registry: ``tag`` or ``digest`` says which one of its repository."""

    repository: str
    tag: str | None = None
    digest: str | None = None

    def __str__(self) -> str:
        return f"{self.repository}:{self.tag}" if self.digest is None else f"{self.repository}@{self.digest}"

    @property
    def name(self) -> str:
        """The chart's name, by which Helm pushes it."""
        return self.repository.rpartition("/")[2]

    @property
    def which(self) -> str:
        """The tag or the digest."""
        return self.digest or self.tag or ""

    @classmethod
    def parse(cls, text: str) -> ChartReference:
        """Read ``oci://HOST[:PORT]/PATH:VERSION`` or ``…@sha256:DIGEST``; what else stands there may be a secret, and is not told.

        Raises:
            BadInput: It is something else.
        """
        match = _REFERENCE.fullmatch(text) if len(text) <= _LONGEST else None
        if match is None or int(match["port"] or 1) > 65_535:
            raise BadInput(
                "The chart's reference cannot be used.",
                hint="Name it as oci://HOST[:PORT]/PATH:VERSION or oci://HOST[:PORT]/PATH@sha256:DIGEST, without a user, "
                "host and path in lower case.",
            )
        return cls(match["repository"], match["tag"], match["digest"])
