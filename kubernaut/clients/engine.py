"""The Docker engine, through docker-py; the only file that imports ``docker``.

Builds from a context that is handed in as a tar stream, pushes, and reads credentials as the Docker command line does. It decides
nothing about names or versions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO


@dataclass(frozen=True)
class Credentials:
    """What a registry wants to see; ``secret`` never appears in a repr."""

    username: str
    secret: str


class Engine:
    """A Docker engine at ``docker_host`` (``None``: the platform's default socket; never a CLI context)."""

    def __init__(self, docker_host: str | None = None, *, timeout: float = 600.0) -> None: ...

    def check(self) -> str:
        """Return the engine's version. Raises: EngineUnreachable."""
        raise NotImplementedError

    def find_image(self, labels: Mapping[str, str]) -> str | None:
        """Return the id (``sha256:…``) of the newest local image with these labels."""
        raise NotImplementedError

    def build(
        self,
        context: IO[bytes],
        *,
        dockerfile: str,
        tag: str,
        target: str | None,
        args: Mapping[str, str],
        labels: Mapping[str, str],
        log: Callable[[str], None],
    ) -> str:
        """Build and tag an image, streaming the output to ``log``; return its id. Raises: BuildFailed, EngineUnreachable."""
        raise NotImplementedError

    def push(self, repository: str, tag: str, *, credentials: Credentials | None, log: Callable[[str], None]) -> str:
        """Push a tag; return the manifest digest that the registry gave. Raises: RegistryUnreachable, RegistryDenied, …"""
        raise NotImplementedError

    def tag(self, image: str, repository: str, tag: str) -> None:
        """Give an image another name."""
        raise NotImplementedError


def context_paths(context: Path, dockerfile: str) -> Sequence[str]:
    """Return the sorted relative paths of a build context after ``.dockerignore``, as the engine itself would see it."""
    raise NotImplementedError


def credentials_for(registry: str, docker_config: str | None) -> Credentials | None:
    """Return the credentials that ``docker login`` stored for a registry, asking its credential helpers."""
    raise NotImplementedError
