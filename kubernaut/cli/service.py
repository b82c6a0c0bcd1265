"""What the commands ask for, whoever carries it out: this process, or a server for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Unpack

from kubernaut.interface import Built, Deployed, DeployOptions, Options, Published

if TYPE_CHECKING:
    from kubernaut.history.detail import ReleaseReport
    from kubernaut.history.diff import Difference
    from kubernaut.history.releases import Release, ReleaseList
    from kubernaut.publish.registry import PublishedVersion


class Verbs(Protocol):
    """What a server can do as well as the library: :class:`kubernaut.Kubernaut` and :class:`kubernaut.client.Client` have it."""

    def list(self, *, namespace: str | None = None, all: bool = False) -> ReleaseList:
        """Return the active releases, or all."""

    def show(self, release: str, *, namespace: str | None = None, revision: int | None = None) -> Release:
        """Return one release."""

    def history(self, release: str, *, namespace: str | None = None) -> ReleaseList:
        """Return all releases of a name."""

    def versions(self, name: str) -> Sequence[PublishedVersion]:
        """Return the published versions."""

    def manifest(self, release: str, *, namespace: str | None = None, revision: int | None = None) -> str:
        """Return what was applied."""

    def values(
        self, release: str, *, namespace: str | None = None, revision: int | None = None, all: bool = False
    ) -> dict[str, Any]:
        """Return the values."""

    def diff(self, release: str, to: str | None = None, *, namespace: str | None = None, revision: int | None = None) -> Difference:
        """Return what differs between two releases."""

    def report(self, release: str, *, namespace: str | None = None, revision: int | None = None) -> ReleaseReport:
        """Return a release and how it came to be."""

    def deploy(
        self,
        name: str,
        *,
        namespace: str,
        version: str | None = None,
        pre: bool = False,
        chart: str | None = None,
        digest: str | None = None,
        **options: Unpack[DeployOptions],
    ) -> Deployed:
        """Put a version into a namespace."""

    def rollback(
        self, release: str, *, namespace: str | None = None, revision: int | None = None, **options: Unpack[Options]
    ) -> Deployed:
        """Make a new release of an older one."""

    def delete(
        self, release: str, *, namespace: str | None = None, revision: int | None = None, **options: Unpack[Options]
    ) -> Deployed:
        """Delete softly."""

    def restore(
        self, release: str, *, namespace: str | None = None, revision: int | None = None, **options: Unpack[Options]
    ) -> Deployed:
        """Undo a delete."""


class Service(Verbs, Protocol):
    """All that the commands ask for; what needs this machine or the cluster itself, too."""

    def build(self, app_dir: str | Path, *, version: str | None = None, dry_run: bool = False) -> Built:
        """Build the image alone."""

    def publish(
        self, app_dir: str | Path, *, version: str | None = None, image: str | None = None, dry_run: bool = False
    ) -> Published:
        """Make a version."""

    def ship(
        self, app_dir: str | Path, *, namespace: str, version: str | None = None, **options: Unpack[DeployOptions]
    ) -> Deployed:
        """Make a version and deploy it."""

    def logs(
        self,
        release: str,
        *,
        namespace: str | None = None,
        follow: bool = False,
        tail: int | None = None,
        previous: bool = False,
    ) -> Iterator[str]:
        """Yield what the pods say."""

    def unlock(self, release: str, *, namespace: str | None = None, note: str | None = None, dry_run: bool = False) -> Deployed:
        """Take a release from a holder that is dead."""
