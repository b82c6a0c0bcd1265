"""class Kubernaut: the verbs.

Ties the rooms together and holds the clients, each made when first needed. It decides nothing itself: ``build`` knows what a
version is, ``deploy`` what a deploy has to do, ``history`` what was done.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kubernaut.events import Listener, ignore
from kubernaut.model import Plan
from kubernaut.settings import Settings, load_settings

if TYPE_CHECKING:
    from kubernaut.build.publication import BuiltImage
    from kubernaut.build.registry import PublishedVersion
    from kubernaut.history.release import Release, ReleaseList


@dataclass(frozen=True)
class Built:
    """What ``build`` did: the image (``None`` on a dry run), the plan, whether anything changed."""

    plan: Plan
    changed: bool
    image: BuiltImage | None


@dataclass(frozen=True)
class Published:
    """What ``publish`` did: the version (``None`` on a dry run of one that is not published yet), the plan, whether anything changed."""

    plan: Plan
    changed: bool
    version: PublishedVersion | None


@dataclass(frozen=True)
class Deployed:
    """What ``deploy``, ``ship``, ``rollback``, ``delete`` and ``restore`` did: the release afterwards (on a dry run: as it is)."""

    plan: Plan
    changed: bool
    release: Release | None


class Kubernaut:
    """The verbs, for build scripts, the command line and the REST server alike.

    Args:
        settings: The settings; read from kubernaut.toml and the environment by default.
        listener: Is told of every step (:mod:`kubernaut.events`).
    """

    def __init__(self, settings: Settings | None = None, *, listener: Listener = ignore) -> None:
        self.settings = settings or load_settings()

    def build(self, app_dir: str | Path, *, version: str | None = None, dry_run: bool = False) -> Built:
        """Build the image alone."""
        raise NotImplementedError

    def publish(
        self, app_dir: str | Path, *, version: str | None = None, image: str | None = None, dry_run: bool = False
    ) -> Published:
        """Build, push, package and publish a version."""
        raise NotImplementedError

    def deploy(
        self,
        name: str,
        *,
        namespace: str,
        version: str | None = None,
        pre: bool = False,
        values: Sequence[str | Path | Mapping[str, Any]] = (),
        set: Sequence[str] = (),
        environment: str | None = None,
        note: str | None = None,
        timeout: float | None = None,
        create_namespace: bool = False,
        on_failure: Literal["rollback", "keep"] | None = None,
        reuse_values: bool = False,
        dry_run: bool = False,
    ) -> Deployed:
        """Put a published version into a namespace."""
        raise NotImplementedError

    def ship(
        self,
        app_dir: str | Path,
        *,
        namespace: str,
        version: str | None = None,
        values: Sequence[str | Path | Mapping[str, Any]] = (),
        set: Sequence[str] = (),
        environment: str | None = None,
        note: str | None = None,
        timeout: float | None = None,
        create_namespace: bool = False,
        on_failure: Literal["rollback", "keep"] | None = None,
        reuse_values: bool = False,
        dry_run: bool = False,
    ) -> Deployed:
        """Publish the application, then deploy that version."""
        raise NotImplementedError

    def list(self, *, namespace: str | None = None, all: bool = False) -> ReleaseList:
        """Return the active releases, or every release in the history."""
        raise NotImplementedError

    def show(self, release: str, *, namespace: str | None = None, revision: int | None = None) -> Release:
        """Return one release: an id (``NAMESPACE.NAME.vN``, ``NAMESPACE.NAME.current``), or a name with a namespace."""
        raise NotImplementedError

    def history(self, release: str, *, namespace: str | None = None) -> ReleaseList:
        """Return all releases of a name in a namespace, newest first."""
        raise NotImplementedError

    def rollback(
        self,
        release: str,
        *,
        namespace: str | None = None,
        revision: int | None = None,
        note: str | None = None,
        timeout: float | None = None,
        dry_run: bool = False,
    ) -> Deployed:
        """Make a new release with an older one's chart and values; the one before the current by default."""
        raise NotImplementedError

    def delete(
        self,
        release: str,
        *,
        namespace: str | None = None,
        note: str | None = None,
        timeout: float | None = None,
        dry_run: bool = False,
    ) -> Deployed:
        """Soft delete: the workload goes, the history stays."""
        raise NotImplementedError

    def restore(
        self,
        release: str,
        *,
        namespace: str | None = None,
        note: str | None = None,
        timeout: float | None = None,
        dry_run: bool = False,
    ) -> Deployed:
        """Bring a soft-deleted release back, as it was."""
        raise NotImplementedError

    def logs(
        self, release: str, *, namespace: str | None = None, follow: bool = False, tail: int | None = None, previous: bool = False
    ) -> Iterator[str]:
        """Yield what the release's pods say, each line with its pod's name before it."""
        raise NotImplementedError

    def versions(self, name: str) -> Sequence[PublishedVersion]:
        """Return the published versions, newest first."""
        raise NotImplementedError
