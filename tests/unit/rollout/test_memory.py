"""When an object is as Helm applies it, and how failed pulls are counted from states."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from support.kube_objects import (
    NAMESPACE,
    Json,
    changed,
    container,
    deployment,
    job,
    manifest,
    moment,
    owned_pod,
    replica_set,
    running,
    service,
    waiting,
)
from support.rollouts import snapshot_of

from kubernaut.rollout.memory import Pulls, contains, count_pulls, is_applied
from kubernaut.rollout.objects import expected_objects

WEB = deployment()


def applied(wanted: Json, live: Json, before: Json | None, *, hook: bool = False, seen: bool = True) -> bool:
    item = manifest(wanted)
    if hook:
        item["metadata"]["annotations"] = {"helm.sh/hook": "pre-install"}
    expected = expected_objects([] if hook else [item], NAMESPACE, [item] if hook else [])
    return is_applied(expected[0], live, before, moment(0.7) if seen else None)


def test_changed_object_is_applied_when_its_specification_changes() -> None:
    old = deployment("web", 1, container(image="old"))
    assert not applied(WEB, old, old)
    assert applied(WEB, WEB, old)


def test_unchanged_object_is_applied_from_the_beginning() -> None:
    assert applied(WEB, WEB, WEB)


def test_autoscaler_does_not_apply_anything() -> None:
    old = deployment("web", 1, container(image="old"))
    assert not applied(WEB, changed(old, spec={"replicas": 7}), old)


def test_change_of_the_replicas_alone_is_seen() -> None:
    wider = deployment(replicas=3)
    assert not applied(wider, WEB, WEB)
    assert applied(wider, wider, WEB)


def test_object_that_is_created_or_replaced_is_applied() -> None:
    old = deployment("web", 1, container(image="old"))
    altered = deployment("web", 1, container(image="altered-by-a-webhook"))
    assert applied(WEB, altered, None)
    assert applied(WEB, changed(altered, metadata={"uid": "another"}), old)


def test_object_whose_beginning_was_not_seen_is_compared() -> None:
    old = deployment("web", 1, container(image="old"))
    assert not applied(WEB, old, None, seen=False)
    assert applied(WEB, WEB, None, seen=False)


def test_hook_is_applied_when_it_is_created() -> None:
    left = job(created=-60)
    assert not applied(left, left, left, hook=True)
    assert not applied(left, left, None, hook=True)
    assert applied(left, job(created=0), None, hook=True)
    assert applied(left, job(created=0, uid="another"), left, hook=True)


def test_service_without_a_generation_is_compared() -> None:
    old = service(selector={"app": "old"})
    assert not applied(service(), old, old)
    assert applied(service(), service(), old)


@pytest.mark.parametrize(
    ("live", "wanted"),
    [
        ({"a": 1, "b": 2}, {"a": 1}),
        ({}, {"nodeSelector": {}, "env": [], "hostNetwork": False, "name": "", "x": None}),
        ({"cpu": "500m"}, {"cpu": 0.5}),
        ({"cpu": "1"}, {"cpu": 1}),
        ({"memory": "1Gi"}, {"memory": "1024Mi"}),
        ({"memory": "1k"}, {"memory": "1000"}),
        ([{"name": "web", "x": 1}], [{"name": "web"}]),
    ],
)
def test_live_object_contains_its_manifest(live: object, wanted: object) -> None:
    assert contains(live, wanted)


@pytest.mark.parametrize(
    ("live", "wanted"),
    [
        ({}, {"a": 1}),
        ({"a": 1}, {"a": 2}),
        ({"memory": "1G"}, {"memory": "1Gi"}),
        ([1, 2], [1]),
        ([], {"a": 1}),
        ("a", ["a"]),
        ({"replicas": 1}, {"replicas": 0}),
        ({"paused": True}, {"paused": False}),
    ],
)
def test_live_object_that_is_another(live: object, wanted: object) -> None:
    assert not contains(live, wanted)


def pulls_of(statuses: Sequence[Json]) -> int:
    newest = replica_set(WEB)
    expected = expected_objects([manifest(WEB)], NAMESPACE)
    found: dict[tuple[str, str], Pulls] = {}
    for seconds, status in enumerate(statuses):
        found = dict(count_pulls(found, snapshot_of(seconds, expected, WEB, newest, owned_pod(newest, "a", status))))
    return found.get(("uid-web-7f1-a", "web"), Pulls()).failures


FAILED, BACK_OFF, CREATING = waiting("ErrImagePull"), waiting("ImagePullBackOff"), waiting("ContainerCreating")


@pytest.mark.parametrize(
    ("statuses", "failures"),
    [
        ([CREATING, running()], 0),
        ([FAILED], 1),
        ([FAILED, FAILED, BACK_OFF, BACK_OFF], 1),
        ([BACK_OFF, BACK_OFF], 1),
        ([FAILED, BACK_OFF, FAILED], 2),
        ([BACK_OFF, FAILED, BACK_OFF, FAILED], 3),
        ([FAILED, BACK_OFF, CREATING, running()], 1),
    ],
)
def test_failed_pulls_are_counted_from_the_states(statuses: Sequence[Json], failures: int) -> None:
    assert pulls_of(statuses) == failures
