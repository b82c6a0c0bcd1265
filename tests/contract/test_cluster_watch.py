"""The contract of `Cluster` for paged lists and watches, for the fake in memory and for the real one."""

from __future__ import annotations

import base64
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import pytest

from kubernaut.adapters.kube import Cluster
from kubernaut.adapters.kube_http import NotEqual, ResourceExpired, Watch, WatchEvent
from kubernaut.adapters.kube_resources import SECRETS
from kubernaut.errors import ClusterDenied, ClusterUnreachable
from kubernaut.testing.changes import FakeWatch
from kubernaut.testing.cluster import FakeCluster

LABELS = {"owner": ("a", "b")}


def secret(name: str, **labels: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": {"owner": "a", **labels}},
        "type": "kubernaut/test",
        "data": {"key": base64.b64encode(b"value").decode()},
    }


def listed(cluster: Cluster, namespace: str | None, **options: Any) -> tuple[list[dict[str, Any]], str]:
    """Return a whole list, read in parts, and the state that it is of."""
    page = cluster.list_objects(SECRETS, namespace, LABELS, limit=2, **options)
    items, version = list(page.items), page.resource_version
    while page.continue_token:
        page = cluster.list_objects(SECRETS, namespace, LABELS, limit=2, continue_token=page.continue_token, **options)
        assert page.resource_version == version, "all parts are of one state"
        items += page.items
    return items, version


def changed_names(changes: Iterator[WatchEvent]) -> Iterator[tuple[str, str]]:
    """Yield the kind and the name of each change, without bookmarks."""
    return ((change.type, str(change.metadata["name"])) for change in changes if change.type != "BOOKMARK")


class ClusterWatchContract:
    """The contract; a subclass provides ``cluster``."""

    @pytest.fixture
    def cluster(self) -> Cluster:
        raise NotImplementedError

    @pytest.fixture
    def namespace(self, cluster: Cluster) -> str:
        name = f"w-{uuid.uuid4().hex[:8]}"
        cluster.create_namespace(name)
        return name

    def watched(self, cluster: Cluster, namespace: str | None, version: str, seconds: int = 20) -> Watch:
        return cluster.watch_objects(SECRETS, namespace, LABELS, metadata_only=True, resource_version=version, seconds=seconds)

    @pytest.mark.parametrize("metadata_only", [True, False])
    def test_list_is_read_in_pages(self, cluster: Cluster, namespace: str, metadata_only: bool) -> None:
        names = ["five", "four", "one", "three", "two"]
        for name in names:
            cluster.create_secret(namespace, secret(name))
        cluster.create_secret(namespace, secret("other", owner="c"))
        items, version = listed(cluster, namespace, metadata_only=metadata_only)
        assert [item["metadata"]["name"] for item in items] == names
        assert all(("data" in item) != metadata_only for item in items)
        assert version.isdigit()

    def test_label_can_be_excluded(self, cluster: Cluster, namespace: str) -> None:
        for name, labels in (("none", {}), ("new", {"status": "new"}), ("old", {"status": "old"})):
            cluster.create_secret(namespace, secret(name, **labels))
        found = cluster.list_objects(SECRETS, namespace, {**LABELS, "status": NotEqual("old")}, limit=9).items
        assert [item["metadata"]["name"] for item in found] == ["new", "none"]

    def test_pages_are_of_one_state(self, cluster: Cluster, namespace: str) -> None:
        for name in ("a", "b", "c"):
            cluster.create_secret(namespace, secret(name))
        first = cluster.list_objects(SECRETS, namespace, LABELS, limit=2)
        cluster.create_secret(namespace, secret("d"))
        rest = cluster.list_objects(SECRETS, namespace, LABELS, limit=2, continue_token=first.continue_token)
        assert ([item["metadata"]["name"] for item in rest.items], rest.continue_token) == (["c"], "")
        changed = changed_names(iter(self.watched(cluster, namespace, first.resource_version)))
        assert next(changed) == ("ADDED", "d")

    def test_watch_reports_changes_since_the_list(self, cluster: Cluster, namespace: str) -> None:
        cluster.create_secret(namespace, secret("old"))
        _, version = listed(cluster, namespace)
        made = cluster.create_secret(namespace, secret("one"))
        patched = cluster.patch_secret(namespace, "one", {"metadata": {"labels": {"status": "new"}}})
        cluster.delete_secret(namespace, "one")
        changed = list(islice(self.watched(cluster, namespace, version), 3))
        assert [(change.type, change.metadata["name"]) for change in changed] == [
            ("ADDED", "one"),
            ("MODIFIED", "one"),
            ("DELETED", "one"),
        ]
        assert [change.resource_version for change in changed[:2]] == [
            made["metadata"]["resourceVersion"],
            patched["metadata"]["resourceVersion"],
        ]
        assert int(changed[2].resource_version) > int(changed[1].resource_version)
        assert changed[1].metadata["labels"]["status"] == "new"
        assert {change.metadata["uid"] for change in changed} == {made["metadata"]["uid"]}

    def test_watch_reports_changes_while_waiting(self, cluster: Cluster, namespace: str) -> None:
        _, version = listed(cluster, namespace)
        changed = changed_names(iter(self.watched(cluster, namespace, version)))
        timer = threading.Timer(0.2, cluster.create_secret, (namespace, secret("one")))
        timer.start()
        assert next(changed) == ("ADDED", "one")
        timer.join()

    def test_secret_leaving_the_selection_is_reported_deleted(self, cluster: Cluster, namespace: str) -> None:
        cluster.create_secret(namespace, secret("one", owner="c"))
        _, version = listed(cluster, namespace)
        for owner in ("a", "b", "c"):
            cluster.patch_secret(namespace, "one", {"metadata": {"labels": {"owner": owner}}})
        changed = changed_names(iter(self.watched(cluster, namespace, version)))
        assert [next(changed)[0] for _ in range(3)] == ["ADDED", "MODIFIED", "DELETED"]

    def test_watch_is_limited_to_its_namespace(self, cluster: Cluster, namespace: str) -> None:
        cluster.create_namespace(f"{namespace}-other")
        _, version = listed(cluster, namespace)
        cluster.create_secret(f"{namespace}-other", secret("other"))
        cluster.create_secret(namespace, secret("one"))
        assert next(changed_names(iter(self.watched(cluster, namespace, version)))) == ("ADDED", "one")
        everywhere = changed_names(iter(self.watched(cluster, None, version)))
        assert next(name for _, name in everywhere if name in ("one", "other")) == "other"

    def test_server_ends_a_watch(self, cluster: Cluster, namespace: str) -> None:
        _, version = listed(cluster, namespace)
        began = time.monotonic()
        changed = list(self.watched(cluster, namespace, version, seconds=1))
        assert time.monotonic() - began > 0.5  # a watch that the server does not end raises
        assert [change.type for change in changed] in ([], ["BOOKMARK"])
        assert all(int(change.resource_version) >= int(version) for change in changed)

    def test_watch_is_closed_from_another_thread(self, cluster: Cluster, namespace: str) -> None:
        _, version = listed(cluster, namespace)
        watch = self.watched(cluster, namespace, version, seconds=60)
        ended: list[Sequence[WatchEvent]] = []
        reader = threading.Thread(target=lambda: ended.append(list(watch)))
        reader.start()
        watch.close()
        reader.join(20)
        assert not reader.is_alive()
        assert ended == [[]]


class TestFakeCluster(ClusterWatchContract):
    @pytest.fixture
    def cluster(self) -> FakeCluster:
        return FakeCluster()

    def test_forgotten_version_expires(self, cluster: FakeCluster, namespace: str) -> None:
        _, version = listed(cluster, namespace)  # type: ignore[arg-type]
        cluster.create_secret(namespace, secret("one"))
        cluster.forget()
        with pytest.raises(ResourceExpired):
            next(iter(cluster.watch_objects(SECRETS, namespace, LABELS, metadata_only=True, resource_version=version, seconds=20)))

    def test_forgotten_page_expires(self, cluster: FakeCluster, namespace: str) -> None:
        for name in ("a", "b", "c"):
            cluster.create_secret(namespace, secret(name))
        page = cluster.list_objects(SECRETS, namespace, LABELS, limit=2)
        cluster.forget()
        with pytest.raises(ResourceExpired):
            cluster.list_objects(SECRETS, namespace, LABELS, limit=2, continue_token=page.continue_token)

    def test_waiting_watch_expires(self, cluster: FakeCluster, namespace: str) -> None:
        watch = cluster.watch_objects(SECRETS, namespace, LABELS, metadata_only=True, resource_version="0", seconds=20)
        cluster.create_secret(namespace, secret("one"))
        cluster.forget()
        with pytest.raises(ResourceExpired):
            next(iter(watch))

    def test_cut_watch_raises_unreachable(self, cluster: FakeCluster, namespace: str) -> None:
        watch = cluster.watch_objects(SECRETS, namespace, LABELS, metadata_only=True, resource_version="0", seconds=20)
        cluster.create_secret(namespace, secret("one"))
        assert next(changed_names(iter(watch))) == ("ADDED", "one")
        cluster.changes.cut()
        with pytest.raises(ClusterUnreachable):
            next(iter(watch))
        assert next(
            changed_names(
                iter(cluster.watch_objects(SECRETS, namespace, LABELS, metadata_only=True, resource_version="0", seconds=20))
            )
        ) == ("ADDED", "one")

    def test_silent_watch_raises_unreachable(self, cluster: FakeCluster, namespace: str) -> None:
        cluster.changes.silent = True
        watch = cluster.watch_objects(SECRETS, namespace, LABELS, metadata_only=True, resource_version="0", seconds=0)
        cluster.create_secret(namespace, secret("one"))
        with pytest.raises(ClusterUnreachable):
            next(iter(watch))

    def test_bookmark_omits_a_change_after_the_end(
        self, cluster: FakeCluster, namespace: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A watch that resumes at the bookmark receives the change."""
        _, version = listed(cluster, namespace)  # type: ignore[arg-type]
        following = cluster.changes.next

        def changed_at_the_end(watch: FakeWatch) -> WatchEvent | None:
            found = following(watch)
            if found is None:
                cluster.create_secret(namespace, secret("late"))
            return found

        with monkeypatch.context() as patched:
            patched.setattr(cluster.changes, "next", changed_at_the_end)
            (bookmark,) = cluster.watch_objects(SECRETS, namespace, LABELS, resource_version=version, seconds=0)
        resumed = cluster.watch_objects(SECRETS, namespace, LABELS, resource_version=bookmark.resource_version, seconds=20)
        assert next(changed_names(iter(resumed))) == ("ADDED", "late")

    def test_denied_watch_raises_denied(self, cluster: FakeCluster, namespace: str) -> None:
        cluster.fail("watch secrets", ClusterDenied("no"))
        with pytest.raises(ClusterDenied):
            cluster.watch_objects(SECRETS, namespace, LABELS, metadata_only=True, resource_version="0", seconds=0)
        assert cluster.writes == [f"create namespace {namespace}"]


@pytest.mark.platform
class TestRealCluster(ClusterWatchContract):
    @pytest.fixture
    def cluster(self, platform: Mapping[str, str]) -> Cluster:
        return Cluster(platform["KUBECONFIG"])
