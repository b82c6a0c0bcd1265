"""The verbs on releases: their signatures, the options that they take and the results that they return.

:class:`kubernaut.Kubernaut` runs them in this process, :class:`kubernaut.client.Client` has a server run them. Their documentation
and their options stand here once; mypy checks the signatures of both classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypedDict, Unpack

from kubernaut.models import Plan

if TYPE_CHECKING:
    from kubernaut.history.detail import Difference, ReleaseReport
    from kubernaut.history.explain import ReleaseExplanation
    from kubernaut.history.operations import Operation
    from kubernaut.history.releases import Release, ReleaseList
    from kubernaut.publish.pipeline import BuiltImage
    from kubernaut.publish.version import PublishedVersion, PublishedVersions


@dataclass(frozen=True)
class Built:
    """The result of a build: the plan, whether anything was built, and the image (``None`` on a dry run)."""

    plan: Plan
    changed: bool
    image: BuiltImage | None


@dataclass(frozen=True)
class Published:
    """The result of a publish: the plan, whether anything was pushed, and the version (``None`` on a dry run of a new one)."""

    plan: Plan
    changed: bool
    version: PublishedVersion | None


@dataclass(frozen=True)
class Deployed:
    """The result of a verb that changes a release: the plan, whether anything changed, and the release afterwards.

    On a dry run ``release`` is the current one, if any. ``operation`` is the accepted operation that was not waited for.
    """

    plan: Plan
    changed: bool
    release: Release | None
    operation: Operation | None = None

    def after(self, published: Published) -> Deployed:
        """Return the result of a publish and this deploy of its version, as one."""
        plan = self.plan.model_copy(update={"actions": (*published.plan.actions, *self.plan.actions)})
        return Deployed(plan, published.changed or self.changed, self.release, self.operation)


class OperationOptions(TypedDict, total=False):
    """The options of every verb that changes a release.

    Attributes:
        note: A line for the release history.
        timeout: Seconds that the operation may take; the setting by default.
        lock_timeout: Seconds to wait for another operation on the release, 0 to fail at once; the setting by default.
        dry_run: Only return the plan.
        diff: With ``dry_run`` for a deploy or a rollback: return a plan with what would change (``Preview``).
        if_match: The ETag that the named release (for a deploy, the current one) must have, else ``ReleaseChanged``.
        no_hooks: Leave out the chart's hooks, also those of an unfinished delete that has to be finished first.
        operation: The operation from :meth:`Kubernaut.accept` that this call runs.
        wait: Whether to wait until the operation has ended; ``False`` only on a server, which continues it.
    """

    note: str | None
    timeout: float | None
    lock_timeout: float | None
    dry_run: bool
    diff: bool
    if_match: str | None
    no_hooks: bool
    operation: Operation | None
    wait: bool


class ReleaseOptions(OperationOptions, total=False):
    """The options of the verbs on an existing release.

    Attributes:
        namespace: The release's namespace, unless it is named by its ID.
        revision: A revision of the release; the verb says which by default.
    """

    namespace: str | None
    revision: int | None


class RollbackOptions(ReleaseOptions, total=False):
    """The options of a rollback and a restore.

    Attributes:
        on_conflict: Whether to ``take`` fields that others have changed since, which Helm 4 refuses, or to ``fail``; ``take`` by
            default.
        take_ownership: Adopt objects of the revision that exist and do not belong to the release.
    """

    on_conflict: Literal["fail", "take"] | None
    take_ownership: bool


class ShipOptions(OperationOptions, total=False):
    """The options of :meth:`Kubernaut.ship`.

    Attributes:
        version: The version; for ``ship`` counted from git by default, for ``deploy`` the newest stable one.
        values: YAML files, or mappings; later ones win.
        set: ``KEY=VALUE`` in Helm's syntax; wins over ``values`` and ``set_json``.
        set_string: ``KEY=VALUE`` in Helm's syntax, with texts as values; wins over ``set``.
        set_json: ``KEY=JSON`` in Helm's syntax, or a JSON object; wins over ``values``.
        set_file: ``KEY=PATH`` in Helm's syntax: each value is the text of a file; wins over ``set_string``.
        set_literal: ``KEY=VALUE``, with a text that has no syntax as value; wins over all others.
        environment: The environment whose packaged values are used; the one named like the namespace by default, if any.
        create_namespace: Create the namespace if it does not exist.
        on_failure: ``rollback`` or ``keep``; as ``kubernaut.yaml`` says by default.
        reuse_values: Merge the values given here over those of the current release.
        skip_crds: Do not install the chart's ``crds/`` with the first release.
        on_conflict: Whether to ``take`` fields that others have changed since, which Helm 4 refuses, or to ``fail``; ``fail`` by
            default, ``take`` with ``take_ownership``.
        take_ownership: Adopt objects that exist and do not belong to the release.
        always: Apply the release even if nothing has changed.
    """

    version: str | None
    values: Sequence[str | Path | Mapping[str, Any]]
    set: Sequence[str]
    set_string: Sequence[str]
    set_json: Sequence[str]
    set_file: Sequence[str]
    set_literal: Sequence[str]
    environment: str | None
    create_namespace: bool
    on_failure: Literal["rollback", "keep"] | None
    reuse_values: bool
    skip_crds: bool
    on_conflict: Literal["fail", "take"] | None
    take_ownership: bool
    always: bool


class DeployOptions(ShipOptions, total=False):
    """The options of :meth:`Kubernaut.deploy`.

    Attributes:
        application: The application whose version is deployed; by default the one with the release's name.
        pre: Without a version: the newest one, pre-releases included.
        chart: A chart to deploy instead of a version: ``oci://HOST/PATH``, with ``:VERSION``, ``@sha256:…`` or both after it;
            ``https://REPOSITORY/NAME@VERSION``; a folder with ``Chart.yaml``, or a ``.tgz`` file. Only the first of a server.
        digest: The digest that the chart must have, else ``VersionConflict``.
    """

    application: str | None
    pre: bool
    chart: str | Path | None
    digest: str | None


class LogOptions(TypedDict, total=False):
    """The options of :meth:`kubernaut.Kubernaut.logs`.

    Attributes:
        follow: Wait for new lines.
        tail: Only the last lines of each container.
        previous: The logs from before each container's last restart.
        container: Only the containers of this name, also init containers; by default all except init containers.
        since: Only lines of the last so many seconds.
    """

    follow: bool
    tail: int | None
    previous: bool
    container: str | None
    since: float | None


def check_options(options: Mapping[str, Any], known: type) -> None:
    """Check the names of keyword arguments against a class of options. Raises: TypeError."""
    for name in options:
        if name not in known.__annotations__:
            raise TypeError(f"unexpected keyword argument {name!r}; {known.__name__} has {', '.join(known.__annotations__)}")


class ReleaseVerbs(Protocol):
    """The verbs on releases, in this process or on a server.

    A release is named by its ID (``NAMESPACE.NAME.vN``, ``NAMESPACE.NAME.current``), or by its name with ``namespace``. Every verb
    raises :class:`kubernaut.KubernautError` when it fails.
    """

    def list(self, *, namespace: str | None = None, all: bool = False, health: bool = False) -> ReleaseList:
        """Return the active releases of one namespace or of all; with ``all``, every release in the history.

        Args:
            namespace: Only releases in this namespace.
            all: Also releases that are not active.
            health: Read the health of each release too, which takes a request for each kind of their objects.
        """

    def show(self, release: str, *, namespace: str | None = None, revision: int | None = None) -> Release:
        """Return one release with its health; for a name, the current one."""

    def history(self, release: str, *, namespace: str | None = None) -> ReleaseList:
        """Return all releases of a name in a namespace, newest first."""

    def versions(self, name: str) -> PublishedVersions:
        """Return the published versions of an application, newest first."""

    def manifest(self, release: str, *, namespace: str | None = None, revision: int | None = None) -> str:
        """Return the applied manifest of a release as YAML, hooks last, secrets masked.

        Raises:
            Conflict: The release's record is damaged.
        """

    def values(
        self, release: str, *, namespace: str | None = None, revision: int | None = None, all: bool = False
    ) -> dict[str, Any]:
        """Return the values of a release, secrets masked; with ``all``, merged over the chart's defaults.

        Raises:
            Conflict: The release's record is damaged.
        """

    def diff(self, release: str, to: str | None = None, *, namespace: str | None = None, revision: int | None = None) -> Difference:
        """Return the difference from a release to ``to``; without ``to``, from its predecessor to the release.

        Args:
            release: The release.
            to: The other release: an ID, or a revision of the same name.
            namespace: The release's namespace, unless it is named by its ID.
            revision: The revision of the name; the current one by default.

        Raises:
            ReleaseNotFound: The release has no predecessor.
            Conflict: A record is damaged.
        """

    def report(self, release: str, *, namespace: str | None = None, revision: int | None = None) -> ReleaseReport:
        """Return a release with the operation that made it and that operation's events."""

    def explain(self, release: str, *, namespace: str | None = None, revision: int | None = None) -> ReleaseExplanation:
        """Return why a release failed, with the evidence, or that it did not.

        Args:
            release: The release. Without a revision, the last change of the name counts: also a failed deploy that made no release,
                or whose release was rolled back.
            namespace: The release's namespace, unless it is named by its ID.
            revision: A revision of the release.
        """

    def operation(self, id: str) -> Operation:
        """Return an operation. Raises: OperationNotFound."""

    def watch(self, release: str, *, namespace: str | None = None, timeout: float | None = None) -> Deployed:
        """Follow the operation that runs on a release until it has ended; nothing is changed.

        The listener receives its events, and its failure is raised, as by the verb itself. If no operation runs, the current
        release is watched until every object is ready.

        Args:
            release: The release, or the ID of an operation.
            namespace: The release's namespace, unless it is named by its ID.
            timeout: Seconds that the current release may take to become ready; the setting by default.

        Raises:
            ReleaseNotFound: The release does not exist, or is deleted.
            ReleaseNotCurrent: The named revision is not the current one.
            OperationNotFound: The operation does not exist.
            DeployRolledBack: The release failed, and the one before it runs again.
            DeployKept: The release failed, or is not ready in time.
            Interrupted: The operation was stopped, or its process has ended without an outcome.
        """

    def deploy(self, name: str, *, namespace: str, **options: Unpack[DeployOptions]) -> Deployed:
        """Deploy a published version to a namespace, and wait until it runs.

        Args:
            name: The release's name; also that of the application, unless ``options`` name another or a chart.
            namespace: The namespace to deploy to.
            options: See :class:`DeployOptions`.

        Raises:
            DeployRolledBack: The release failed, and the one before it runs again.
            DeployKept: The release failed, and stays as it is.
        """

    def rollback(self, release: str, **options: Unpack[RollbackOptions]) -> Deployed:
        """Make a new release with an older one's chart and values.

        Args:
            release: The release to go back to, or the name; then the newest revision that served before the current one by default.
            options: See :class:`RollbackOptions`.
        """

    def delete(self, release: str, **options: Unpack[ReleaseOptions]) -> Deployed:
        """Delete the current release softly: the workload is removed, the history stays, and :meth:`restore` brings it back.

        Args:
            release: The release.
            options: See :class:`ReleaseOptions`; a ``revision`` must be the current one.

        Raises:
            ReleaseNotCurrent: The named revision is not the current one.
        """

    def restore(self, release: str, **options: Unpack[RollbackOptions]) -> Deployed:
        """Bring the current release back after a soft delete, as it was.

        Args:
            release: The release.
            options: See :class:`RollbackOptions`; a ``revision`` must be the current one.

        Raises:
            ReleaseNotCurrent: The named revision is not the current one.
        """
