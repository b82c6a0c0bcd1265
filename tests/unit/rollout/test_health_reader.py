"""Reading the health of releases: which requests are made, and what follows from those that fail."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from support.kube_objects import crashed, pod
from support.live_releases import put, running_release, web
from support.records import record_secret
from support.watching import WIDGETS

from kubernaut.errors import ClusterDenied, ClusterUnreachable
from kubernaut.history.index.summaries import summarize_release
from kubernaut.history.records import decode
from kubernaut.history.releases import Release, ReleaseId
from kubernaut.history.store import HistoryStore
from kubernaut.rollout.health_reader import HealthReader
from kubernaut.settings import load_settings
from kubernaut.testing.cluster import FakeCluster

CANARY = "canary-8f3a-secret"
DENIED = ClusterDenied("no")
SERVER_GONE = ClusterUnreachable("The cluster does not answer.")


def reader(cluster: FakeCluster) -> HealthReader:
    settings = load_settings(environment={})
    return HealthReader(HistoryStore(cluster), lambda: cluster, settings)  # type: ignore[arg-type, return-value]


def statuses(cluster: FakeCluster, **options: Any) -> dict[str, str | None]:
    found = reader(cluster).list(**options)
    return {release.id: release.health.status.value if release.health else None for release in found}


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster("demo", "other")


def show(cluster: FakeCluster, name: str = "web", revision: int | None = None) -> Release:
    return reader(cluster).release(ReleaseId("demo", name, revision))


def requests(cluster: FakeCluster) -> list[str]:
    return sorted(request for request in cluster.requests if "secret" not in request)


# one release


def test_one_release_is_read_by_name_with_its_pods(cluster: FakeCluster) -> None:
    running_release(cluster)
    release = show(cluster)
    assert release.health is not None
    assert (release.health.status, release.health.reason) == ("healthy", "")
    lists = [f"list {kind} demo" for kind in ("endpointslices", "events", "pods", "replicasets")]
    assert requests(cluster) == ["get deployment demo/web", "get service demo/web", *lists]


def test_crashing_release_is_degraded(cluster: FakeCluster) -> None:
    running_release(cluster, status=crashed(5, code=7))
    health = show(cluster).health
    assert health is not None
    assert health.status == "degraded"
    assert "Deployment web: 0 of 1 ready" in health.reason
    assert "exit status 7" in health.reason


def test_reason_has_no_secrets(cluster: FakeCluster) -> None:
    message = f"exec: token=0123456789abcdef0123456789abcdef {CANARY} failed"
    running_release(cluster, status=crashed(5, reason="StartError", message=message))
    manifest = web() + f"---\napiVersion: v1\nkind: Secret\nmetadata: {{name: db}}\nstringData: {{dsn: {CANARY}}}\n"
    cluster.create_secret("demo", record_secret(2, "deployed", name="web", manifest=manifest))
    release = show(cluster)
    (listed,) = HistoryStore(cluster).list()  # type: ignore[arg-type]
    (other,) = reader(cluster).add([(listed, None)])
    for health in (release.health, other.health):
        assert health is not None
        assert "StartError" in health.reason
        assert CANARY not in health.reason
        assert "0123456789abcdef" not in health.reason


@pytest.mark.parametrize("status", ["superseded", "uninstalled", "pending-upgrade"])
def test_release_whose_objects_are_not_its_own_has_no_health(cluster: FakeCluster, status: str) -> None:
    cluster.create_secret("demo", record_secret(1, status, name="web", manifest=web()))
    cluster.create_secret("demo", record_secret(2, "deployed" if status == "superseded" else status, name="web", manifest=web()))
    assert show(cluster, revision=1).health is None
    assert not [request for request in requests(cluster) if "deployment" in request]


def test_failed_release_has_health_while_it_is_current(cluster: FakeCluster) -> None:
    cluster.create_secret("demo", record_secret(1, "failed", name="web", manifest=web()))
    health = show(cluster).health
    assert health is not None
    assert health.status == "missing"


def test_release_without_objects_needs_no_requests(cluster: FakeCluster) -> None:
    cluster.create_secret("demo", record_secret(1, "deployed", name="web"))
    health = show(cluster).health
    assert health is not None
    assert health.status == "healthy"
    assert requests(cluster) == []


def test_object_of_another_group_is_read(cluster: FakeCluster) -> None:
    manifest = "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w}\n"
    cluster.create_secret("demo", record_secret(1, "deployed", name="web", manifest=manifest))
    health = show(cluster).health
    assert health is not None
    assert health.status == "unknown"
    assert "does not serve Widget" in health.reason
    cluster.resources.append(WIDGETS)
    assert (show(cluster).health or health).status == "missing"
    made = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}}
    cluster.put({**made, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}, "demo")
    assert (show(cluster).health or health).status == "healthy"


def test_bare_pod_is_read_beside_the_pods_of_workloads(cluster: FakeCluster) -> None:
    running_release(cluster, status=crashed(5))
    manifest = web() + "---\napiVersion: v1\nkind: Pod\nmetadata: {name: tool}\nspec: {containers: [{name: web}]}\n"
    put(cluster, [pod("tool")])
    cluster.create_secret("demo", record_secret(2, "deployed", name="web", manifest=manifest))
    health = show(cluster).health
    assert health is not None
    assert "web-7f1-a" in health.reason


# what cannot be read


@pytest.mark.parametrize(
    ("request_", "status", "named"),
    [
        ("get deployment", "unknown", "no right to get deployments"),
        ("list pods", "healthy", "no right to list pods"),
        ("list replicasets", "healthy", "no right to list replicasets"),
        ("list endpointslices", "healthy", "no right to list endpointslices"),
        ("list events", "healthy", "no right to list events"),
    ],
)
def test_missing_right_is_named(cluster: FakeCluster, request_: str, status: str, named: str) -> None:
    running_release(cluster)
    cluster.fail(request_, DENIED, times=None)
    health = show(cluster).health
    assert health is not None
    assert health.status == status
    assert named in health.reason


def test_cluster_that_does_not_answer_is_not_an_error(cluster: FakeCluster) -> None:
    running_release(cluster)
    cluster.fail("get deployment", SERVER_GONE, times=None)
    health = show(cluster).health
    assert health is not None
    assert health.status == "unknown"
    assert "does not answer" in health.reason


@pytest.mark.parametrize("method", ["get_object", "list_objects"])
def test_cluster_that_answers_late_is_not_waited_for(cluster: FakeCluster, method: str) -> None:
    running_release(cluster)
    record = HistoryStore(cluster).record(ReleaseId("demo", "web"))  # type: ignore[arg-type]
    answers = threading.Event()
    answer = getattr(cluster, method)
    setattr(cluster, method, lambda *arguments, **named: (answers.wait(20), answer(*arguments, **named))[1])
    health = HealthReader(HistoryStore(cluster), lambda: cluster, load_settings(environment={}), seconds=0.1).health(record)  # type: ignore[arg-type, return-value]
    answers.set()
    assert health.status == ("unknown" if method == "get_object" else "healthy")
    assert "no answer within 0.1 s" in health.reason


# quickly: only what is not well is examined


def test_quick_reading_of_a_healthy_release_takes_one_request_for_each_object(cluster: FakeCluster) -> None:
    running_release(cluster)
    record = HistoryStore(cluster).record(ReleaseId("demo", "web"))  # type: ignore[arg-type]
    assert reader(cluster).health(record, quick=True).status == "healthy"
    assert requests(cluster) == ["get deployment demo/web", "get service demo/web"]


def test_quick_reading_examines_a_release_that_is_not_well(cluster: FakeCluster) -> None:
    running_release(cluster, status=crashed(5))
    record = HistoryStore(cluster).record(ReleaseId("demo", "web"))  # type: ignore[arg-type]
    health = reader(cluster).health(record, quick=True)
    assert health.status == "degraded"
    assert "web-7f1-a" in health.reason
    assert "list pods demo" in requests(cluster)


# many releases


def test_list_takes_one_request_for_each_kind_of_a_namespace(cluster: FakeCluster) -> None:
    for number in range(30):
        running_release(cluster, f"web-{number}")
    assert set(statuses(cluster).values()) == {"healthy"}
    assert requests(cluster) == ["list deployments demo", "list services demo"]


def test_list_of_many_namespaces_reads_the_whole_cluster() -> None:
    namespaces = [f"n{number}" for number in range(12)]
    cluster = FakeCluster(*namespaces)
    for namespace in namespaces:
        running_release(cluster, namespace=namespace, status=crashed(5) if namespace == "n7" else None)
    found = statuses(cluster)
    assert [id for id, status in found.items() if status != "healthy"] == ["n7.web.v1"]
    assert found["n7.web.v1"] == "degraded"
    assert {request for request in requests(cluster) if request.endswith(" *")} == {"list deployments *", "list services *"}
    assert "list pods n7" in requests(cluster)
    assert "list pods n8" not in requests(cluster)


def test_list_reads_each_namespace_where_the_whole_cluster_may_not_be_read() -> None:
    namespaces = [f"n{number:02}" for number in range(25)]
    cluster = FakeCluster(*namespaces)
    for namespace in namespaces:
        running_release(cluster, namespace=namespace)
    cluster.fail("list deployments *", DENIED, times=None)
    found = reader(cluster).list()
    by_status: dict[str, list[str]] = {}
    for release in found:
        assert release.health is not None
        by_status.setdefault(release.health.status, []).append(release.namespace)
        assert release.health.status == "healthy" or "too many namespaces" in release.health.reason
    assert {status: len(names) for status, names in by_status.items()} == {"healthy": 20, "unknown": 5}


def test_list_names_the_kind_that_may_not_be_read(cluster: FakeCluster) -> None:
    for number in range(30):
        running_release(cluster, f"web-{number}")
    cluster.fail("list deployments", DENIED, times=None)
    assert {(release.health.status, release.health.reason) for release in reader(cluster).list() if release.health} == {
        ("unknown", "cannot read deployments in demo: no right to list deployments")
    }


def test_list_of_every_revision_has_the_health_of_current_ones(cluster: FakeCluster) -> None:
    running_release(cluster)
    cluster.create_secret("demo", record_secret(2, "deployed", name="web", manifest=web()))
    assert statuses(cluster, all=True) == {"demo.web.v2": "healthy", "demo.web.v1": None}


def test_health_is_added_to_releases_of_an_index(cluster: FakeCluster) -> None:
    running_release(cluster)
    record = decode(cluster.list_secrets("demo", {"owner": "helm"})[0])
    assert record is not None
    listed = Release.model_validate_json(summarize_release(record, ()).json)
    gone = listed.model_copy(update={"uid": "another", "id": "demo.web.v9", "revision": 9})
    health = reader(cluster)
    found = [release.health for release in health.add([(listed, None), (gone, None)])]
    assert [one.status.value if one else None for one in found] == ["healthy", "unknown"]
    cluster.requests.clear()
    health.add([(listed, None), (gone, None)])
    assert f"get secret demo/{record.secret}" not in cluster.requests
    health.add([(listed, None)])  # a single one is compared with its whole manifest
    cluster.requests.clear()
    health.add([(listed, None)])
    assert not [request for request in cluster.requests if "secret" in request]  # its manifest is known


def test_record_that_cannot_be_read_is_unknown(cluster: FakeCluster) -> None:
    running_release(cluster)
    (release,) = HistoryStore(cluster).list()  # type: ignore[arg-type]
    cluster.fail("get secret", SERVER_GONE, times=None)
    (found,) = reader(cluster).add([(release, None)])
    assert found.health is not None
    assert found.health.status == "unknown"
    assert "demo.web.v1" in found.health.reason
