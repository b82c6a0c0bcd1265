"""Helm in memory; its records are in a :class:`FakeCluster`.

The history is the same as Helm's: revisions, statuses, merged and copied labels, pruning, even the failure of ``upgrade --install``
after a soft delete from revision 10 on. Templates support ``{{ .Values.a.b }}``, ``{{ .Release.Name }}`` and
``{{ .Release.Namespace }}``, with ``| quote`` and ``| toJson``. The objects that run or serve something are ready at once.
"""

# ruff: noqa: ARG002 - the fake accepts every argument of the real class
from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kubernaut.adapters.helm_arguments import flag_arguments
from kubernaut.adapters.helm_errors import helm_error
from kubernaut.adapters.process import Check, no_check
from kubernaut.errors import (
    BadInput,
    ChartInvalid,
    HelmFailed,
    KubernautError,
    NamespaceNotFound,
    ReleaseLocked,
    ReleaseNotFound,
    VersionNotFound,
)
from kubernaut.history.records import PENDING, Record, Status
from kubernaut.testing.chart import FakeChart, load_chart, pack_chart
from kubernaut.testing.cluster import FakeCluster
from kubernaut.testing.helm_records import change_record, create_record, prune, records_of
from kubernaut.testing.hooks import run_hooks
from kubernaut.testing.workloads import apply_manifest, prune_manifest, remove_manifest, unknown_object

Log = Callable[[str], None]
_SYSTEM_LABELS = frozenset({"name", "owner", "status", "version", "createdAt", "modifiedAt"})


def _call(check: Check) -> None:
    check()


@dataclass
class _End:
    """The result of the next release command."""

    status: Status | None
    error: KubernautError | BaseException | None
    during: Callable[[Check], None] = _call


class FakeHelm:
    """Helm for tests, with its records in a cluster.

    Attributes:
        starts: The commands so far, each with its release: ``("upgrade", "demo.hello")``.
        flags: The flags of each install, upgrade and rollback.
        pushed: The pushed packages, by ``oci://REGISTRY/NAME@DIGEST``.

    Args:
        cluster: The cluster with its records.
        version: The version that it follows.
    """

    def __init__(self, cluster: FakeCluster, version: str = "3.17.3") -> None:
        self.cluster = cluster
        self.starts: list[tuple[str, str]] = []
        self.flags: list[tuple[str, ...]] = []
        self._version = version
        self.pushed: dict[str, FakeChart] = {}
        self._ends: list[_End] = []

    def end_with(
        self,
        status: Status | None,
        error: KubernautError | BaseException | None = None,
        *,
        during: Callable[[Check], None] = _call,
    ) -> None:
        """Make the next release command leave its record with a status and raise an error.

        Args:
            status: The status of the record; ``None`` for no record.
            error: The error to raise, if any: a real Helm may fail after deploying, or succeed without.
            during: Called while an install, upgrade or rollback waits, once its record is pending. It receives ``check``, which a
                real Helm calls again and again while it waits; an error that it raises stops Helm.
        """
        self._ends.append(_End(status, error, during))

    def version(self) -> str:
        """Return the Helm version that the fake follows."""
        return self._version

    @property
    def _numbers(self) -> tuple[int, ...]:
        return tuple(int(part) for part in self._version.split(".")[:2])

    # charts

    def package(self, chart: Path, destination: Path) -> Path:
        """Package a chart folder; return the ``.tgz`` in ``destination``. Raises: ChartInvalid."""
        self.starts.append(("package", chart.name))
        return pack_chart(load_chart(chart), destination)

    def template(self, chart: Path, *, name: str, namespace: str, values: Mapping[str, Any]) -> str:
        """Render a packaged chart; return the manifest. Raises: ChartInvalid, ValuesInvalid."""
        self.starts.append(("template", chart.name))
        return load_chart(chart).render(name, namespace, values)

    def push(self, package: Path, registry: str) -> str:
        """Push a package and return its digest."""
        self.starts.append(("push", package.name))
        chart = load_chart(package)
        self.pushed[f"oci://{registry.removeprefix('oci://')}/{chart.name}@{chart.digest}"] = chart
        return chart.digest

    # releases

    def upgrade(
        self,
        name: str,
        chart: str,
        *,
        install: bool,
        namespace: str,
        values: Mapping[str, Any],
        labels: Mapping[str, str],
        description: str,
        timeout: float,
        history_max: int,
        no_hooks: bool = False,
        log: Log,
        check: Check = no_check,
        skip_crds: bool = False,
        force_conflicts: bool = False,
        take_ownership: bool = False,
    ) -> None:
        """Do what ``helm upgrade --wait --reset-values`` does, with or without ``--install``."""
        self.starts.append(("upgrade", f"{namespace}.{name}"))
        self.flags.append(tuple(flag_arguments(force_conflicts=force_conflicts, take_ownership=take_ownership)))
        check()
        records = records_of(self.cluster, namespace, name)
        stored_last = max(records, key=lambda record: record.secret, default=None)  # in the API's order: v9 after v10
        if install and (stored_last is None or stored_last.status == Status.UNINSTALLED):
            self._install(self._content(self._chart(chart), name, namespace, values), labels, description, check, no_hooks)
            return
        if not records:
            raise ReleaseNotFound(f'"{name}" has no deployed releases')
        last = records[-1]
        if last.status in PENDING:
            raise ReleaseLocked("another operation (install/upgrade/rollback) is in progress")
        deployed = [record for record in records if record.status == Status.DEPLOYED]
        if not deployed and last.status not in (Status.FAILED, Status.SUPERSEDED):
            raise ReleaseNotFound(f'"{name}" has no deployed releases')
        content = self._content(self._chart(chart), name, namespace, values, last) | {"version": last.revision + 1}
        kept = {key: value for key, value in last.labels.items() if key not in _SYSTEM_LABELS}
        prune(self.cluster, records, history_max)
        pending, replaced = Status.PENDING_UPGRADE, deployed[-1:] or [last]
        self._write(content, {**kept, **labels}, pending, description, replaced, check, no_hooks, replaced[0])

    def install_replace(
        self,
        name: str,
        chart: str,
        *,
        namespace: str,
        values: Mapping[str, Any],
        labels: Mapping[str, str],
        description: str,
        timeout: float,
        no_hooks: bool = False,
        log: Log,
        check: Check = no_check,
        skip_crds: bool = False,
        force_conflicts: bool = False,
        take_ownership: bool = False,
    ) -> None:
        """Do what ``helm install --replace --wait`` does."""
        self.starts.append(("install", f"{namespace}.{name}"))
        self.flags.append(tuple(flag_arguments(force_conflicts=force_conflicts, take_ownership=take_ownership)))
        check()
        self._install(self._content(self._chart(chart), name, namespace, values), labels, description, check, no_hooks)

    def render(
        self,
        name: str,
        chart: str,
        *,
        command: str,
        namespace: str,
        values: Mapping[str, Any],
        skip_crds: bool,
        log: Log,
        take_ownership: bool = False,
    ) -> dict[str, Any]:
        """Return what ``helm upgrade`` or ``install`` would make, as with ``--dry-run=server``."""
        self.starts.append(("render", f"{namespace}.{name}"))
        return self._content(self._chart(chart), name, namespace, values)

    def rollback(
        self,
        name: str,
        revision: int,
        *,
        namespace: str,
        timeout: float,
        history_max: int,
        no_hooks: bool = False,
        log: Log,
        check: Check = no_check,
        force_conflicts: bool = False,
    ) -> None:
        """Do what ``helm rollback --wait`` does: a new record with the target's chart, values, manifest and labels."""
        self.starts.append(("rollback", f"{namespace}.{name}"))
        self.flags.append(tuple(flag_arguments(force_conflicts=force_conflicts)))
        check()
        records = records_of(self.cluster, namespace, name)
        target = next((record for record in records if record.revision == revision), None)
        if target is None:
            raise ReleaseNotFound("release: not found" if not records else f"release has no {revision} version")
        content = {key: copy.deepcopy(value) for key, value in target.content.items() if key not in ("info", "version")}
        labels = {key: value for key, value in target.labels.items() if key not in _SYSTEM_LABELS}
        prune(self.cluster, records, history_max)
        deployed = [record for record in records if record.status == Status.DEPLOYED]
        text = f"Rollback to {revision}"
        content["info"] = {"first_deployed": records[-1].info.get("first_deployed"), "last_deployed": _now()}
        content["version"] = records[-1].revision + 1
        self._write(content, labels, Status.PENDING_ROLLBACK, text, deployed, check, no_hooks, records[-1])

    def uninstall(
        self,
        name: str,
        *,
        namespace: str,
        description: str,
        timeout: float,
        no_hooks: bool = False,
        log: Log,
        check: Check = no_check,
    ) -> None:
        """Do what ``helm uninstall --keep-history --wait`` does."""
        self.starts.append(("uninstall", f"{namespace}.{name}"))
        check()
        records = records_of(self.cluster, namespace, name)
        if not records:
            raise ReleaseNotFound("uninstall: Release not loaded: release: not found")
        if records[-1].status == Status.UNINSTALLED:
            return
        end = self._end(Status.UNINSTALLED)
        if end.status is not None:
            record = self._record(records[-1], Status.UNINSTALLING, "Deletion in progress (or silently failed)", deleted=_now())
            check()
            self._run_hooks(record, "pre-delete", f"Deleting {namespace}.{name}", no_hooks=no_hooks)
            if end.status is not Status.UNINSTALLING:
                remove_manifest(self.cluster, record.manifest, record.namespace)
                self._record(record, end.status, description)
                for older in self._deployed(records[:-1]):
                    self._record(older, Status.SUPERSEDED, older.description)
                self._run_hooks(record, "post-delete", f"Deleting {namespace}.{name}", no_hooks=no_hooks)
        _raise(end)

    # the records

    def _deployed(self, older: list[Record]) -> list[Record]:
        """Return the older deployed records that an uninstall marks superseded: since 3.19.5 and 4.0.2."""
        return [one for one in older if one.status == Status.DEPLOYED and self._numbers >= (4, 0)]

    def _install(self, content: dict[str, Any], labels: Mapping[str, str], description: str, check: Check, no_hooks: bool) -> None:
        namespace = content["namespace"]
        records = records_of(self.cluster, namespace, content["name"])
        if records and records[-1].status not in (Status.UNINSTALLED, Status.FAILED):
            raise ReleaseLocked("cannot reuse a name that is still in use")
        if not self.cluster.namespace_exists(namespace):
            raise NamespaceNotFound(f'create: failed to create: namespaces "{namespace}" not found')
        if records and records[-1].status != Status.FAILED:
            self._change(records[-1], Status.SUPERSEDED, "superseded by new release")
        content["version"] = records[-1].revision + 1 if records else 1
        self._write(content, labels, Status.PENDING_INSTALL, description, [], check, no_hooks)

    def _write(
        self,
        content: dict[str, Any],
        labels: Mapping[str, str],
        pending: Status,
        text: str,
        replaced: list[Record],
        check: Check,
        no_hooks: bool,
        compared: Record | None = None,
    ) -> None:
        """Create the record, then end as configured; ``compared`` is the record that Helm compares with."""
        end = self._end(Status.DEPLOYED)
        if end.status is None:
            _raise(end)
            return
        record = self._create(content, labels, pending)
        failed = f'{"Upgrade" if pending is Status.PENDING_UPGRADE else "Release"} "{record.name}" failed: '
        verb, what = pending.value.removeprefix("pending-"), f"Changing {record.namespace}.{record.name}"
        try:
            self.cluster.pass_seconds(1)  # as in reality: what Helm makes is younger than the release's record
            self._run_hooks(record, f"pre-{verb}", what, no_hooks=no_hooks)
            end.during(check)
        except BaseException as stopped:
            if pending is not Status.PENDING_ROLLBACK:  # Helm does not handle signals in a rollback
                self._record(record, Status.FAILED, f"{failed}{stopped if isinstance(stopped, HelmFailed) else 'context canceled'}")
            raise
        if end.status is Status.DEPLOYED:
            if compared is not None and pending is Status.PENDING_ROLLBACK:
                self._refuse_unknown(record, compared)
            self._apply(record, compared)
            try:
                self._run_hooks(record, f"post-{verb}", what, no_hooks=no_hooks)
            except HelmFailed as failure:
                if pending is not Status.PENDING_ROLLBACK:
                    self._record(record, Status.FAILED, f"{failed}{failure}")
                raise
            for old in replaced:
                self._record(old, Status.SUPERSEDED, old.description)
            finish = self._record if pending is Status.PENDING_INSTALL else self._change
            finish(record, end.status, text)
        elif end.status is not pending:
            self._record(record, end.status, f"{failed}{end.error}")
        _raise(end)

    def _apply(self, record: Record, compared: Record | None) -> None:
        """Apply the objects of a record, and remove those that only the compared one has."""
        apply_manifest(self.cluster, record.manifest, record.namespace, record.revision, record.name)
        if compared is not None:
            prune_manifest(self.cluster, compared.content["manifest"], record.manifest, record.namespace)

    def _refuse_unknown(self, record: Record, compared: Record) -> None:
        """Fail as a rollback over an object that exists and that the compared record lacks; from 4.2 on Helm overwrites it."""
        found = unknown_object(self.cluster, compared.content["manifest"], record.manifest, record.namespace)
        if found is None or self._numbers >= (4, 2):
            return
        message = f'no {found[0]} with the name "{found[1]}" found'
        self._record(compared, Status.SUPERSEDED, compared.description)
        self._record(record, Status.FAILED, f'Rollback "{record.name}" failed: {message}')
        raise helm_error(f"Rolling {record.namespace}.{record.name} back", f"Error: {message}", 1)

    def _run_hooks(self, record: Record, event: str, what: str, *, no_hooks: bool) -> None:
        """Run the hooks of an event. Raises: HelmFailed."""
        failure = None if no_hooks else run_hooks(self.cluster, record.content.get("hooks") or (), event, record.namespace)
        if failure is not None:  # uninstall and rollback do not name the event
            begins = {"install": f"failed {event}: ", "upgrade": f"{event} hooks failed: "}.get(event.partition("-")[2], "")
            raise helm_error(what, f"Error: {begins}{failure}", 1)

    def _create(self, content: dict[str, Any], labels: Mapping[str, str], pending: Status) -> Record:
        return create_record(self.cluster, content, labels, pending)

    def _record(self, record: Record, status: Status, description: str, *, deleted: str | None = None) -> Record:
        """Change a record and ignore a failure, where Helm only logs a warning."""
        try:
            return self._change(record, status, description, deleted=deleted)
        except BadInput:  # it is immutable
            return record

    def _change(self, record: Record, status: Status, description: str, *, deleted: str | None = None) -> Record:
        return change_record(self.cluster, record, status, description, deleted=deleted)

    def _chart(self, chart: str) -> FakeChart:
        if chart.startswith("oci://"):
            if chart not in self.pushed:
                raise VersionNotFound(f"{chart}: not found")
            return self.pushed[chart]
        if not chart.startswith("/"):
            raise ChartInvalid(f"{chart!r} is neither oci://… nor an absolute path.")
        return load_chart(Path(chart))

    def _content(
        self, chart: FakeChart, name: str, namespace: str, values: Mapping[str, Any], last: Record | None = None
    ) -> dict[str, Any]:
        manifest, hooks = chart.render_with_hooks(name, namespace, values)
        return {
            "name": name,
            "namespace": namespace,
            "info": {"first_deployed": last.info.get("first_deployed") if last else _now(), "last_deployed": _now()},
            "chart": {"metadata": chart.metadata, "values": chart.values, "templates": [], "files": []},
            "config": copy.deepcopy(dict(values)),
            "manifest": manifest,
            "hooks": hooks,
            **({"apply_method": "ssa"} if self._version[0] > "3" and (last is None or last.server_side) else {}),
        }

    def _end(self, well: Status) -> _End:
        return self._ends.pop(0) if self._ends else _End(well, None)


def _raise(end: _End) -> None:
    if end.error is not None:
        raise end.error


def _now() -> str:
    return datetime.now(UTC).isoformat()
