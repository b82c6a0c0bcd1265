"""The system of the state machine on a cluster and a Helm in memory, both of which can die at any write."""

from __future__ import annotations

import base64
import copy
import gzip
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from kubernaut.adapters.kube_resources import CHART_RESOURCES, Resource
from kubernaut.deploy.accepting import accept, new_operation
from kubernaut.deploy.execute import Result, execute, execute_accepted
from kubernaut.deploy.execution import DeployContext
from kubernaut.deploy.requests import (
    DeployRequest,
    OperationRequest,
    RestoreRequest,
    RollbackRequest,
    UninstallRequest,
    UnlockRequest,
)
from kubernaut.deploy.values.layers import Values
from kubernaut.errors import BadInput, HelmFailed, KubernautError, NotFound
from kubernaut.events import Progress
from kubernaut.history.records import Record, Status, decode
from kubernaut.history.store import HistoryStore
from kubernaut.settings import Settings, load_settings
from kubernaut.testing.cluster import FakeCluster
from kubernaut.testing.helm import FakeHelm, _End
from kubernaut.testing.workloads import apply_manifest
from support.charts import CONFIG_MAP, write_chart
from support.deploy_harness import LATE
from support.hooked_charts import with_hook
from support.invariants import Snapshot, snapshot
from support.machine import KILLED, VARIANTS
from support.model_steps import DONE, NOTHING
from support.mortal import Killed, MortalCluster, leave_lock
from support.states import DEAD, HOOKED, Seen

NAMESPACE, NAME = "demo", "app"
_RECORD, _ASIDE = f"sh.helm.release.v1.{NAME}.v", f"kubernaut.aside.{NAME}.v"
_PLAIN: dict[str, Any] = {"namespace": NAMESPACE, "timeout": 9.0, "log": lambda _: None}
_VERBS: Mapping[str, type[OperationRequest]] = {
    "rollback": RollbackRequest,
    "delete": UninstallRequest,
    "restore": RestoreRequest,
    "unlock": UnlockRequest,
}


class BlindCluster(MortalCluster):
    """A cluster that finds no ConfigMap, so that a late release, which this Helm has not applied, is not adopted."""

    def find_resource(self, api_version: str, kind: str) -> Resource:
        """Find any other kind."""
        if kind == "ConfigMap":
            raise NotFound(kind)
        return super().find_resource(api_version, kind)


@dataclass
class AtWork:
    """A Helm that has made a record, and what it is going to do when all goes well."""

    record: Record
    replaced: list[Record]
    description: str


class MortalHelm(FakeHelm):
    """A Helm that can be left at work, and ends later."""

    at_work: AtWork | None = None
    _about: tuple[str, list[Record]]

    def _end(self, well: Status) -> _End:
        return _End(well, None) if well is Status.UNINSTALLED else super()._end(well)  # the other command is to fail

    def _write(self, *arguments: Any) -> None:
        _, _, _, description, replaced, *_ = arguments
        self._about = description, replaced
        try:
            super()._write(*arguments)
        except Exception:
            self.at_work = None
            raise
        self.at_work = None

    def _create(self, *arguments: Any) -> Record:
        description, replaced = self._about
        try:
            record = super()._create(*arguments)
        except Killed:
            made = self.cluster._secrets.get((NAMESPACE, f"{_RECORD}{arguments[0]['version']}"))
            left = decode(copy.deepcopy(made)) if made else None
            self.at_work = AtWork(left, replaced, description) if left else None
            raise
        self.at_work = AtWork(record, replaced, description)
        return record

    def end_at_work(self) -> None:
        """Do what Helm does at its end, by what it read at its beginning."""
        one, self.at_work = self.at_work, None
        assert one is not None
        for old in one.replaced:
            with suppress(NotFound):
                self._record(old, Status.SUPERSEDED, old.description)
        with suppress(NotFound, BadInput):
            self._change(one.record, Status.DEPLOYED, one.description)
            apply_manifest(self.cluster, one.record.manifest, NAMESPACE, one.record.revision)


@cache
def published() -> tuple[Mapping[str, str], Mapping[str, Any]]:
    """Package the chart's versions once; return their digests, and what a registry has."""
    helm, digests = FakeHelm(FakeCluster()), {}
    with TemporaryDirectory() as folder:
        for version in sorted({what.split()[0] for what in VARIANTS}):
            template = with_hook("pre-delete") if version == HOOKED else CONFIG_MAP
            package = helm.package(write_chart(Path(folder), NAME, version=version, template=template), Path(folder) / "out")
            digests[version] = helm.push(package, "r/charts")
    return digests, helm.pushed


@cache
def settings() -> Settings:
    return load_settings(environment={"KUBERNAUT_ACTOR": "ada"}, directory=Path("/"))


class InMemory:
    """The cluster and Helm in memory."""

    def begin(self, *, namespace: bool, keep: int) -> None:
        self.keep = keep
        self.cluster = BlindCluster(*[NAMESPACE] * namespace)
        self.cluster.server_time = datetime(2026, 11, 22, 12, tzinfo=UTC)
        self.turns = 0
        self.versions = ["3.17.3", "4.2.4"]
        self.helm = self.new_helm()
        self.left: MortalHelm | None = None

    def new_helm(self) -> MortalHelm:
        helm = MortalHelm(self.cluster, self.versions[0])
        helm.pushed.update(published()[1])
        return helm

    def verb(self, verb: str, *, kill: Any = None, dry_run: bool = False, lock: str = DEAD, **how: Any) -> str:
        self.cluster.meanwhile = how.pop("meanwhile", None)
        request, ends = self.build_request(verb, **how)
        self.helm = helm = self.new_helm()
        for status in ends:
            helm.end_with(status, LATE if how.get("fails") == "late" else HelmFailed("the chart does not start"))
        if kill:
            self.cluster.left, self.cluster.answered = kill
        self.turns += 1
        served = self.turns % 2 == 0 and verb != "unlock" and not (kill or dry_run) and NAMESPACE in self.cluster._namespaces
        try:
            if served:
                planned, changed, _ = self.serve(verb, request)
            else:
                planned, changed, _ = execute(request, context=self.context, dry_run=dry_run)
        except (KubernautError, Killed) as ended:
            if not self.cluster.dead:
                return type(ended).__name__
            self.cluster.revive()
            self.leave(lock)
            return KILLED
        finally:
            self.cluster.left = -1
        assert not (dry_run and changed)
        return DONE if changed or (dry_run and planned.changes) else NOTHING

    def serve(self, verb: str, request: OperationRequest) -> Result:
        """Execute a verb as a server does, which accepts it first; its outcome is always recorded."""
        operation = new_operation(verb, NAMESPACE, NAME, settings(), None, None, {"note": None, "timeout": request.timeout})
        accepted, _ = accept(operation, self.cluster, create_namespace=False)  # type: ignore[arg-type]
        try:
            return execute_accepted(accepted, lambda: request, context=self.context)
        finally:
            kept = [one for one in HistoryStore(self.cluster).get(NAMESPACE, NAME).operations if one.id == accepted.id]  # type: ignore[arg-type]
            assert all(one.finished_at is not None and one.outcome is not None for one in kept), "it has no end"

    def build_request(self, verb: str, **how: Any) -> tuple[OperationRequest, list[Status]]:
        """Return the request of a verb, and how Helm fails."""
        fails = how.pop("fails", "")
        ends = [Status.FAILED] * (2 if fails == "for good" else bool(fails))
        if verb != "deploy":
            return _VERBS[verb](NAMESPACE, NAME, history_max=self.keep, **how), ends
        version, text = how["what"].split()
        digest = published()[0][version]
        request = DeployRequest(
            NAMESPACE,
            NAME,
            version,
            f"oci://r/charts/{NAME}@{digest}",
            digest,
            values=Values(sets=(f"text={text}",)),
            on_failure="keep" if fails in ("kept", "late") else "rollback",
            create_namespace=how.get("create", False),
            no_hooks=how.get("no_hooks", False),
            on_conflict="take",
            history_max=self.keep,
        )
        return request, ends

    @property
    def context(self) -> DeployContext:
        return DeployContext(
            helm=lambda: self.helm,  # type: ignore[arg-type, return-value]
            cluster=lambda: self.cluster,  # type: ignore[arg-type, return-value]
            store=HistoryStore(self.cluster),  # type: ignore[arg-type]
            settings=settings(),
            progress=Progress(lambda _: None),
            stopped=self.cluster.die_in_main_thread,
        )

    def leave(self, lock: str) -> None:
        """Leave the Lease as one does whose process is gone, or is on a machine of which nothing is known; and Helm at work."""
        leave_lock(self.cluster, NAMESPACE, NAME, lock)
        self.leave_at_work(self.helm)

    def leave_at_work(self, helm: MortalHelm) -> None:
        """Let a Helm live on that has not written its end; one at most."""
        one = helm.at_work
        pending = {revision for revision, status, *_ in self.seen().records if status.startswith("pending-")}
        if self.left is None and one and one.record.revision in pending:
            self.left = helm

    def plain(self, verb: str, what: str, revision: int, *, ends: bool) -> None:
        helm = self.new_helm()
        if not ends:
            self.cluster.left, self.cluster.answered = self.writes_until_pending(verb), True
        with suppress(Killed):
            self.start(helm, verb, what, revision)
        if not ends:
            assert self.cluster.dead
            self.cluster.revive()
            self.leave_at_work(helm)

    def writes_until_pending(self, verb: str) -> int:
        return 1 if verb == "install" and self.seen().records else 0

    def start(self, helm: MortalHelm, verb: str, what: str, revision: int) -> None:
        if verb == "uninstall":
            helm.uninstall(NAME, description="", no_hooks=True, **_PLAIN)
        elif verb == "rollback":
            helm.rollback(NAME, revision, history_max=0, **_PLAIN)
        else:
            version, text = what.split()
            chart = f"oci://r/charts/{NAME}@{published()[0][version]}"
            more: dict[str, Any] = {"values": {"text": text}, "labels": {}, "description": "Upgrade complete", **_PLAIN}
            if verb == "install":
                helm.install_replace(NAME, chart, **more)
            else:
                helm.upgrade(NAME, chart, install=True, history_max=0, **more)

    def outlived(self) -> tuple[int, list[int]] | None:
        one = self.left.at_work if self.left else None
        return (one.record.revision, [old.revision for old in one.replaced]) if one else None

    def end_outlived(self) -> None:
        assert self.left is not None
        self.left.end_at_work()
        self.left = None

    def other_helm(self) -> bool:
        self.versions.reverse()
        return self.versions[0] > "4"

    def others_change(self) -> bool:
        found = self.cluster.get_object(CHART_RESOURCES["ConfigMap"], NAMESPACE, NAME)
        if found is not None:
            self.cluster.put({"apiVersion": "v1", "kind": "ConfigMap", **found, "data": {"text": "theirs"}}, NAMESPACE)
        return found is not None

    def grow_old(self) -> None:
        self.cluster.server_time += timedelta(minutes=20)

    def seen(self) -> Seen:
        secrets = {name: secret for (_, name), secret in self.cluster._secrets.items()}
        records = (_record(secret) for name, secret in secrets.items() if name.startswith(_RECORD))
        operations = [_decoded(one["data"]["operation"]) for one in secrets.values() if "operation" in one["data"]]
        return Seen(
            tuple(sorted(records)),
            tuple(sorted(int(name.removeprefix(_ASIDE)) for name in secrets if name.startswith(_ASIDE))),
            bool(self.cluster._leases),
            sum(operation.get("finishedAt") is None for operation in operations),
            NAMESPACE in self.cluster._namespaces,
        )

    def snapshot(self) -> Snapshot:
        return snapshot(self.cluster._secrets.values(), next(iter(self.cluster._leases.values()), None))

    def everything(self) -> object:
        return copy.deepcopy((self.cluster._secrets, self.cluster._leases, self.cluster._namespaces))

    def runs(self) -> str | None:
        return ""  # nothing is applied anywhere

    def close(self) -> None:
        """Nothing is open."""


def _record(secret: Mapping[str, Any]) -> tuple[int, str, str, bool]:
    content = _decoded(base64.b64decode(secret["data"]["release"]))
    what = f"{content['chart']['metadata']['version']} {content['config']['text']}"
    return int(content["version"]), content["info"]["status"], what, secret.get("immutable", False)


def _decoded(encoded: str | bytes) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(encoded)))
    return content
