"""What others changed in the objects of a manifest: by the fields that it sets, and by who wrote them last."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.kube_objects import Json, stamp

from kubernaut.rollout.drift import (
    Changed,
    compare,
    differences,
    is_replicas,
    restored,
    sentence,
    shown,
    without_scaled,
)
from kubernaut.rollout.field_managers import Item, Path
from kubernaut.rollout.objects import Expected, ObjectKey, expected_objects, key_of

WEB: Json = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web", "labels": {"app": "web"}, "annotations": {"team": "a"}},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {
                "containers": [
                    {
                        "name": "web",
                        "image": "r/web:1",
                        "args": ["--port", "80"],
                        "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
                        "ports": [{"containerPort": 80}],
                        "resources": {"limits": {"cpu": "1000m", "memory": "1024Mi"}},
                    },
                    {"name": "side", "image": "r/side:1"},
                ],
            },
        },
    },
}
HELM_TIME, LATER, EARLIER = stamp(0), stamp(60), stamp(-60)


def named(item: Json) -> Json:
    return {**item, "metadata": {"namespace": "demo", **item["metadata"]}}


def expected(*items: Json) -> tuple[Expected, ...]:
    return expected_objects(items, "demo")


def found(live: Json, manifest: Json = WEB) -> tuple[Changed, ...]:
    return compare(expected(manifest), {key_of(live, "demo"): live}).changed


def at(item: Any, *path: Any) -> Any:
    for step in path:
        item = item[step]
    return item


def with_change(value: Any, *path: Any, item: Json = WEB) -> Json:
    """Return a copy of an object with another value at a path; without the field for ``...``."""
    live = copy.deepcopy(named(item))
    place = at(live, *path[:-1])
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return live


CONTAINER = ("spec", "template", "spec", "containers", 0)
CHANGED: Mapping[str, tuple[Json, str]] = {
    "scale": (with_change(0, "spec", "replicas"), "spec.replicas"),
    "set image": (with_change("r/web:2", *CONTAINER, "image"), "spec.template.spec.containers[web].image"),
    "set env": (with_change("9", *CONTAINER, "env", 0, "value"), "spec.template.spec.containers[web].env[A].value"),
    "set env, removed": (with_change(..., *CONTAINER, "env", 1), "spec.template.spec.containers[web].env[B]"),
    "set env, from a key": (
        with_change({"name": "A", "valueFrom": {"fieldRef": {}}}, *CONTAINER, "env", 0),
        "spec.template.spec.containers[web].env[A].value",
    ),
    "container removed": (with_change(..., "spec", "template", "spec", "containers", 1), "spec.template.spec.containers[side]"),
    "port": (with_change(81, *CONTAINER, "ports", 0, "containerPort"), "spec.template.spec.containers[web].ports[80]"),
    "argument": (with_change("81", *CONTAINER, "args", 1), "spec.template.spec.containers[web].args[1]"),
    "arguments": (with_change(["--port"], *CONTAINER, "args"), "spec.template.spec.containers[web].args"),
    "limit": (
        with_change("500m", *CONTAINER, "resources", "limits", "cpu"),
        "spec.template.spec.containers[web].resources.limits.cpu",
    ),
    "label": (with_change("other", "metadata", "labels", "app"), "metadata.labels.app"),
    "annotation removed": (with_change(..., "metadata", "annotations", "team"), "metadata.annotations.team"),
}


@pytest.mark.parametrize("name", CHANGED)
def test_a_changed_field_is_named(name: str) -> None:
    live, field = CHANGED[name]
    assert [change.field for change in found(live)] == [field]
    assert found(live)[0].object == ObjectKey("Deployment", "demo", "web")


SAME: Mapping[str, Json] = {
    "nothing": named(WEB),
    "another order": with_change(list(reversed(at(WEB, *CONTAINER, "env"))), *CONTAINER, "env"),
    "more variables": with_change([{"name": "C", "value": "3"}, *at(WEB, *CONTAINER, "env")], *CONTAINER, "env"),
    "quantities": with_change({"cpu": "1", "memory": "1Gi"}, *CONTAINER, "resources", "limits"),
    "default protocol": with_change("TCP", *CONTAINER, "ports", 0, "protocol"),
    "status": with_change({"replicas": 0}, "status"),
    "revision": with_change("7", "metadata", "annotations", "deployment.kubernetes.io/revision"),
    "another namespace field": with_change("demo", "metadata", "namespace"),
}


@pytest.mark.parametrize("name", SAME)
def test_what_the_cluster_adds_is_not_drift(name: str) -> None:
    assert found(SAME[name]) == ()


@pytest.mark.parametrize(
    ("wanted", "live"),
    [
        ({"port": "8080"}, {"port": 8080}),
        ({"ratio": 1.0}, {"ratio": 1}),
        ({"hostNetwork": False, "env": [], "affinity": {}, "text": "", "note": None}, {}),
        ({"note": None}, {"note": "kept"}),
        ({"securityContext": {"seLinuxOptions": {}}}, {}),
        ({"caBundle": "Cg=="}, {"caBundle": "bGl2ZQ=="}),
        ({"resources": {"requests": {"cpu": 0.5}}}, {"resources": {"requests": {"cpu": "500m"}}}),
    ],
)
def test_values_that_mean_the_same(wanted: Json, live: Json) -> None:
    manifest = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": wanted}
    assert list(differences(manifest, {**manifest, "spec": live})) == []


@pytest.mark.parametrize(
    ("wanted", "live"),
    [({"a": True}, {"a": 1}), ({"a": 0}, {"a": 3}), ({"value": "1000m"}, {"value": "1"}), ({"a": {"b": 1}}, {"a": "b"})],
)
def test_values_that_differ(wanted: Json, live: Json) -> None:
    manifest = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": wanted}
    assert list(differences(manifest, {**manifest, "spec": live}))


def test_secret_is_compared_by_its_decoded_data() -> None:
    manifest = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"a": "Zm\n 9v"}, "stringData": {"b": "x"}}
    live = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"a": "Zm9v", "b": "eA=="}}
    assert list(differences(manifest, live)) == []
    live["data"] = {"a": base64.b64encode(b"other").decode(), "b": "eA=="}
    assert [shown(path) for path in differences(manifest, live)] == ["data.a"]


def test_claim_that_was_expanded_is_not_drift() -> None:
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "c"}, "spec": {"resources": {"a": "1Gi"}}}
    assert list(differences(claim, {**claim, "spec": {"resources": {"a": "2Gi"}}})) == []


def test_missing_object_is_named_without_a_field() -> None:
    (change,) = compare(expected(WEB), {}).changed
    assert (str(change.object), change.field) == ("Deployment web", "")
    assert "does not exist" in sentence([change])


# who wrote it


def managed(live: Json, *entries: Json) -> Json:
    return {**live, "metadata": {**live["metadata"], "managedFields": list(entries)}}


def entry(manager: str, time: str, fields: Json, **more: Any) -> Json:
    return {"manager": manager, "operation": "Update", "time": time, "fieldsType": "FieldsV1", "fieldsV1": fields, **more}


REPLICAS: Json = {"f:spec": {"f:replicas": {}}}
IMAGE_OF_WEB: Json = {
    "f:spec": {"f:template": {"f:spec": {"f:containers": {json.dumps({"name": "web"}): {}, 'k:{"name":"web"}': {"f:image": {}}}}}}
}
SCALED, SET_IMAGE = CHANGED["scale"][0], CHANGED["set image"][0]


def test_writer_of_a_field_is_named() -> None:
    live = managed(SCALED, entry("helm", HELM_TIME, {}), entry("kubectl", LATER, REPLICAS, subresource="scale"))
    (change,) = found(live)
    assert (change.manager, f"{change.since:%H:%M:%S}") == ("kubectl", "12:01:00")
    assert "Deployment web differs from the manifest: spec.replicas (kubectl, 2026-03-01 12:01:00 UTC)" in sentence([change])


def test_field_of_a_list_item_has_its_writer() -> None:
    (change,) = found(managed(SET_IMAGE, entry("helm", HELM_TIME, REPLICAS), entry("kubectl-set", LATER, IMAGE_OF_WEB)))
    assert change.manager == "kubectl-set"


@pytest.mark.parametrize("manager", ["helm", "helm-4.2", "helm-controller", "terraform-provider-helm_v2"])
def test_field_that_helm_wrote_was_changed_by_admission(manager: str) -> None:
    live = managed(SCALED, entry(manager, HELM_TIME, REPLICAS, operation="Apply"), entry("kubectl", LATER, IMAGE_OF_WEB))
    assert found(live) == ()


def test_removed_field_counts_if_another_manager_wrote_the_object_after_helm() -> None:
    removed = with_change(..., *CONTAINER, "env", 1)
    helm = entry("helm", HELM_TIME, REPLICAS)
    assert found(managed(removed, helm)) == ()
    assert found(managed(removed, helm, entry("kubectl", EARLIER, IMAGE_OF_WEB))) == ()
    assert found(managed(removed, helm, entry("kube-controller-manager", LATER, IMAGE_OF_WEB, subresource="status"))) == ()
    assert [change.manager for change in found(managed(removed, helm, entry("kubectl", LATER, IMAGE_OF_WEB)))] == [""]


def test_field_without_an_owner_was_changed() -> None:
    (change,) = found(managed(SCALED, entry("helm", HELM_TIME, IMAGE_OF_WEB), entry("kubectl", LATER, {}, subresource="scale")))
    assert (change.field, change.manager) == ("spec.replicas", "")


def test_list_that_is_owned_as_a_whole_has_its_writer() -> None:
    fields = {"f:spec": {"f:template": {"f:spec": {"f:containers": {'k:{"name":"web"}': {"f:args": {}}}}}}}
    (change,) = found(managed(CHANGED["argument"][0], entry("helm", HELM_TIME, REPLICAS), entry("kubectl-edit", LATER, fields)))
    assert change.manager == "kubectl-edit"


@given(keys=st.sets(st.from_regex(r"[a-z]{1,4}", fullmatch=True), min_size=1, max_size=4), data=st.data())
def test_keys_that_another_manager_took_have_their_writer(keys: set[str], data: st.DataObject) -> None:
    """The entry of Helm keeps the map, as a whole once its last key is taken."""
    taken = data.draw(st.sets(st.sampled_from(sorted(keys)), min_size=1))
    wanted: Json = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "web"}, "data": dict.fromkeys(keys, "ours")}
    changed = {**wanted, "data": {key: "theirs" if key in taken else "ours" for key in keys}}
    kept = {".": {}, **{f"f:{key}": {} for key in keys - taken}} if keys - taken else {}
    theirs = {"f:data": {f"f:{key}": {} for key in taken}}
    live = managed(changed, entry("helm", HELM_TIME, {"f:data": kept}), entry("kubectl-edit", HELM_TIME, theirs))
    drift = found(live, wanted)
    assert {(one.field, one.manager) for one in drift} == {(f"data.{key}", "kubectl-edit") for key in taken}


def test_last_key_of_a_map_that_was_removed_is_drift() -> None:
    wanted: Json = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "web"}, "data": {"text": "ours"}}
    helm, theirs = entry("helm", HELM_TIME, {"f:data": {}}), entry("kubectl-edit", LATER, {"f:metadata": {}})
    drift = found(managed({**wanted, "data": {}}, helm, theirs), wanted)
    assert [one.field for one in drift] == ["data.text"]


# fields that are gone without a trace


def missing_fields(one: Expected, live: Json) -> tuple[Path, ...]:
    return compare((one,), {one.key: live}).missing.get(one.key, ())


def test_missing_field_is_drift_if_applying_the_manifest_would_restore_it() -> None:
    helm = entry("helm", HELM_TIME, REPLICAS)
    live = managed(with_change(..., *CONTAINER, "env", 1), helm)
    (one,) = expected(WEB)
    (missing,) = missing_fields(one, live)
    assert shown(missing).endswith(".env[B]")
    (change,) = restored(one, [missing], WEB)
    assert (change.field, change.manager, change.since) == (shown(missing), "", None)
    assert restored(one, [missing], live) == [], "the API server does not accept it"
    assert restored(one, [missing], {}) == [], "it is not known"


def test_field_that_another_manager_removed_is_not_missing_without_a_trace() -> None:
    helm, theirs = entry("helm", HELM_TIME, REPLICAS), entry("kubectl", LATER, IMAGE_OF_WEB)
    live = managed(with_change(..., *CONTAINER, "env", 1), helm, theirs)
    assert missing_fields(expected(WEB)[0], live) == ()
    assert missing_fields(expected(WEB)[0], managed(SCALED, helm)) == (), "it has another value"


# replicas


def scaler(kind: str = "Deployment", name: str = "web", **metadata: str) -> Json:
    target = {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": kind, "name": name}}
    return {"kind": "HorizontalPodAutoscaler", "metadata": {"name": "x", **metadata}, "spec": target}


@pytest.mark.parametrize(
    ("scalers", "left"),
    [
        ([], 2),
        ([scaler()], 1),
        ([scaler(namespace="demo")], 1),
        ([scaler(namespace="other")], 2),
        ([scaler(name="api")], 2),
        ([scaler("StatefulSet")], 2),
        ([{"metadata": {}, "spec": {"scaleTargetRef": "web"}}, {}], 2),
    ],
)
def test_replicas_of_what_is_scaled_are_left_out(scalers: list[Json], left: int) -> None:
    both = found(with_change(9, "spec", "replicas", item=with_change("r/web:2", *CONTAINER, "image")))
    assert len(both) == 2
    assert len(without_scaled(both, scalers)) == left
    assert sum(is_replicas(change) for change in both) == 1


# any object

NAMES = st.text(st.sampled_from("abcdef./-"), min_size=1, max_size=6)
SCALARS = st.integers(1, 99) | st.text(st.sampled_from("xyz"), min_size=1, max_size=4) | st.just(True) | st.floats(1, 2)
ITEM = st.fixed_dictionaries({"name": NAMES, "value": SCALARS})
ITEMS = st.lists(ITEM, min_size=1, max_size=4, unique_by=lambda one: one["name"])
FIELDS = st.recursive(
    SCALARS,
    lambda inner: st.dictionaries(NAMES, inner, min_size=1, max_size=4) | st.lists(inner, min_size=1, max_size=3) | ITEMS,
    max_leaves=12,
)
OBJECTS = st.dictionaries(NAMES, FIELDS, max_size=4).map(
    lambda spec: {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": spec}
)


def enriched(value: Any, data: st.DataObject) -> Any:
    """Return a value as a cluster may return it: maps with more fields, lists of named items with more of them in any order."""
    if isinstance(value, dict):
        more = data.draw(st.dictionaries(NAMES.map(lambda name: f"added-{name}"), SCALARS, max_size=2))
        return {**more, **{key: enriched(one, data) for key, one in value.items()}}
    if isinstance(value, list):
        items = [enriched(one, data) for one in value]
        if all(isinstance(one, dict) and isinstance(one.get("name"), str) for one in value) and data.draw(st.booleans()):
            items.append({"name": "more"})
            return data.draw(st.permutations(items))
        return items
    if isinstance(value, int) and not isinstance(value, bool):
        return data.draw(st.sampled_from([value, float(value)]))
    return value


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict | list):
        for key, one in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(one, (*path, key))
    elif path and path[-1] != "name":
        yield path


@given(OBJECTS, st.data())
def test_additions_and_defaults_are_never_drift(manifest: Json, data: st.DataObject) -> None:
    assert list(differences(manifest, {**manifest, "spec": enriched(manifest["spec"], data)})) == []


@given(OBJECTS.filter(lambda one: any(leaves(one["spec"]))), st.data())
def test_a_changed_or_removed_field_is_always_drift(manifest: Json, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(list(leaves(manifest["spec"]))))
    live = copy.deepcopy(manifest)
    place = at(live["spec"], *path[:-1])
    if isinstance(place, dict) and data.draw(st.booleans()):
        del place[path[-1]]
    else:
        place[path[-1]] = "changed"
    assert [shown(step) for step in differences(manifest, live)]


@given(st.recursive(st.none() | SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20))
def test_any_live_object_is_read(live: Any) -> None:
    parts = live if isinstance(live, dict) else {"spec": live, "metadata": {"labels": live, "managedFields": live}}
    list(differences(WEB, parts))
    item = {**parts, "metadata": {"name": "web", "namespace": "demo", "managedFields": live}}
    compare(expected(WEB), {ObjectKey("Deployment", "demo", "web"): item})


def test_paths_are_readable() -> None:
    assert shown(("spec", "a.b/c", "ports", Item({"port": 80, "protocol": "UDP"}), Item(place=3))) == "spec[a.b/c].ports[80/UDP][3]"
