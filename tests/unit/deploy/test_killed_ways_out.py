"""``kill -9`` at every write on the way out of a state: the same command again finishes it, and nothing is left."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from support.deploy_harness import LATE, WORKLOAD, DeployHarness
from support.kube_objects import IMAGE
from support.mortal import Killed, MortalCluster, MortalHarness, leave_lock

from kubernaut.adapters.kube_resources import RESOURCES, Resource
from kubernaut.deploy.execute import Result, execute
from kubernaut.deploy.requests import OperationRequest, RollbackRequest, UninstallRequest, UnlockRequest
from kubernaut.errors import DeployKept, HelmFailed, KubernautError
from kubernaut.history.records import NAMED, PENDING, Status
from kubernaut.history.repair import failed_patch
from kubernaut.testing.helm import FakeHelm
from kubernaut.testing.helm_records import records_of
from kubernaut.testing.workloads import apply_manifest

CONFIG_MAPS = Resource("ConfigMap", "v1", "configmaps")
OWNED = "{meta.helm.sh/release-name: hello, meta.helm.sh/release-namespace: demo}"
EXTRA = f"---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: extra, annotations: {OWNED}}}\n"
WIDGET = "---\napiVersion: example.com/v1\nkind: Widget\nmetadata: {name: one}\n"
FEWEST_WRITES, MOST_WRITES = 4, 60


class StrictHelm(FakeHelm):
    """A Helm that fails, as the real one, for a record with a kind that the cluster does not serve."""

    def _end(self, well: Status) -> Any:
        records = records_of(self.cluster, "demo", "hello")
        built = [*records[-1:], *(record for record in records if record.status == Status.DEPLOYED)]
        if any("kind: Widget" in record.manifest for record in built):
            raise HelmFailed('no matches for kind "Widget" in version "example.com/v1"')
        return super()._end(well)


def new_harness(folder: Path) -> MortalHarness:
    folder.mkdir()
    return MortalHarness(folder, MortalCluster("demo"))


# the states


def kept_failure(harness: DeployHarness) -> None:
    """A second version that failed and was kept, with a ConfigMap that no other version has."""
    harness.cluster.resources.append(CONFIG_MAPS)
    harness.deploy(template=WORKLOAD)
    template = WORKLOAD.replace(IMAGE, f"{IMAGE}-bad") + EXTRA
    harness.helm.end_with(Status.FAILED, LATE, during=lambda _: apply_manifest(harness.cluster, template, "demo", 2))
    with pytest.raises(DeployKept):
        harness.deploy("1.1.0", template=template, on_failure="keep")
    assert harness.statuses == ["deployed", "failed"]
    assert harness.cluster.get_object(CONFIG_MAPS, "demo", "extra") is not None


def removed_kind(harness: DeployHarness) -> None:
    """Two versions with a Widget, which the cluster does not serve any more."""
    harness.deploy(template=WORKLOAD + WIDGET)
    harness.deploy("1.1.0", template=WORKLOAD + WIDGET)
    harness.helm = _strict(harness)


def removed_kind_in_a_fenced_record(harness: DeployHarness) -> None:
    """The same, and the newest record is fenced."""
    removed_kind(harness)
    harness.cluster.patch_secret("demo", harness.history.records[0].secret, {"immutable": True})


def late_release(harness: DeployHarness) -> None:
    """A second version that was not ready in time, and is ready now."""
    harness.deploy(template=WORKLOAD)
    harness.helm.end_with(Status.FAILED, LATE, during=lambda _: apply_manifest(harness.cluster, WORKLOAD, "demo", 2))
    with pytest.raises(DeployKept):
        harness.deploy("1.1.0", template=WORKLOAD, on_failure="keep")
    assert harness.statuses == ["deployed", "failed"]


def kept_object(harness: DeployHarness) -> None:
    """A second version without a ConfigMap of the first, which Helm has kept in the cluster, in a fenced record."""
    harness.cluster.resources.append(CONFIG_MAPS)
    harness.deploy(template=WORKLOAD + EXTRA.replace(OWNED, "{helm.sh/resource-policy: keep}"))
    harness.deploy("1.1.0", template=WORKLOAD)
    harness.cluster.patch_secret("demo", harness.history.records[0].secret, {"immutable": True})


def _strict(harness: DeployHarness) -> FakeHelm:
    strict = StrictHelm(harness.cluster)
    strict.pushed.update(harness.helm.pushed)
    return strict


# the ways out


@dataclass(frozen=True)
class WayOut:
    """The state, the command that leads out of it, and whether it has."""

    state: Callable[[DeployHarness], None]
    command: Callable[[DeployHarness], OperationRequest]
    is_out: Callable[[DeployHarness], bool]


def deploys(version: str = "1.2.0") -> Callable[[DeployHarness], OperationRequest]:
    return lambda harness: harness.request(version, template=WORKLOAD)


def runs(version: str) -> Callable[[DeployHarness], bool]:
    """Return whether a version is the only deployed one, and its workload runs alone."""

    def is_out(harness: DeployHarness) -> bool:
        current, web = harness.history.records[0], harness.cluster.get_object(RESOURCES["Deployment"], "demo", "web")
        assert current.status == "deployed"
        assert harness.statuses.count("deployed") == 1
        assert current.chart["version"] == version
        assert web is not None
        assert web["spec"]["template"]["spec"]["containers"][0]["image"] == IMAGE
        assert harness.cluster.get_object(CONFIG_MAPS, "demo", "extra") is None
        assert "Widget" not in current.manifest
        return True

    return is_out


def has_adopted(harness: DeployHarness) -> bool:
    """Return whether the first version runs again with its ConfigMap, and each record shows its own manifest."""
    current = harness.history.records[0]
    assert (current.status, current.chart["version"]) == ("deployed", "1.0.0")
    assert harness.statuses.count("deployed") == 1
    has_extra = ["name: extra" in record.manifest for record in harness.history.records if record.status != "failed"]
    assert has_extra == [True, False, True]
    assert NAMED not in current.content["manifest"]
    return harness.cluster.get_object(CONFIG_MAPS, "demo", "extra") is not None


def is_deleted(harness: DeployHarness) -> bool:
    gone = harness.cluster.get_object(RESOURCES["Deployment"], "demo", "web") is None
    return gone and harness.history.records[0].status == "uninstalled"


def request(kind: type[OperationRequest], **how: Any) -> Callable[[DeployHarness], OperationRequest]:
    return lambda _: kind("demo", "hello", **how)


WAYS: Mapping[str, WayOut] = {
    "a kept failure, deploy": WayOut(kept_failure, deploys(), runs("1.2.0")),
    "a kept failure, rollback": WayOut(kept_failure, request(RollbackRequest), runs("1.0.0")),
    "a removed kind, deploy": WayOut(removed_kind, deploys(), runs("1.2.0")),
    "a removed kind, rollback": WayOut(removed_kind, request(RollbackRequest), runs("1.0.0")),
    "a removed kind, delete": WayOut(removed_kind, request(UninstallRequest), is_deleted),
    "a removed kind in a fenced record, deploy": WayOut(removed_kind_in_a_fenced_record, deploys(), runs("1.2.0")),
    "a removed kind in a fenced record, delete": WayOut(removed_kind_in_a_fenced_record, request(UninstallRequest), is_deleted),
    "a kept object, rollback": WayOut(kept_object, request(RollbackRequest, revision=1), has_adopted),
    "a late release, deploy": WayOut(late_release, deploys("1.1.0"), runs("1.1.0")),
}


def take(harness: MortalHarness, way: WayOut, *, write: int = -1) -> Result | None:
    """Take a way out; ``None`` if it was killed before a write, the first of which is 0."""
    wanted = way.command(harness)
    harness.mortal.left, harness.mortal.applies = write, True
    try:
        return execute(wanted, context=harness.context)
    except (Killed, KubernautError):
        if not harness.mortal.dead:
            raise
        return None
    finally:
        harness.mortal.revive()
        harness.mortal.applies = False


def end_helm(harness: DeployHarness) -> None:
    """Let Helm mark its record failed, as it does when its kubernaut is killed and it is not."""
    for record in harness.history.records:
        if record.status in PENDING and record.status != Status.PENDING_ROLLBACK:
            patch = failed_patch(record, "context canceled")
            harness.cluster.patch_secret("demo", record.secret, {key: patch[key] for key in ("metadata", "data")})


def unlock(harness: DeployHarness) -> None:
    """Let the outcome be recorded before the command comes again, as a server does."""
    execute(UnlockRequest("demo", "hello"), context=harness.context)


def nothing(harness: DeployHarness) -> None:
    """Do nothing."""


DEPLOYS = tuple(name for name in WAYS if name.endswith("deploy"))
CASES = [
    *((name, nothing) for name in WAYS),
    *((name, end_helm) for name in DEPLOYS),
    *((name, unlock) for name in WAYS if name.startswith("a kept failure")),
]


@pytest.mark.parametrize(("name", "between"), CASES)
def test_killed_way_out_is_finished_by_the_same_command(
    tmp_path: Path, name: str, between: Callable[[DeployHarness], None]
) -> None:
    way = WAYS[name]
    for write in count():
        assert write < MOST_WRITES
        harness = new_harness(tmp_path / str(write))
        way.state(harness)
        if take(harness, way, write=write) is not None:
            assert way.is_out(harness)
            break
        leave_lock(harness.cluster, "demo", "hello")
        is_recorded = harness.operation.state == "succeeded" and harness.operation.verb == "rollback"
        between(harness)
        if not is_recorded:  # only its lock was left, and another rollback goes on to another revision
            take(harness, way)
        assert way.is_out(harness), f"killed before write {write}"
        assert harness.history.aside == ()
    assert write > FEWEST_WRITES
