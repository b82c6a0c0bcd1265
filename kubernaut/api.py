"""class Kubernaut: the verbs.

Ties the rooms together, and decides nothing itself: ``build`` knows what a version is, ``deploy`` what a deploy has to do,
``history`` what was done. Each room is imported by the verb that needs it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from kubernaut._requests import RequestBuilder, choose_environment, find, wish_of
from kubernaut.ci import CiBuild, cleaned
from kubernaut.context import Context
from kubernaut.events import Listener, Progress, Stopped, ignore, never
from kubernaut.interface import Built, Deployed, DeployOptions, Options, Published
from kubernaut.models import Plan
from kubernaut.names import check_name, check_namespace
from kubernaut.settings import Settings, load_settings

if TYPE_CHECKING:
    from kubernaut.commit_status import CommitStatusReporter
    from kubernaut.deploy.requests import DeployRequest, OperationRequest
    from kubernaut.history.detail import ReleaseReport
    from kubernaut.history.diff import Difference
    from kubernaut.history.index import Index
    from kubernaut.history.operations import Operation
    from kubernaut.history.releases import Release, ReleaseList
    from kubernaut.publish.registry import PublishedVersion


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
        self._connections = Context(self.settings, Progress(listener))
        self._wanting = RequestBuilder(self.settings, self._connections)

    def acting(
        self, actor: str, *, build: CiBuild | None = None, listener: Listener = ignore, stopped: Stopped = never
    ) -> Kubernaut:
        """Return the same for somebody else; it works with the same connections, and costs nothing.

        Args:
            actor: Who.
            build: The CI build that asks for it; not the one that runs this process.
            listener: Is told of every step.
            stopped: Is asked all the time; once it says so, a running Helm is stopped, tidily (``Interrupted``).
        """
        other = copy.copy(self)
        other.settings = replace(self.settings, actor=actor, build_url=None, build=cleaned(build))
        clients = self._connections.clients
        other._connections = Context(other.settings, Progress(listener), clients=clients, stopped=stopped)
        other._wanting = RequestBuilder(other.settings, other._connections)
        return other

    def close(self) -> None:
        """Close the connections, also of those that :meth:`acting` returned; the next call opens new ones."""
        self._connections.clients.close()

    # a folder becomes a version

    def build(self, app_dir: str | Path, *, version: str | None = None, dry_run: bool = False) -> Built:
        """Build the image alone, and push nothing.

        Args:
            app_dir: The folder with ``kubernaut.yaml``.
            version: The version's name; from git by default.
            dry_run: Only say what would be done.
        """
        from kubernaut.publish.pipeline import build_image

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
        with self._connections.telling(silent=dry_run) as telling:
            return self._publish(telling, app_dir, version=version, image=image, dry_run=dry_run)

    def versions(self, name: str) -> Sequence[PublishedVersion]:
        """Return the published versions of an application, newest first."""
        return self._connections.registry.versions(check_name(name))

    # a version becomes a release

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
        """Put a published version into a namespace, and wait until it runs.

        Args:
            name: The application's name; the release is called the same.
            namespace: Where to.
            version: Which one; the newest stable by default.
            pre: Without a version: the newest at all.
            chart: Instead of a version any chart in a registry, ``oci://HOST/REPOSITORY:VERSION`` or ``…@sha256:…``.
            digest: The digest that the chart must have; refused when it is another (``VersionConflict``).
            options: How, see :class:`DeployOptions`.

        Raises:
            DeployRolledBack: The release failed, and the one before it runs again.
            DeployKept: The release failed, and is left as it is.
        """
        silent = chart is not None or options.get("dry_run", False)  # what others published may name any commit
        with self._connections.telling(silent=silent) as telling:
            wanted = partial(self._wanting.deploy, name, namespace, version, pre, chart, digest, options)
            return self._deploy(telling, wanted, namespace, options)

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
        from kubernaut.publish.application import load_application

        # What cannot be deployed as it is asked for is not published first.
        check_namespace(namespace)
        wish = wish_of(options)
        choose_environment(load_application(Path(app_dir)).environments, f"{app_dir} would be", namespace, options)
        self._connections.expect_cluster()
        dry_run = options.get("dry_run", False)
        with self._connections.telling(silent=dry_run) as telling:
            published = self._publish(telling, app_dir, version=version, image=None, dry_run=dry_run)
            if (new := published.version) is not None:
                wanted = partial(self._wanting.deploy_of, new.name, new, namespace, wish, options)
            else:
                wanted = partial(self._wanting.preview, app_dir, version, namespace, wish, options)
            deployed = self._deploy(telling, wanted, namespace, options)
        plan = Plan(actions=(*published.plan.actions, *deployed.plan.actions), reason=deployed.plan.reason)
        return Deployed(plan, published.changed or deployed.changed, deployed.release)

    # the history

    def list(self, *, namespace: str | None = None, all: bool = False) -> ReleaseList:
        """Return the active releases of a namespace or of all; with ``all`` every release in the history."""
        return self._connections.history.list(namespace and check_namespace(namespace), all=all)

    def show(self, release: str, *, namespace: str | None = None, revision: int | None = None) -> Release:
        """Return one release; of a name, the current one."""
        return self._connections.history.release(find(release, namespace, revision))

    def history(self, release: str, *, namespace: str | None = None) -> ReleaseList:
        """Return all releases of a name in a namespace, newest first."""
        wanted = find(release, namespace)
        return self._connections.history.releases(wanted.namespace, wanted.name)

    def manifest(self, release: str, *, namespace: str | None = None, revision: int | None = None) -> str:
        """Return what was applied for a release, as YAML, its hooks last; what is secret is masked.

        Raises:
            Conflict: The release's record is damaged.
        """
        from kubernaut.history.detail import read_manifest

        return read_manifest(self._connections.history, find(release, namespace, revision))

    def values(
        self, release: str, *, namespace: str | None = None, revision: int | None = None, all: bool = False
    ) -> dict[str, Any]:
        """Return the values that a release was deployed with, with ``all`` over the chart's own; what is secret is masked.

        Raises:
            Conflict: The release's record is damaged.
        """
        from kubernaut.history.detail import read_values

        return read_values(self._connections.history, find(release, namespace, revision), all=all)

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
        from kubernaut.history.detail import diff_releases

        return diff_releases(self._connections.history, find(release, namespace, revision), to)

    def report(self, release: str, *, namespace: str | None = None, revision: int | None = None) -> ReleaseReport:
        """Return a release and the operation that made it, with what was said on the way."""
        from kubernaut.history.detail import read_report

        return read_report(self._connections.history, find(release, namespace, revision))

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
        from kubernaut.history.detail import read_logs

        record = self._connections.history.record(find(release, namespace))
        return read_logs(record, self._connections.cluster, follow=follow, tail=tail, previous=previous)

    def rollback(
        self, release: str, *, namespace: str | None = None, revision: int | None = None, **options: Unpack[Options]
    ) -> Deployed:
        """Make a new release with an older one's chart and values; by default the one that ran before the current one."""
        from kubernaut.deploy.requests import RollbackRequest

        return self._carry_out(lambda: self._wanting.about(RollbackRequest, release, namespace, revision, options), options)

    def delete(
        self, release: str, *, namespace: str | None = None, revision: int | None = None, **options: Unpack[Options]
    ) -> Deployed:
        """Delete the current release softly: the workload goes, the history stays, and :meth:`restore` brings it back.

        Raises:
            ReleaseNotCurrent: ``revision``, or the id's, is not the current one.
        """
        from kubernaut.deploy.requests import UninstallRequest

        return self._carry_out(lambda: self._wanting.about(UninstallRequest, release, namespace, revision, options), options)

    def restore(
        self, release: str, *, namespace: str | None = None, revision: int | None = None, **options: Unpack[Options]
    ) -> Deployed:
        """Bring the current release back after a soft delete, as it was.

        Raises:
            ReleaseNotCurrent: ``revision``, or the id's, is not the current one.
        """
        from kubernaut.deploy.requests import RestoreRequest

        return self._carry_out(lambda: self._wanting.about(RestoreRequest, release, namespace, revision, options), options)

    def unlock(self, release: str, *, namespace: str | None = None, note: str | None = None, dry_run: bool = False) -> Deployed:
        """Take the lock from whoever holds the release, and end what was left unfinished of it; the history stays.

        Only for a holder that is known to be dead: one that lives is stopped by it, and what it was doing is marked failed. The
        next verb does the same by itself as soon as the holder is surely gone.
        """
        from kubernaut.deploy.requests import UnlockRequest

        options: Options = {"note": note, "dry_run": dry_run}
        return self._carry_out(lambda: self._wanting.about(UnlockRequest, release, namespace, None, options), options)

    def recover(self, name: str, *, namespace: str) -> Deployed:
        """End what is left unfinished of a release by those who are surely gone; nobody who is at work is disturbed.

        Raises:
            ReleaseLocked: Somebody is at work.
        """
        from kubernaut.deploy.requests import RecoveryRequest

        options: Options = {"lock_timeout": 0}
        return self._carry_out(lambda: self._wanting.about(RecoveryRequest, name, namespace, None, options), options)

    # answered first, carried out afterwards

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
    ) -> tuple[Operation, bool]:
        """Write down an operation that is carried out later, by the verb that is given it as ``operation``.

        Args:
            verb: ``deploy``, ``rollback``, ``restore`` or ``delete``.
            name: The release's name.
            namespace: Its namespace.
            note: A line for the history.
            timeout: As the verb will be given it.
            lock_timeout: As the verb will be given it.
            fingerprint: Tells this request from others with the same key.
            key: The Idempotency-Key: of all who accept with the same one, one writes, and all return what he wrote.
            create_namespace: Make the namespace when it does not exist.

        Returns:
            The operation, and whether it is new.

        Raises:
            IdempotencyKeyReused: The key belongs to another request.
            NamespaceNotFound: There is no such namespace.
        """
        from kubernaut.deploy.accepted import accept, new_operation

        how = self._wanting.how({"note": note, "timeout": timeout, "lock_timeout": lock_timeout})
        operation = new_operation(verb, namespace, name, self.settings, fingerprint, key, how)
        return accept(operation, self._connections.cluster, patience=how["lock_timeout"], create_namespace=create_namespace)

    def accepted(self, key: str, *, namespace: str, fingerprint: str | None = None) -> Operation | None:
        """Return the operation that was accepted with an Idempotency-Key in a namespace, if one was.

        Raises:
            IdempotencyKeyReused: The key belongs to another request.
        """
        from kubernaut.deploy.accepted import accepted_before

        actor, cluster = self.settings.actor, self._connections.cluster
        return accepted_before(check_namespace(namespace), actor, key, fingerprint, cluster)

    def operation(self, id: str, *, namespace: str | None = None) -> Operation:
        """Return an operation; looked for in all namespaces unless one is named. Raises: OperationNotFound."""
        return self._connections.history.operation(id, namespace and check_namespace(namespace))

    def _publish(self, telling: CommitStatusReporter, app_dir: str | Path, **how: Any) -> Published:
        from kubernaut.publish.pipeline import publish

        with telling.publishing() as report:
            return Published(*publish(app_dir, **how, tools=replace(self._connections.publishing, known=report.begin)))

    def _deploy(
        self, telling: CommitStatusReporter, wanted: Callable[[], DeployRequest], namespace: str, options: Options
    ) -> Deployed:
        with telling.deploying(namespace) as report:

            def begin() -> DeployRequest:
                request = wanted()
                report.begin(request.version, request.commit, request.repository)
                return request

            deployed = self._carry_out(begin, options)
            report.set_release(deployed.release, changed=deployed.changed)
            return deployed

    def _carry_out(self, wanted: Callable[[], OperationRequest], options: Options) -> Deployed:
        operation, dry_run, tools = options.get("operation"), options.get("dry_run", False), self._connections.deploying
        if operation is None:
            from kubernaut.deploy.execute import carry_out

            return Deployed(*carry_out(wanted(), tools=tools, dry_run=dry_run))
        if dry_run:
            raise TypeError("an operation that was accepted is carried out: there is no dry run of it")
        from kubernaut.deploy.accepted import carry_out_accepted

        return Deployed(*carry_out_accepted(operation, wanted, tools=tools))
