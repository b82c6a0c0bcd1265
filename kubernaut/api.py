"""class Kubernaut: the verbs, run by this process.

Each verb builds a request (``_requests``) and hands it with the clients (``context``) to the package that does the work:
``publish``, ``deploy`` or ``history``. It imports that package when it is called, so a script that lists releases loads no
Docker client.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from typing_extensions import override

from kubernaut._requests import (
    check_ship,
    check_waits,
    deploy_request,
    operation_settings,
    preview_request,
    release_id,
    release_request,
    version_request,
)
from kubernaut.ci import CiBuild, sanitize_build
from kubernaut.context import Clients, Context, preload_deploy
from kubernaut.events import Listener, Progress, StopCheck, ignore_event, never_stop
from kubernaut.interface import (
    Built,
    Deployed,
    DeployOptions,
    LogOptions,
    OperationOptions,
    Published,
    ReleaseOptions,
    ReleaseVerbs,
    RollbackOptions,
    ShipOptions,
)
from kubernaut.models import check_name, check_namespace
from kubernaut.redact import environment_secrets
from kubernaut.settings import Settings, load_settings

if TYPE_CHECKING:
    from kubernaut.adapters.github import CommitStatusReporter
    from kubernaut.deploy.requests import DeployRequest, OperationRequest
    from kubernaut.history.detail import Difference, ReleaseReport
    from kubernaut.history.explain import ReleaseExplanation
    from kubernaut.history.index import Index
    from kubernaut.history.operations import Operation
    from kubernaut.history.releases import Release, ReleaseList
    from kubernaut.publish.pipeline import PublishContext
    from kubernaut.publish.version import PublishedVersions


class Kubernaut(ReleaseVerbs):
    """The verbs, for build scripts, the command line and the REST server.

    A release is named by its ID (``NAMESPACE.NAME.vN``, ``NAMESPACE.NAME.current``), or by its name with ``namespace``. Every verb
    raises :class:`kubernaut.KubernautError` when it fails.

    Args:
        settings: The settings; read from kubernaut.toml and the environment by default.
        listener: Receives every event (:mod:`kubernaut.events`).

    Attributes:
        context: The settings, and the clients, each opened when it is first needed.
    """

    def __init__(self, settings: Settings | None = None, *, listener: Listener = ignore_event) -> None:
        settings = settings or load_settings()
        self.context = Context(settings, Progress(listener), Clients(settings))

    @property
    def settings(self) -> Settings:
        """The settings."""
        return self.context.settings

    def acting(
        self, actor: str, *, build: CiBuild | None = None, listener: Listener = ignore_event, stopped: StopCheck = never_stop
    ) -> Kubernaut:
        """Return the same verbs for another actor, over the same clients.

        Args:
            actor: The actor that operations and releases record.
            build: The CI build that releases record; not the one that runs this process.
            listener: Receives every event.
            stopped: Polled while a verb runs; once it returns true, Helm is stopped and the verb raises ``Interrupted``.
        """
        other = copy.copy(self)
        settings = replace(self.settings, actor=actor, build_url=None, build=sanitize_build(build))
        other.context = Context(settings, Progress(listener), self.context.clients, stopped)
        return other

    def close(self) -> None:
        """Close the connections, also those of :meth:`acting`; the next call opens new ones."""
        self.context.clients.close()

    # publish: a folder becomes a version

    def build(self, app_dir: str | Path, *, version: str | None = None, dry_run: bool = False) -> Built:
        """Build an application's image; nothing is pushed.

        Args:
            app_dir: The folder with ``kubernaut.yaml``.
            version: The version; counted from git by default.
            dry_run: Only return the plan.
        """
        from kubernaut.publish.pipeline import build_image

        return Built(*build_image(app_dir, version=version, dry_run=dry_run, context=self.context.publish_context))

    def publish(
        self, app_dir: str | Path, *, version: str | None = None, image: str | None = None, dry_run: bool = False
    ) -> Published:
        """Publish a version: build and push the image, then package and push the chart that runs it.

        Args:
            app_dir: The folder with ``kubernaut.yaml``.
            version: The version; counted from git by default.
            image: An image that was built elsewhere, ``REPOSITORY@sha256:…``, instead of building one.
            dry_run: Only return the plan.
        """
        with self.context.status_reporter(silent=dry_run) as reporter:
            return self._publish(reporter, app_dir, self.context.publish_context, version=version, image=image, dry_run=dry_run)

    @override
    def versions(self, name: str) -> PublishedVersions:
        return self.context.clients.registry.versions(check_name(name))

    # deploy: a version becomes a release

    @override
    def deploy(self, name: str, *, namespace: str, **options: Unpack[DeployOptions]) -> Deployed:
        # A chart from elsewhere may name any commit.
        silent = options.get("chart") is not None or options.get("dry_run", False)
        with self.context.status_reporter(silent=silent) as reporter:
            request = partial(deploy_request, self.context, name, namespace, options)
            return self._deploy(reporter, request, namespace, options)

    def ship(self, app_dir: str | Path, *, namespace: str, name: str | None = None, **options: Unpack[ShipOptions]) -> Deployed:
        """Publish an application, then deploy that version: :meth:`publish` and :meth:`deploy` in one.

        Args:
            app_dir: The folder with ``kubernaut.yaml``.
            namespace: The namespace to deploy to.
            name: The release's name; the application's by default.
            options: See :class:`ShipOptions`.

        Raises:
            DeployRolledBack: The release failed, and the one before it runs again.
            DeployKept: The release failed, and stays as it is.
        """
        values = check_ship(app_dir, name, namespace, options)
        version, dry_run, packages = options.get("version"), options.get("dry_run", False), list[bytes]()

        def begin() -> DeployRequest:
            if (new := published.version) is None:
                return preview_request(self.context, app_dir, name, namespace, values, options)
            request = version_request(self.context, name or new.name, new, namespace, values, options)
            return replace(request, package=packages[0] if packages else None)

        with self.context.status_reporter(silent=dry_run) as reporter:
            preload = partial(preload_deploy, self.context.clients, namespace)
            context = replace(self.context.publish_context, while_building=preload, on_package=packages.append)
            published = self._publish(reporter, app_dir, context, version=version, image=None, dry_run=dry_run)
            return self._deploy(reporter, begin, namespace, options).after(published)

    @override
    def rollback(self, release: str, **options: Unpack[RollbackOptions]) -> Deployed:
        from kubernaut.deploy.requests import RollbackRequest

        return self._change(RollbackRequest, release, options)

    @override
    def delete(self, release: str, **options: Unpack[ReleaseOptions]) -> Deployed:
        from kubernaut.deploy.requests import UninstallRequest

        return self._change(UninstallRequest, release, options)

    @override
    def restore(self, release: str, **options: Unpack[RollbackOptions]) -> Deployed:
        from kubernaut.deploy.requests import RestoreRequest

        return self._change(RestoreRequest, release, options)

    def unlock(self, release: str, *, namespace: str | None = None, note: str | None = None, dry_run: bool = False) -> Deployed:
        """Take the lock of a release from its holder, and finish the operation that the holder left; the history stays.

        Only for a holder that is dead: one that is still alive is stopped, and its operation is marked failed. Without ``unlock``,
        the next verb does the same as soon as the holder is certainly dead.
        """
        from kubernaut.deploy.requests import UnlockRequest

        return self._change(UnlockRequest, release, {"namespace": namespace, "note": note, "dry_run": dry_run})

    def recover(self, name: str, *, namespace: str) -> Deployed:
        """Finish the operations on a release whose processes are certainly dead; running operations are not disturbed.

        Raises:
            ReleaseLocked: An operation on the release is running.
        """
        from kubernaut.deploy.requests import RecoveryRequest

        return self._change(RecoveryRequest, name, {"namespace": namespace, "lock_timeout": 0})

    def accept(
        self,
        verb: str,
        name: str,
        *,
        namespace: str,
        note: str | None = None,
        timeout: float | None = None,
        lock_timeout: float | None = None,
        fingerprint: str | None = None,
        key: str | None = None,
        create_namespace: bool = False,
        begins_within: float = 120.0,
    ) -> tuple[Operation, bool]:
        """Record an operation to run later; pass it as ``operation`` to the verb that runs it.

        Args:
            verb: ``deploy``, ``rollback``, ``restore`` or ``delete``.
            name: The release's name.
            namespace: Its namespace.
            note: A line for the release history.
            timeout: The ``timeout`` that the verb will get, in seconds.
            lock_timeout: The ``lock_timeout`` that the verb will get, in seconds.
            fingerprint: Identifies the request among those with the same key.
            key: The Idempotency-Key: all calls with the same key return the operation that the first one recorded.
            create_namespace: Create the namespace if it does not exist.
            begins_within: Seconds until a verb must run it, which then renews it while it waits for the lock.

        Returns:
            The operation, and whether it is new.

        Raises:
            IdempotencyKeyReused: The key belongs to another request.
            NamespaceNotFound: The namespace does not exist.
        """
        from kubernaut.deploy.accepting import accept, new_operation

        how = operation_settings(self.context, {"note": note, "timeout": timeout, "lock_timeout": lock_timeout})
        operation = new_operation(verb, namespace, name, self.settings, fingerprint, key, how)
        return accept(operation, self.context.clients.cluster, begins_within=begins_within, create_namespace=create_namespace)

    def accepted(self, key: str, *, namespace: str, fingerprint: str | None = None) -> Operation | None:
        """Return the operation that :meth:`accept` recorded in a namespace for an Idempotency-Key, if any.

        Raises:
            IdempotencyKeyReused: The key belongs to another request.
        """
        from kubernaut.deploy.accepting import accepted_before

        cluster = self.context.clients.cluster
        return accepted_before(check_namespace(namespace), self.settings.actor, key, fingerprint, cluster)

    # history: what runs, and what ran

    @override
    def list(self, *, namespace: str | None = None, all: bool = False, health: bool = False) -> ReleaseList:
        clients = self.context.clients
        return (clients.health if health else clients.history).list(namespace and check_namespace(namespace), all=all)

    @override
    def show(self, release: str, *, namespace: str | None = None, revision: int | None = None) -> Release:
        return self.context.clients.health.release(release_id(release, namespace, revision))

    def with_health(self, releases: Iterable[Release]) -> tuple[Release, ...]:
        """Return releases, such as those of an :meth:`index`, with their health as it is now."""
        return self.context.clients.health.add((release, None) for release in releases)

    @override
    def history(self, release: str, *, namespace: str | None = None) -> ReleaseList:
        found = release_id(release, namespace)
        return self.context.clients.history.releases(found.namespace, found.name)

    @override
    def manifest(self, release: str, *, namespace: str | None = None, revision: int | None = None) -> str:
        from kubernaut.history.detail import read_manifest

        return read_manifest(self.context.clients.history, release_id(release, namespace, revision))

    @override
    def values(
        self, release: str, *, namespace: str | None = None, revision: int | None = None, all: bool = False
    ) -> dict[str, Any]:
        from kubernaut.history.detail import read_values

        return read_values(self.context.clients.history, release_id(release, namespace, revision), all=all)

    @override
    def diff(self, release: str, to: str | None = None, *, namespace: str | None = None, revision: int | None = None) -> Difference:
        from kubernaut.history.detail import diff_releases

        return diff_releases(self.context.clients.history, release_id(release, namespace, revision), to)

    @override
    def report(self, release: str, *, namespace: str | None = None, revision: int | None = None) -> ReleaseReport:
        from kubernaut.history.detail import read_report

        return read_report(self.context.clients.history, release_id(release, namespace, revision))

    @override
    def explain(self, release: str, *, namespace: str | None = None, revision: int | None = None) -> ReleaseExplanation:
        from kubernaut.history.explain import read_explanation

        return read_explanation(self.context.clients.history, release_id(release, namespace, revision))

    @override
    def operation(self, id: str, *, namespace: str | None = None) -> Operation:
        """Return an operation, searched in one namespace or in all. Raises: OperationNotFound."""
        return self.context.clients.history.operation(id, namespace and check_namespace(namespace))

    @override
    def watch(self, release: str, *, namespace: str | None = None, timeout: float | None = None) -> Deployed:
        from kubernaut.deploy.watch import watch

        return Deployed(*watch(release, namespace, context=self.context.deploy_context, timeout=timeout or self.settings.timeout))

    def index(self, namespaces: Collection[str] = ()) -> Index:
        """Return an index of the releases that follows the cluster once it is started, for a program that reads often.

        Args:
            namespaces: The namespaces to watch; all by default.
        """
        from kubernaut.history.index import Index

        return Index(lambda: self.context.clients.cluster, namespaces=tuple(namespaces))

    def logs(self, release: str, *, namespace: str | None = None, **options: Unpack[LogOptions]) -> Iterator[str]:
        """Yield the log lines of a release's pods, each after its pod's name, without known secrets.

        A release that is not the current one has no pods: its lines are those that were kept when it failed, and a ``Notice`` to
        the listener says so.

        Args:
            release: The release.
            namespace: The release's namespace, unless it is named by its ID.
            options: See :class:`LogOptions`.

        Raises:
            NotFound: No container has the name.
            BadInput: ``since`` is combined with kept lines, which have no times.
        """
        from kubernaut.history.logs import LogQuery, read_logs

        clients, wanted, query = self.context.clients, release_id(release, namespace), LogQuery(**options)
        history = clients.history.get(wanted.namespace, wanted.name)
        notify, secrets = partial(self.context.progress.notice, "logs"), environment_secrets(self.settings.environment)
        return read_logs(history, history.record(wanted), clients.cluster, notify, query, secrets=secrets)

    def _publish(self, reporter: CommitStatusReporter, app_dir: str | Path, context: PublishContext, **arguments: Any) -> Published:
        from kubernaut.publish.pipeline import publish

        with reporter.publishing() as report:
            return Published(*publish(app_dir, **arguments, context=replace(context, on_version=report.begin)))

    def _deploy(
        self,
        reporter: CommitStatusReporter,
        request: Callable[[], DeployRequest],
        namespace: str,
        options: OperationOptions,
    ) -> Deployed:
        with reporter.deploying(namespace) as report:

            def begin() -> DeployRequest:
                built = request()
                report.begin(built.version, built.commit, built.repository)
                return built

            deployed = self._execute(begin, options)
            if deployed.release is not None:
                report.set_release(deployed.release.id, changed=deployed.changed)
            return deployed

    def _change(self, kind: Callable[..., OperationRequest], release: str, options: ReleaseOptions) -> Deployed:
        return self._execute(lambda: release_request(self.context, kind, release, options), options)

    def _execute(self, request: Callable[[], OperationRequest], options: OperationOptions) -> Deployed:
        """Execute a request; it is built under the accepted operation, if any, so that a wrong argument ends that operation."""
        from kubernaut.deploy.execute import execute, execute_accepted

        check_waits(options)
        operation, dry_run, context = options.get("operation"), options.get("dry_run", False), self.context.deploy_context
        if operation is None:
            return Deployed(*execute(request(), context=context, dry_run=dry_run, diff=options.get("diff", False)))
        if dry_run:
            raise TypeError("operation and dry_run cannot be combined")
        return Deployed(*execute_accepted(operation, request, context=context))
