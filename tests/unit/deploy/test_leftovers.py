"""What a failed revision leaves: what Helm compares the next one with, and the objects that are removed then."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from support.deploy_harness import LATE, WORKLOAD, DeployHarness
from support.messages import facts
from support.planning import deploy_request, plan
from support.records import history, made, operation, own, record

from kubernaut.adapters.kube_resources import Resource
from kubernaut.deploy.execute import execute
from kubernaut.deploy.planning.leftovers import interrupted_base, leftovers, passed_base, was_applied
from kubernaut.deploy.requests import RollbackRequest
from kubernaut.errors import ChartInvalid, ClusterDenied, DeployKept, DeployRolledBack, HelmFailed, KubernautError
from kubernaut.events import Notice
from kubernaut.history.operations import Operation, Outcome
from kubernaut.history.records import Record, Status
from kubernaut.history.repair import superseded_patch

CONFIG_MAPS = Resource("ConfigMap", "v1", "configmaps")
OTHER = "sha256:" + "b" * 64


def config_map(name: str, annotations: str = "{}") -> str:
    return f"---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, annotations: {annotations}}}\n"


def failed(of: Record, *, cause: str | None = "image_not_found", reason: str = "deploy_failed", **more: Any) -> Operation:
    return operation(made=(made(of),), **more).model_copy(update={"outcome": Outcome(reason=reason, message="", cause=cause)})


# what Helm compares with


def test_upgrade_is_compared_with_the_revision_that_was_applied_last() -> None:
    current = own(2, "failed")
    known = history(own(1, "deployed", "old"), current, operations=(failed(current),))
    actions = plan("deploy", known, digest=OTHER).actions
    assert [(action.kind, action.subject) for action in actions] == [
        ("mark-superseded", "demo.hello.v1"),
        ("helm-upgrade", "demo.hello"),
    ]
    assert "v2 (1.0.0)" in actions[0].reason
    assert [action.kind for action in plan("rollback", known).actions] == ["helm-rollback"], "Helm compares with the last one"
    assert passed_base(history(own(1, "superseded"), current, operations=(failed(current),)), 50) is None


@pytest.mark.parametrize("cause", ["hook_failed", "apply_conflict", "field_immutable", "helm_failed", None])
def test_revision_that_was_not_applied_whole_is_not_compared_with(cause: str | None) -> None:
    current = own(2, "failed")
    known = history(own(1, "deployed", "old"), current, operations=(failed(current, cause=cause),))
    assert not was_applied(current, known)
    assert [action.kind for action in plan("deploy", known, digest=OTHER).actions] == ["helm-upgrade"]


def test_release_that_helm_would_prune_stays_deployed() -> None:
    current = own(3, "failed")
    known = history(own(1, "deployed", "old"), own(2, "failed", "other"), current, operations=(failed(current),))
    found = {most: passed_base(known, most) is not None for most in (0, 2, 3, 4, 50)}
    assert found == {0: True, 2: False, 3: False, 4: True, 50: True}


def test_interrupted_and_foreign_revisions_are_not_compared_with() -> None:
    current = own(2, "failed")
    for operations in ((failed(current, reason="interrupted"),), (operation(made=(made(current),), reason=None),), ()):
        assert passed_base(history(own(1, "deployed", "old"), current, operations=operations), 50) is None
    back = own(3, "failed")
    both = failed(current).model_copy(update={"made": (made(current), made(back))})
    assert passed_base(history(own(1, "deployed", "old"), current, back, operations=(both,)), 50) is None


# what is removed


def names(*records: Record, operations: tuple[Operation, ...] = ()) -> list[tuple[str, int]]:
    """The leftovers of a history, newest record first."""
    known = history(*records, operations=operations)
    assert known.current is not None
    return [(one.object.key.name, one.record.revision) for one in leftovers(known, known.current)]


def test_objects_that_only_failed_revisions_have_are_left() -> None:
    first = own(1, "superseded", manifest=config_map("a") + config_map("old"))
    second = own(
        2, "failed", manifest=config_map("a") + config_map("extra") + config_map("kept", "{helm.sh/resource-policy: keep}")
    )
    third = own(3, "failed", manifest=config_map("more") + config_map("extra"))
    last = own(4, "deployed", manifest=config_map("a"))
    assert names(first, second, third, last) == [("old", 1), ("more", 3), ("extra", 3)]
    assert names(first, last) == [("old", 1)], "Helm has deleted it, unless the cluster refused"


def test_failed_revision_that_helm_called_superseded_counts() -> None:
    second = own(2, "superseded", manifest=config_map("extra"))
    assert names(own(1, "superseded"), second, own(3, "deployed"), operations=(failed(second),)) == [("extra", 2)]
    assert names(own(1, "superseded"), second, own(3, "deployed")) == [("extra", 2)]
    assert names(own(1, "superseded", manifest=config_map("extra")), own(2, "superseded"), own(3, "deployed")) == []


def test_nothing_is_left_where_a_manifest_cannot_be_read() -> None:
    second = own(2, "failed", manifest=config_map("extra"))
    assert names(second, own(3, "deployed", manifest="kind: [1\n")) == []
    assert names(own(2, "failed", manifest="kind: [1\n"), own(3, "deployed")) == []
    assert names(own(2, "failed", payload="!!!"), own(3, "deployed")) == []


def test_plan_names_what_is_removed() -> None:
    current = own(2, "failed", manifest=config_map("a") + config_map("extra"))
    known = history(own(1, "deployed", "old", manifest=config_map("a")), current, operations=(failed(current),))
    assert re.search(facts("ConfigMap extra", "v2 (1.0.0)"), plan("deploy", known, digest=OTHER).actions[-1].reason)
    assert re.search(facts("ConfigMap extra", "v2 (1.0.0)"), plan("rollback", known).actions[-1].reason)
    assert "removes" not in plan("deploy", history(record(1, "failed"))).actions[-1].reason
    assert deploy_request().subject


# the execution


@pytest.fixture
def harness(tmp_path: Path) -> DeployHarness:
    """A release whose second version failed and was kept, with a ConfigMap of its own."""
    return kept_failure(tmp_path, LATE)


@pytest.fixture
def in_part(tmp_path: Path) -> DeployHarness:
    """The same, where Helm applied the second version in part: it compares the next one with the first, and removes nothing."""
    return kept_failure(tmp_path, HelmFailed("it failed"))


def kept_failure(folder: Path, error: KubernautError) -> DeployHarness:
    found = DeployHarness(folder)
    found.cluster.resources.append(CONFIG_MAPS)
    found.deploy(template=WORKLOAD)
    found.helm.end_with(Status.FAILED, error)
    with pytest.raises(DeployKept):
        found.deploy("1.1.0", template=WORKLOAD + config_map("extra"), on_failure="keep")
    assert found.statuses == ["deployed", "failed"]
    return found


def put(harness: DeployHarness, owner: str = "hello", **annotations: str) -> None:
    owned = {"meta.helm.sh/release-name": owner, "meta.helm.sh/release-namespace": "demo"}
    metadata = {"name": "extra", "annotations": {**owned, **annotations}}
    harness.cluster.put({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}, "demo")


def exists(harness: DeployHarness) -> bool:
    return harness.cluster.get_object(CONFIG_MAPS, "demo", "extra") is not None


def notices(harness: DeployHarness) -> str:
    return "\n".join(event.text for event in harness.events if isinstance(event, Notice))


def test_next_deploy_removes_what_the_failed_one_brought(harness: DeployHarness) -> None:
    put(harness)
    assert harness.deploy("1.2.0", template=WORKLOAD).changed
    assert not exists(harness)
    assert harness.statuses == ["superseded", "failed", "deployed"]
    assert [record.labelled_status for record in reversed(harness.history.records)] == harness.statuses


def test_next_deploy_removes_what_a_failure_of_helm_brought_and_names_it(in_part: DeployHarness) -> None:
    put(in_part)
    assert in_part.deploy("1.2.0", template=WORKLOAD).changed
    assert not exists(in_part)
    assert re.search(facts("ConfigMap extra", "v2 (1.1.0)"), notices(in_part))
    assert in_part.statuses == ["superseded", "failed", "deployed"]


@pytest.mark.parametrize("error", [LATE, HelmFailed("it failed")])
def test_rollback_of_a_failed_deploy_removes_what_it_brought(tmp_path: Path, error: KubernautError) -> None:
    """What ``--cleanup-on-fail`` stands for, also where the chart keeps failures."""
    harness = DeployHarness(tmp_path)
    harness.cluster.resources.append(CONFIG_MAPS)
    harness.deploy(template=WORKLOAD)
    harness.helm.end_with(Status.FAILED, error, during=lambda check: put(harness))
    more = {"template": WORKLOAD + config_map("extra"), "annotations": "{kubernaut/on-failure: keep}"}
    with pytest.raises(DeployRolledBack):
        harness.deploy("1.1.0", **more, on_failure="rollback")
    assert harness.statuses == ["superseded", "failed", "deployed"]
    assert not exists(harness)


@pytest.mark.parametrize("error", [LATE, HelmFailed("it failed"), KeyboardInterrupt()])
def test_next_deploy_removes_what_a_first_release_brought_that_failed(tmp_path: Path, error: BaseException) -> None:
    harness = DeployHarness(tmp_path)
    harness.cluster.resources.append(CONFIG_MAPS)
    harness.helm.end_with(Status.FAILED, error, during=lambda check: put(harness))
    with pytest.raises((DeployKept, KeyboardInterrupt)):
        harness.deploy(template=WORKLOAD + config_map("extra"), on_failure="rollback")
    assert exists(harness)
    assert harness.deploy("1.1.0", template=WORKLOAD).changed
    assert harness.statuses == ["failed", "deployed"]
    assert not exists(harness)


@pytest.mark.parametrize("verb", ["deploy", "rollback"])
def test_next_verb_removes_what_a_killed_deploy_brought(tmp_path: Path, verb: str) -> None:
    harness = DeployHarness(tmp_path)
    harness.cluster.resources.append(CONFIG_MAPS)
    harness.deploy(template=WORKLOAD)
    harness.leave_a_deploy(template=WORKLOAD + config_map("extra"))
    put(harness)
    if verb == "deploy":
        assert harness.deploy("1.2.0", template=WORKLOAD).changed
    else:
        assert execute(RollbackRequest("demo", "hello"), context=harness.context).changed
    assert harness.statuses == ["superseded", "failed", "deployed"]
    assert not exists(harness)


def test_object_that_the_new_revision_has_stays(harness: DeployHarness) -> None:
    put(harness)
    harness.deploy("1.2.0", template=WORKLOAD + config_map("extra"))
    assert exists(harness)


@pytest.mark.parametrize(("owner", "policy"), [("other", ""), ("hello", "keep")])
def test_object_of_others_and_object_that_is_to_be_kept_stay(in_part: DeployHarness, owner: str, policy: str) -> None:
    put(in_part, owner, **{"helm.sh/resource-policy": policy})
    in_part.deploy("1.2.0", template=WORKLOAD)
    assert exists(in_part)
    assert "extra" not in notices(in_part).replace("mark-superseded", "")


def test_rollback_removes_it_too(harness: DeployHarness) -> None:
    put(harness)
    execute(RollbackRequest("demo", "hello"), context=harness.context)
    assert not exists(harness)
    assert harness.statuses == ["superseded", "failed", "deployed"]


def test_rollback_after_another_failure_removes_it_too(harness: DeployHarness) -> None:
    put(harness)
    harness.helm.end_with(Status.FAILED, LATE)
    with pytest.raises(DeployRolledBack):
        harness.deploy("1.2.0", template=WORKLOAD)
    assert not exists(harness)
    assert harness.statuses == ["superseded", "failed", "failed", "deployed"]


def test_failure_to_remove_is_reported_and_the_next_deploy_tries_again(in_part: DeployHarness) -> None:
    put(in_part)
    in_part.cluster.fail("delete configmap", ClusterDenied("no right to delete configmaps"))
    assert in_part.deploy("1.2.0", template=WORKLOAD).changed
    assert exists(in_part)
    assert "no right to delete configmaps" in notices(in_part)
    in_part.deploy("1.3.0", template=WORKLOAD)
    assert not exists(in_part)


def test_release_that_served_is_deployed_again_without_a_success(harness: DeployHarness) -> None:
    harness.helm.end_with(None, ChartInvalid("it does not render"))
    with pytest.raises(KubernautError, match="render"):
        harness.deploy("1.2.0", template=WORKLOAD)
    assert harness.statuses == ["deployed", "failed"]
    harness.helm.end_with(Status.FAILED, LATE)
    with pytest.raises(DeployKept):
        harness.deploy("1.3.0", template=WORKLOAD, on_failure="keep")
    assert harness.statuses == ["deployed", "failed", "failed"]


def test_deploy_that_was_killed_before_helm_made_a_record_changes_nothing_for_the_next(harness: DeployHarness) -> None:
    """The release that served is superseded by then, and is still what a rollback goes to."""
    put(harness)
    harness.helm.end_with(None, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        harness.deploy("1.2.0", template=WORKLOAD)
    assert harness.statuses == ["superseded", "failed"]
    assert plan_target(harness) == "demo.hello.v1"
    assert harness.deploy("1.3.0", template=WORKLOAD).changed
    assert harness.statuses == ["superseded", "failed", "deployed"]
    assert not exists(harness)


def plan_target(harness: DeployHarness) -> str:
    return execute(RollbackRequest("demo", "hello"), context=harness.context, dry_run=True).plan.actions[-1].subject


# deploys that were interrupted


def interrupted(of: Record, reason: str | None = None) -> Operation:
    return operation(of.labels["kubernaut/operation"], reason=reason)


@pytest.mark.parametrize("reason", [None, "interrupted"])
def test_upgrade_after_an_interrupted_one_is_compared_with_what_was_applied_whole(reason: str | None) -> None:
    late, broken_off = own(2, "failed", "late"), own(3, "failed", "broken-off")
    operations = (interrupted(broken_off, reason), failed(late, id="late"))
    known = history(own(1, "superseded", "old"), late, broken_off, operations=operations)
    assert [(action.kind, action.subject) for action in plan("deploy", known, digest=OTHER).actions] == [
        ("mark-deployed", "demo.hello.v2"),
        ("helm-upgrade", "demo.hello"),
    ]
    assert [action.kind for action in plan("rollback", known).actions] == ["helm-rollback"]


@pytest.mark.parametrize("deployed", [1, 2])
def test_what_is_deployed_is_compared_with(deployed: int) -> None:
    late, broken_off = own(2, "deployed" if deployed == 2 else "failed", "late"), own(3, "failed", "broken-off")
    first = own(1, "deployed" if deployed == 1 else "superseded", "old")
    known = history(first, late, broken_off, operations=(interrupted(broken_off), failed(late, id="late")))
    assert interrupted_base(known) is None


def test_revision_that_failed_by_itself_is_compared_with() -> None:
    late, refused = own(2, "failed", "late"), own(3, "failed", "refused")
    operations = (failed(refused, cause="field_immutable", id="refused"), failed(late, id="late"))
    assert interrupted_base(history(own(1, "superseded", "old"), late, refused, operations=operations)) is None
    assert interrupted_base(history(own(1, "superseded", "old"), late, operations=(failed(late, id="late"),))) is None
    assert interrupted_base(history(record(1, "failed"))) is None


@pytest.mark.parametrize("fails", [False, True])
def test_interrupted_deploy_is_repeated_and_the_late_one_stays_failed(harness: DeployHarness, *, fails: bool) -> None:
    put(harness)
    harness.helm.end_with(Status.FAILED, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        harness.deploy("1.2.0", template=WORKLOAD)
    harness.cluster.patch_secret("demo", harness.history.records[-1].secret, superseded_patch(harness.history.records[-1]))
    assert harness.statuses == ["superseded", "failed", "failed"]
    if fails:
        harness.helm.end_with(Status.FAILED, LATE)
        with pytest.raises(DeployRolledBack):
            harness.deploy("1.2.0", template=WORKLOAD)
    else:
        harness.deploy("1.2.0", template=WORKLOAD)
    assert "mark-deployed demo.hello.v2" in notices(harness)
    assert harness.statuses == ["superseded", "failed", "failed", *(["failed"] if fails else []), "deployed"]
    assert [record.labelled_status for record in reversed(harness.history.records)] == harness.statuses
    assert not exists(harness)
