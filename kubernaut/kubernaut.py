"""class Kubernaut: the verbs.

Ties the rooms together, and decides nothing itself: ``build`` knows what a version is, ``deploy`` what a deploy has to do,
``history`` what was done. Each room is imported by the verb that needs it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from kubernaut.connections import Connections
from kubernaut.errors import EnvironmentNotFound
from kubernaut.events import Listener, Progress, ignore
from kubernaut.model import Plan
from kubernaut.naming import check_name, check_namespace
from kubernaut.settings import Settings, load_settings
from kubernaut.verbs import Built, Deployed, DeployOptions, Options, Published

if TYPE_CHECKING:
    from kubernaut.build.registry import PublishedVersion
    from kubernaut.deploy.values import Wish
    from kubernaut.deploy.wanted import Wanted
    from kubernaut.history.detail import Report
    from kubernaut.history.diff import Difference
    from kubernaut.history.index import Index
    from kubernaut.history.release import Release, ReleaseId, ReleaseList


class Kubernaut:
    """The verbs, for build scripts, the command line and the REST server alike.

    A release is named by its id (``NAMESPACE.NAME.vN``, ``NAMESPACE.NAME.current``), or by its name with ``namespace``. Every verb
    raises :class:`kubernaut.KubernautError` when it cannot do what it says.

    Args:
        settings: The settings; read from kubernaut.toml and the environment by default.
        listener: Is told of every step (:mod:`kubernaut.events`).
    """

    def __init__(self, settings: Settings | None = None, *, listener: Listener = ignore) -> None:
        self.settings = settings or load_settings()
        self._connections = Connections(self.settings, Progress(listener))

    # a folder becomes a version

    def build(self, app_dir: str | Path, *, version: str | None = None, dry_run: bool = False) -> Built:
        """Build the image alone, and push nothing.

        Args:
            app_dir: The folder with ``kubernaut.yaml``.
            version: The version's name; from git by default.
            dry_run: Only say what would be done.
        """
        from kubernaut.build.publication import build_image

        return Built(*build_image(app_dir, version=version, dry_run=dry_run, tools=self._connections.publishing))

    def publish(
        self, app_dir: str | Path, *, version: str | None = None, image: str | None = None, dry_run: bool = False
    ) -> Published:
        """Build and push the image, package and push the chart that runs it: a version.

        Args:
            app_dir: The folder with ``kubernaut.yaml``.
            version: The version's name; from git by default.
            image: An image that was built elsewhere, ``REPOSITORY@sha256:…``, instead of building one.
            dry_run: Only say what would be done.
        """
        from kubernaut.build.publication import publish

        return Published(*publish(app_dir, version=version, image=image, dry_run=dry_run, tools=self._connections.publishing))

    def versions(self, name: str) -> Sequence[PublishedVersion]:
        """Return the published versions of an application, newest first."""
        return self._connections.registry.versions(check_name(name))

    # a version becomes a release

    def deploy(
        self, name: str, *, namespace: str, version: str | None = None, pre: bool = False, **options: Unpack[DeployOptions]
    ) -> Deployed:
        """Put a published version into a namespace, and wait until it runs.

        Args:
            name: The application's name; the release is called the same.
            namespace: Where to.
            version: Which one; the newest stable by default.
            pre: Without a version: the newest at all.
            options: How, see :class:`DeployOptions`.

        Raises:
            DeployRolledBack: The release failed, and the one before it runs again.
            DeployKept: The release failed, and is left as it is.
        """
        check_namespace(namespace)
        wish = _wish(options)
        published = self._connections.registry.resolve(check_name(name), version, pre=pre)
        return self._deploy(published, namespace, wish, options)

    def ship(
        self, app_dir: str | Path, *, namespace: str, version: str | None = None, **options: Unpack[DeployOptions]
    ) -> Deployed:
        """Publish an application, then deploy that version: :meth:`publish` and :meth:`deploy` in one.

        Args:
            app_dir: The folder with ``kubernaut.yaml``.
            namespace: Where to.
            version: The version's name; from git by default.
            options: How it is deployed, see :class:`DeployOptions`.

        Raises:
            DeployRolledBack: The release failed, and the one before it runs again.
            DeployKept: The release failed, and is left as it is.
        """
        from kubernaut.build.application import load_application

        # What cannot be deployed as it is asked for is not published first.
        check_namespace(namespace)
        wish = _wish(options)
        _environment(load_application(Path(app_dir)).environments, f"{app_dir} would be", namespace, options)
        self._connections.expect_cluster()
        published = self.publish(app_dir, version=version, dry_run=options.get("dry_run", False))
        if published.version is not None:
            deployed = self._deploy(published.version, namespace, wish, options)
        else:
            deployed = self._preview(app_dir, version, namespace, wish, options)
        plan = Plan(actions=(*published.plan.actions, *deployed.plan.actions), reason=deployed.plan.reason)
        return Deployed(plan, published.changed or deployed.changed, deployed.release)

    def _deploy(self, published: PublishedVersion, namespace: str, wish: Wish, options: DeployOptions) -> Deployed:
        environment = _environment(published.environments, f"{published.name} {published.version} was", namespace, options)
        values = environment and self._connections.registry.environment_values(published, environment)
        return self._put(published, namespace, environment, replace(wish, environment=values or {}), options)

    def _preview(self, app_dir: str | Path, version: str | None, namespace: str, wish: Wish, options: DeployOptions) -> Deployed:
        """Say what deploying a version would do that is not published yet."""
        from kubernaut.build.publication import preview

        intended, environments = preview(app_dir, version=version, tools=self._connections.publishing)
        environment = _environment(intended.environments, f"{intended.name} {intended.version} would be", namespace, options)
        wish = replace(wish, environment=environments[environment] if environment else {})
        return self._put(intended, namespace, environment, wish, options)

    def _put(
        self, published: PublishedVersion, namespace: str, environment: str | None, wish: Wish, options: DeployOptions
    ) -> Deployed:
        from kubernaut.deploy.wanted import WantedDeploy

        wanted = WantedDeploy(
            namespace=namespace,
            name=published.name,
            version=published.version,
            chart_ref=f"oci://{published.chart.ref.rpartition(':')[0]}@{published.chart.digest}",
            chart_digest=published.chart.digest,
            wish=wish,
            environment=environment,
            commit=published.source.commit,
            on_failure=options.get("on_failure"),
            create_namespace=options.get("create_namespace", False),
            **self._how(options),
        )
        return self._carry_out(wanted, options)

    # the history

    def list(self, *, namespace: str | None = None, all: bool = False) -> ReleaseList:
        """Return the active releases of a namespace or of all; with ``all`` every release in the history."""
        return self._connections.history.list(namespace and check_namespace(namespace), all=all)

    def show(self, release: str, *, namespace: str | None = None, revision: int | None = None) -> Release:
        """Return one release; of a name, the current one."""
        return self._connections.history.release(_find(release, namespace, revision))

    def history(self, release: str, *, namespace: str | None = None) -> ReleaseList:
        """Return all releases of a name in a namespace, newest first."""
        wanted = _find(release, namespace)
        return self._connections.history.releases(wanted.namespace, wanted.name)

    def manifest(self, release: str, *, namespace: str | None = None, revision: int | None = None) -> str:
        """Return what was applied for a release, as YAML, its hooks last; what is secret is masked.

        Raises:
            Conflict: The release's record is damaged.
        """
        from kubernaut.history.detail import manifest_of

        return manifest_of(self._connections.history, _find(release, namespace, revision))

    def values(
        self, release: str, *, namespace: str | None = None, revision: int | None = None, all: bool = False
    ) -> dict[str, Any]:
        """Return the values that a release was deployed with, with ``all`` over the chart's own; what is secret is masked.

        Raises:
            Conflict: The release's record is damaged.
        """
        from kubernaut.history.detail import values_of

        return values_of(self._connections.history, _find(release, namespace, revision), all=all)

    def diff(self, release: str, to: str | None = None, *, namespace: str | None = None, revision: int | None = None) -> Difference:
        """Return what a release changed: how it differs from the one before it; or what going from it to another would change.

        Args:
            release: Which one.
            to: The other one: an id, or a revision of the same name.
            namespace: Its namespace, unless ``release`` is an id.
            revision: Which revision of the name; the current one by default.

        Raises:
            ReleaseNotFound: There is none before it.
            Conflict: A record is damaged.
        """
        from kubernaut.history.detail import difference_of

        return difference_of(self._connections.history, _find(release, namespace, revision), to)

    def report(self, release: str, *, namespace: str | None = None, revision: int | None = None) -> Report:
        """Return a release and the operation that made it, with what was said on the way."""
        from kubernaut.history.detail import report_of

        return report_of(self._connections.history, _find(release, namespace, revision))

    def watch(self, namespaces: Collection[str] = ()) -> Index:
        """Return an index of the releases that keeps itself current once it is started, for a program that asks often.

        Args:
            namespaces: Only these; all of them by default.
        """
        from kubernaut.history.index import Index

        return Index(lambda: self._connections.cluster, namespaces=tuple(namespaces))

    def logs(
        self,
        release: str,
        *,
        namespace: str | None = None,
        follow: bool = False,
        tail: int | None = None,
        previous: bool = False,
    ) -> Iterator[str]:
        """Yield what the release's pods say, each line with its pod's name before it.

        Args:
            release: Which one.
            namespace: Its namespace, unless ``release`` is an id.
            follow: Go on with what comes.
            tail: Only the last lines of each container.
            previous: Of the containers before their last restart.
        """
        from kubernaut.history.pods import logs_of

        record = self._connections.history.record(_find(release, namespace))
        return logs_of(record, self._connections.cluster, follow=follow, tail=tail, previous=previous)

    def rollback(
        self, release: str, *, namespace: str | None = None, revision: int | None = None, **options: Unpack[Options]
    ) -> Deployed:
        """Make a new release with an older one's chart and values; by default the one that ran before the current one."""
        from kubernaut.deploy.wanted import WantedRollback

        found = _find(release, namespace, revision)
        return self._carry_out(WantedRollback(found.namespace, found.name, revision=found.revision, **self._how(options)), options)

    def delete(
        self, release: str, *, namespace: str | None = None, revision: int | None = None, **options: Unpack[Options]
    ) -> Deployed:
        """Delete the current release softly: the workload goes, the history stays, and :meth:`restore` brings it back.

        Raises:
            ReleaseNotCurrent: ``revision``, or the id's, is not the current one.
        """
        from kubernaut.deploy.wanted import WantedDelete

        found = _find(release, namespace, revision)
        return self._carry_out(WantedDelete(found.namespace, found.name, revision=found.revision, **self._how(options)), options)

    def restore(
        self, release: str, *, namespace: str | None = None, revision: int | None = None, **options: Unpack[Options]
    ) -> Deployed:
        """Bring the current release back after a soft delete, as it was.

        Raises:
            ReleaseNotCurrent: ``revision``, or the id's, is not the current one.
        """
        from kubernaut.deploy.wanted import WantedRestore

        found = _find(release, namespace, revision)
        return self._carry_out(WantedRestore(found.namespace, found.name, revision=found.revision, **self._how(options)), options)

    def unlock(self, release: str, *, namespace: str | None = None, note: str | None = None, dry_run: bool = False) -> Deployed:
        """Take the lock from whoever holds the release, and end what was left unfinished of it; the history stays.

        Only for a holder that is known to be dead: one that lives is stopped by it, and what it was doing is marked failed. The
        next verb does the same by itself as soon as the holder is surely gone.
        """
        from kubernaut.deploy.wanted import WantedUnlock

        found = _find(release, namespace)
        options: Options = {"note": note, "dry_run": dry_run}
        return self._carry_out(WantedUnlock(found.namespace, found.name, revision=found.revision, **self._how(options)), options)

    def _how(self, options: Options) -> dict[str, Any]:
        """Return what all verbs want alike."""
        lock_timeout = options.get("lock_timeout")
        return {
            "note": options.get("note"),
            "timeout": options.get("timeout") or self.settings.timeout,
            "lock_timeout": self.settings.lock_timeout if lock_timeout is None else lock_timeout,
            "stale_after": self.settings.stale_after,
            "history_max": self.settings.history_max,
        }

    def _carry_out(self, wanted: Wanted, options: Options) -> Deployed:
        from kubernaut.deploy.rollout import carry_out

        return Deployed(*carry_out(wanted, tools=self._connections.deploying, dry_run=options.get("dry_run", False)))


def _wish(options: DeployOptions) -> Wish:
    """Return what is wished beside the environment's values. Raises: TypeError, as Python does for arguments that nobody knows."""
    from kubernaut.deploy.values import read_wish

    _check_known(options, DeployOptions)
    return read_wish(None, options.get("values", ()), options.get("set", ()), reuse=options.get("reuse_values", False))


def _check_known(options: Mapping[str, Any], known: type) -> None:
    names = (*Options.__annotations__, *known.__annotations__)
    for name in options:
        if name not in names:
            raise TypeError(f"unexpected keyword argument {name!r}; {known.__name__} has {', '.join(dict.fromkeys(names))}")


def _environment(known: Collection[str], version: str, namespace: str, options: DeployOptions) -> str | None:
    """Return the environment that is asked for; else the one called like the namespace, if there is one."""
    environment = options.get("environment")
    if environment is None:
        return namespace if namespace in known else None
    if environment not in known:
        names = ", ".join(known) or "none"
        raise EnvironmentNotFound(f"{version} published without values for {environment!r}; it has: {names}.")
    return environment


def _find(release: str, namespace: str | None, revision: int | None = None) -> ReleaseId:
    from kubernaut.history.release import ReleaseId

    return ReleaseId.find(release, namespace, revision)
