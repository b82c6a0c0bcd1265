"""Rollbacks over objects that exist, and that the record lacks which Helm compares with."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.deploy_harness import LATE, WORKLOAD, DeployHarness, after_helm, verbs
from support.messages import facts
from support.planning import plan
from support.records import history, own

from kubernaut.adapters.kube_resources import Resource
from kubernaut.deploy.execute import Result, execute
from kubernaut.deploy.planning.compared import missing_objects, with_named
from kubernaut.deploy.requests import RestoreRequest, RollbackRequest, UninstallRequest
from kubernaut.errors import ClusterUnreachable, Conflict, DeployFailed, DeployKept, DeployRolledBack, HelmFailed, LockLost
from kubernaut.events import Notice
from kubernaut.history.manifest import read_manifest
from kubernaut.history.records import Status
from kubernaut.rollout.objects import expected_objects

CONFIG_MAPS = Resource("ConfigMap", "v1", "configmaps")
HELM_3, HELM_4 = "3.17.3", "4.2.4"


def config_map(name: str, annotations: str = "{}") -> str:
    return f"---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, annotations: {annotations}}}\ndata: {{a: b}}\n"


EXTRA = config_map("extra")
KEPT = config_map("extra", "{helm.sh/resource-policy: keep}")


# the record that Helm compares with


def test_objects_that_the_compared_record_lacks_are_missing() -> None:
    target, current = own(1, "superseded", manifest=EXTRA + config_map("web")), own(2, "deployed", manifest=config_map("web"))
    assert [one.key.name for one in missing_objects(target, current)] == ["extra"]
    assert missing_objects(target, target) == ()
    assert missing_objects(target, own(2, "deployed", manifest="kind: [1\n")) == ()
    assert missing_objects(own(1, "superseded", manifest="kind: [1\n"), current) == ()


@given(
    st.sampled_from(["", EXTRA, EXTRA.rstrip(), config_map("web") + EXTRA, "# nothing\n", "---\n"]),
    st.lists(st.tuples(st.sampled_from(["one", "o: '#", 'ü"', "---"]), st.sampled_from([None, "demo", "other"])), max_size=3),
)
def test_objects_are_named_in_a_manifest_and_taken_out_again(manifest: str, named: list[tuple[str, str | None]]) -> None:
    metadata = [{"name": name} | ({"namespace": namespace} if namespace else {}) for name, namespace in named]
    objects = [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": one, "data": {"a": "b"}} for one in metadata]
    found = with_named(manifest, expected_objects(objects, "demo"))
    known = read_manifest(manifest).objects
    assert list(read_manifest(found).objects) == [
        *known,
        *({"apiVersion": "v1", "kind": "ConfigMap", "metadata": one} for one in metadata),
    ]
    record = own(1, "deployed", manifest=found)
    assert (record.manifest, record.has_named_objects) == (manifest, bool(named))


def test_next_verb_restores_the_manifest_that_an_interrupted_rollback_left() -> None:
    objects = expected_objects(read_manifest(EXTRA).objects, "demo")
    left = own(2, "superseded", manifest=with_named(config_map("web"), objects))
    known = history(own(1, "superseded", "old", manifest=EXTRA), left, own(3, "failed", "new", manifest=EXTRA))
    for verb in ("deploy", "rollback", "delete"):
        assert ("map-record", left.id) in [(action.kind, action.subject) for action in plan(verb, known).actions], verb


# the execution


@pytest.fixture(params=[HELM_3, HELM_4])
def harness(request: pytest.FixtureRequest, tmp_path: Path) -> DeployHarness:
    """A release for each Helm; its first version has a ConfigMap that the second one does not have."""
    return two_versions(tmp_path, EXTRA, request.param)


@pytest.fixture
def kept(tmp_path: Path) -> DeployHarness:
    """The same, where Helm leaves the ConfigMap in the cluster."""
    return two_versions(tmp_path, KEPT, HELM_3)


def two_versions(folder: Path, extra: str, version: str) -> DeployHarness:
    found = DeployHarness(folder, version=version)
    found.cluster.resources.append(CONFIG_MAPS)
    found.deploy(template=WORKLOAD + extra)
    found.deploy("1.1.0", template=WORKLOAD)
    return found


def put(harness: DeployHarness, **metadata: Any) -> None:
    found = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "extra", **metadata}, "data": {"a": "theirs"}}
    harness.cluster.put(found, "demo")


def owned() -> dict[str, Any]:
    annotations = {"meta.helm.sh/release-name": "hello", "meta.helm.sh/release-namespace": "demo"}
    return {"annotations": annotations, "labels": {"app.kubernetes.io/managed-by": "Helm"}}


def data(harness: DeployHarness) -> str | None:
    found = harness.cluster.get_object(CONFIG_MAPS, "demo", "extra")
    return found["data"]["a"] if found else None


def roll_back(harness: DeployHarness, *, dry_run: bool = False, **more: Any) -> Result:
    return execute(RollbackRequest("demo", "hello", **more), context=harness.context, dry_run=dry_run)


def notices(harness: DeployHarness) -> str:
    return "\n".join(event.text for event in harness.events if isinstance(event, Notice))


def is_restored(harness: DeployHarness) -> bool:
    return not any(record.has_named_objects for record in harness.history.records)


def test_rollback_adopts_an_object_of_the_release(harness: DeployHarness) -> None:
    put(harness, **owned())
    before = harness.history.records[0].manifest
    planned = roll_back(harness, dry_run=True).plan.actions
    assert [(action.kind, action.subject) for action in planned] == [
        ("adopt-object", "ConfigMap/extra"),
        ("helm-rollback", "demo.hello.v1"),
    ]
    assert roll_back(harness).changed
    assert data(harness) == "b"
    assert harness.statuses == ["superseded", "superseded", "deployed"]
    assert (harness.history.records[1].manifest, is_restored(harness)) == (before, True)
    assert re.search(facts("ConfigMap extra", "v2 (1.1.0)"), notices(harness))


def test_rollback_adopts_an_object_that_an_earlier_revision_kept(kept: DeployHarness) -> None:
    assert data(kept) == "b"
    assert roll_back(kept).changed
    assert kept.statuses == ["superseded", "superseded", "deployed"]
    assert is_restored(kept)


@pytest.mark.parametrize("metadata", [{}, {"annotations": {"meta.helm.sh/release-name": "other"}}])
def test_rollback_over_an_object_of_another_owner_is_refused(harness: DeployHarness, metadata: dict[str, Any]) -> None:
    put(harness, **metadata)
    harness.helm.starts.clear()
    for dry_run in (True, False):
        with pytest.raises(Conflict, match=facts("ConfigMap extra", "demo.hello")) as refused:
            roll_back(harness, dry_run=dry_run)
        assert refused.value.members["cause"] == "owned_by_another_release"
        assert "`kubernaut rollback hello -n demo --revision 1 --take-ownership`" in refused.value.hint
        assert "`takeOwnership: true`" in refused.value.http_hint
    assert data(harness) == "theirs"
    assert harness.statuses == ["superseded", "deployed"]
    assert is_restored(harness)
    planned = roll_back(harness, revision=1, take_ownership=True, dry_run=True).plan.actions
    assert [action.kind for action in planned] == ["adopt-object", "helm-rollback"]
    assert re.search(facts("release other" if metadata else "no release"), planned[0].reason)
    assert data(harness) == "theirs"
    assert roll_back(harness, revision=1, take_ownership=True).changed, "the hint leads out"
    assert data(harness) == "b"
    assert is_restored(harness)


def test_objects_that_do_not_exist_or_cannot_be_read_are_left_to_helm(harness: DeployHarness) -> None:
    harness.cluster.fail("get configmap demo/extra", ClusterUnreachable("away"))
    assert roll_back(harness).changed
    assert "adopt" not in notices(harness).lower()


def test_failed_deploy_is_rolled_back_over_an_object_that_it_was_to_remove(tmp_path: Path) -> None:
    """Helm removes objects last, so one that fails before that leaves an object that its record does not have."""
    harness = DeployHarness(tmp_path)
    harness.cluster.resources.append(CONFIG_MAPS)
    harness.deploy(template=WORKLOAD + EXTRA)
    harness.helm.end_with(Status.FAILED, HelmFailed("Deployment web is invalid"))
    with pytest.raises(DeployRolledBack):
        harness.deploy("1.1.0", template=WORKLOAD)
    assert harness.statuses == ["superseded", "failed", "deployed"]
    assert data(harness) == "b"
    assert is_restored(harness)


def test_failed_deploy_is_not_rolled_back_over_an_object_of_another_owner(tmp_path: Path) -> None:
    harness = DeployHarness(tmp_path)
    harness.cluster.resources.append(CONFIG_MAPS)
    harness.deploy(template=WORKLOAD + EXTRA)
    harness.helm.end_with(Status.FAILED, LATE, during=lambda check: put(harness))
    with pytest.raises(DeployKept, match=facts("ConfigMap extra")) as kept:
        harness.deploy("1.1.0", template=WORKLOAD)
    assert "`kubernaut rollback hello -n demo --revision 1 --take-ownership`" in kept.value.hint
    assert data(harness) == "theirs"
    assert harness.statuses == ["deployed", "failed"]


def test_rollback_of_a_deploy_that_takes_ownership_takes_it_too(tmp_path: Path) -> None:
    harness = DeployHarness(tmp_path)
    harness.cluster.resources.append(CONFIG_MAPS)
    harness.deploy(template=WORKLOAD + EXTRA)
    harness.helm.end_with(Status.FAILED, LATE, during=lambda check: put(harness))
    with pytest.raises(DeployRolledBack):
        harness.deploy("1.1.0", template=WORKLOAD, take_ownership=True)
    assert data(harness) == "b"


def test_fenced_record_is_compared_with_and_fenced_again(kept: DeployHarness) -> None:
    kept.helm.end_with(Status.FAILED, LATE)
    with pytest.raises(DeployKept):
        kept.deploy("1.2.0", template=WORKLOAD, on_failure="keep")
    kept.cluster.patch_secret("demo", kept.history.records[0].secret, {"immutable": True})
    assert roll_back(kept, revision=1).changed
    assert kept.statuses == ["superseded", "superseded", "failed", "deployed"]
    assert [record.immutable for record in reversed(kept.history.records)] == [False, False, True, False]
    assert is_restored(kept)


@pytest.mark.parametrize("error", [HelmFailed("it failed"), KeyboardInterrupt()])
def test_manifest_is_restored_when_the_rollback_fails(kept: DeployHarness, error: BaseException) -> None:
    kept.helm.end_with(Status.FAILED, error)
    with pytest.raises((DeployFailed, KeyboardInterrupt)):
        roll_back(kept)
    assert is_restored(kept)
    assert roll_back(kept).changed


def test_manifest_is_left_alone_once_the_lock_is_lost(kept: DeployHarness) -> None:
    kept.helm.end_with(Status.FAILED, LockLost("lost"))
    with pytest.raises(LockLost):
        roll_back(kept)
    assert not is_restored(kept)
    assert roll_back(kept).changed, "the next one restores it"
    assert is_restored(kept)


def test_failure_to_restore_is_reported_and_the_next_command_restores_it(kept: DeployHarness) -> None:
    after_helm(kept, "rollback", lambda: kept.cluster.fail("patch secret", ClusterUnreachable("away")))
    roll_back(kept)
    assert "away" in notices(kept)
    assert not is_restored(kept)
    assert kept.deploy("1.2.0", template=WORKLOAD).changed
    assert is_restored(kept)


def test_restore_adopts_an_object_of_the_release(kept: DeployHarness) -> None:
    kept.helm.end_with(Status.FAILED, LATE)
    with pytest.raises(DeployKept):
        kept.deploy("1.2.0", template=WORKLOAD, on_failure="keep")
    execute(UninstallRequest("demo", "hello"), context=kept.context)
    assert execute(RestoreRequest("demo", "hello"), context=kept.context).changed


def test_helm_itself_refuses_or_overwrites(harness: DeployHarness) -> None:
    """What the other tests rest on: the fake does what the real Helm does."""
    put(harness)
    how: dict[str, Any] = {"namespace": "demo", "timeout": 9.0, "history_max": 50, "log": print}
    if harness.version == HELM_3:
        with pytest.raises(HelmFailed, match='no ConfigMap with the name "extra" found'):
            harness.helm.rollback("hello", 1, **how)
    else:
        harness.helm.rollback("hello", 1, **how)
    assert (data(harness), verbs(harness)[-1]) == ("theirs" if harness.version == HELM_3 else "b", "rollback")
