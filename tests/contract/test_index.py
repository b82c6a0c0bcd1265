"""The index agrees with Helm and the history on a real cluster, with as few rights as possible."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.api_calls import call_api
from support.charts import write_chart
from support.faultpoints import Request
from support.faultproxy import FaultProxy
from support.random_histories import eventually
from support.records import record_secret

from kubernaut.adapters.kube import Cluster
from kubernaut.errors import IndexStale
from kubernaut.history.index import Index, Query, Timings
from kubernaut.history.records import Status
from kubernaut.history.releases import Release, ReleaseId
from kubernaut.history.store import HistoryStore

pytestmark = pytest.mark.platform

_RECORDS = 60


@pytest.fixture(scope="module")
def cluster(platform: Mapping[str, str]) -> Iterator[Cluster]:
    made = Cluster(platform["KUBECONFIG"])
    yield made
    made.close()


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    name = f"i-{uuid.uuid4().hex[:8]}"
    cluster.create_namespace(name)
    yield name
    call_api(cluster, "DELETE", f"/api/v1/namespaces/{name}")


@pytest.fixture
def index(cluster: Cluster) -> Iterator[Index]:
    made = Index(cluster)
    made.start()
    eventually(made.check, 60)
    yield made
    made.stop()


@pytest.fixture
def helm(platform: Mapping[str, str]) -> Callable[..., Any]:
    """A function that runs Helm 3 and returns its JSON output."""

    def run(*arguments: str) -> Any:
        asked = subprocess.run(["helm", *arguments], env={**os.environ, **platform}, capture_output=True, text=True, check=True)
        return json.loads(asked.stdout) if "json" in arguments else None

    return run


def write(cluster: Cluster, namespace: str, revision: int, status: str, name: str = "r") -> None:
    """Write a record, as Helm would have written it."""
    secret = record_secret(revision, status, name=name, namespace=namespace)
    secret["metadata"] = {key: secret["metadata"][key] for key in ("name", "labels")}
    cluster.create_secret(namespace, secret)


def write_histories(cluster: Cluster, namespace: str) -> None:
    """Write records of releases with random pasts."""
    chance = random.Random(7)  # noqa: S311
    left, number = _RECORDS, 0
    while left:
        number += 1
        first = chance.randint(1, 5)
        for revision in range(first, first + min(left, chance.randint(1, 9))):
            left -= 1
            status = chance.choice([status for status in Status if status is not Status.UNKNOWN])  # which Helm never lists
            write(cluster, namespace, revision, status, f"app-{number}")


def is_watch(request: Request) -> bool:
    return request.resource == "secrets" and "watch=true" in request.query


def is_list(request: Request) -> bool:
    """Whether a request lists everything; the liveness check lists with a smaller limit."""
    return request.resource == "secrets" and "limit=1000" in request.query


def assert_stale(index: Index) -> None:
    """Hold a check to an IndexStale that says for how many seconds the index was not current."""
    message = ""
    try:
        index.check()
    except IndexStale as stale:
        message = stale.message
    assert re.search(r"\b\d+ s\b", message)


def assert_young(index: Index) -> None:
    assert index.age() < 1


def everything(index: Index, **query: Any) -> list[Release]:
    return [Release.model_validate_json(item) for item in index.page(Query(limit=500, **query)).items]


def row(release: Release) -> dict[str, str]:
    """Return the facts of a release that Helm prints too."""
    return {
        "revision": str(release.revision),
        "status": release.status,
        "chart": f"{release.chart.name}-{release.chart.version}",
        "app_version": str(release.app_version),
    }


def rows(listed: list[dict[str, Any]]) -> list[dict[str, str]]:
    return [{key: str(one[key]) for key in ("revision", "status", "chart", "app_version")} for one in listed]


def test_index_agrees_with_helm_and_the_history(cluster: Cluster, namespace: str, index: Index, helm: Callable[..., Any]) -> None:
    write_histories(cluster, namespace)
    history = HistoryStore(cluster)

    def same() -> None:
        for all in (False, True):
            expected = [release.model_dump_json(by_alias=True).encode() for release in history.list(namespace, all=all).items]
            assert [*index.page(Query(namespace=namespace, all=all, limit=500)).items] == expected

    eventually(same)
    releases = everything(index, namespace=namespace, all=True)
    assert len(releases) == _RECORDS
    newest = {release.name: release for release in reversed(releases)}
    listed = helm("list", "-n", namespace, "-m", "0", "-o", "json")
    assert sorted(one["name"] for one in listed) == sorted(newest)
    assert rows(listed) == [row(newest[one["name"]]) for one in listed]
    for name in newest:
        revisions = helm("history", name, "-n", namespace, "-o", "json")
        known = index.history(namespace, name)
        assert known == history.releases(namespace, name)
        assert rows(revisions) == [row(release) for release in reversed(known.items)]
        assert [one["description"] for one in revisions] == [release.description for release in reversed(known.items)]


def test_changes_by_plain_helm_are_indexed(namespace: str, index: Index, helm: Callable[..., Any], tmp_path: Path) -> None:
    chart = str(write_chart(tmp_path))

    def shows(*expected: tuple[int, str]) -> None:
        def check() -> None:
            assert [(one.revision, one.status) for one in everything(index, namespace=namespace, all=True)] == [*expected]
            assert_young(index)  # eventually: changes in other namespaces are read as well

        eventually(check, 20)

    helm("install", "r", chart, "-n", namespace)
    shows((1, "deployed"))
    helm("upgrade", "r", chart, "-n", namespace, "--set", "text=b")
    shows((2, "deployed"), (1, "superseded"))
    helm("uninstall", "r", "-n", namespace, "--keep-history")
    shows((2, "uninstalled"), (1, "superseded"))
    assert everything(index, namespace=namespace) == []
    helm("uninstall", "r", "-n", namespace)
    shows()


def test_refresh_reads_a_write_at_once(cluster: Cluster, namespace: str, index: Index) -> None:
    for revision in range(1, 6):
        write(cluster, namespace, revision, "deployed")
        index.refresh(namespace, "r")
        assert index.release(ReleaseId(namespace, "r")).revision == revision
    for revision in range(5, 0, -1):
        cluster.delete_secret(namespace, f"sh.helm.release.v1.r.v{revision}")
        index.refresh(namespace, "r")
        assert index.page(Query(namespace=namespace, all=True)).count == revision - 1


def test_watch_is_renewed_when_the_server_ends_it(cluster: Cluster, namespace: str) -> None:
    index = Index(cluster, namespaces=[namespace], timings=Timings(watch=1))
    index.start()
    try:
        eventually(index.check)
        until = time.monotonic() + 3.5
        revision = 0
        while time.monotonic() < until:
            revision += 1
            write(cluster, namespace, revision, "deployed")
            eventually(lambda: index.release(ReleaseId(namespace, "r", revision)), 20)  # noqa: B023 - it is called here
            eventually(lambda: assert_young(index), 20)
        index.check()
    finally:
        index.stop()


def test_namespaced_rights_suffice(cluster: Cluster, namespace: str, platform: Mapping[str, str], tmp_path: Path) -> None:
    address = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    call_api(cluster, "POST", accounts, body={"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "reader"}})
    rbac = "rbac.authorization.k8s.io"
    role = {"metadata": {"name": "reader"}, "apiVersion": f"{rbac}/v1"}
    rules = [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list", "watch"]}]
    call_api(cluster, "POST", f"{address}/roles", body={**role, "kind": "Role", "rules": rules})
    subjects = [{"kind": "ServiceAccount", "name": "reader", "namespace": namespace}]
    reference = {"apiGroup": rbac, "kind": "Role", "name": "reader"}
    binding = {**role, "kind": "RoleBinding", "subjects": subjects, "roleRef": reference}
    call_api(cluster, "POST", f"{address}/rolebindings", body=binding)
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    token = call_api(cluster, "POST", f"{accounts}/reader/token", body=request)["status"]["token"]
    config = yaml.safe_load(Path(platform["KUBECONFIG"]).read_text())
    config["users"] = [{"name": user["name"], "user": {"token": token}} for user in config["users"]]
    (tmp_path / "config").write_text(yaml.safe_dump(config))
    restricted = Cluster(str(tmp_path / "config"))
    everywhere, here = Index(restricted, timings=Timings(first_pause=0.05)), Index(restricted, namespaces=[namespace])
    try:
        for index in (everywhere, here):
            index.start()
        eventually(here.check)
        write(cluster, namespace, 1, "deployed")

        def shown() -> None:
            assert [release.name for release in everything(here)] == ["r"]

        def refused() -> None:
            with pytest.raises(IndexStale, match='reader" cannot list resource "secrets"'):
                everywhere.check()

        eventually(shown)
        eventually(refused)
    finally:
        for index in (everywhere, here):
            index.stop()
        restricted.close()


def test_changes_during_an_outage_are_indexed(
    cluster: Cluster, namespace: str, platform: Mapping[str, str], tmp_path: Path
) -> None:
    """The index is stale meanwhile, resumes its watch, and lists again when the server has forgotten the version."""
    timings = Timings(ping=0.1, stale=0.5, first_pause=0.05, longest_pause=0.2)
    write(cluster, namespace, 1, "deployed")
    with FaultProxy(Path(platform["KUBECONFIG"]), tmp_path) as proxy:
        subject = Cluster(str(proxy.kubeconfig))
        index = Index(subject, namespaces=[namespace], timings=timings)
        index.start()
        try:
            eventually(index.check)
            for revision, forgotten in ((2, False), (3, True)):
                with proxy.away():
                    write(cluster, namespace, revision, "deployed")
                    eventually(lambda: assert_stale(index))
                    proxy.seen.clear()
                    if forgotten:
                        proxy.answer(is_watch, 410, reason="Expired", message="too old resource version")
                eventually(lambda: index.release(ReleaseId(namespace, "r", revision)))  # noqa: B023 - it is called here
                eventually(index.check)
                assert any(is_list(request) for request in proxy.seen) == forgotten
        finally:
            index.stop()
            subject.close()
