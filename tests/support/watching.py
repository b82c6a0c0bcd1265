"""A release that a `RolloutWatch` watches on the cluster in memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from kubernaut.adapters.kube_resources import Resource
from kubernaut.errors import ClusterDenied, ClusterUnreachable
from kubernaut.rollout.objects import Expected, expected_objects
from kubernaut.rollout.reflector import Timings
from kubernaut.rollout.store import Snapshot
from kubernaut.rollout.watch import RolloutWatch
from kubernaut.testing.cluster import FakeCluster
from support.waiting import until

SOON = 10.0
FAST = Timings(denied=0.05, poll=0.02, settled=0.02, first_pause=0.01, longest_pause=0.05)
GONE = ClusterUnreachable("The cluster does not answer.")
DENIED = ClusterDenied("no")
EXPIRED = ClusterDenied("The cluster does not accept the credentials.")
EXPIRED.unauthenticated = True
WIDGETS = Resource("Widget", "example.com/v1", "widgets")
GADGETS = Resource("Gadget", "example.com/v1", "gadgets", namespaced=False)


def thing(kind: str, name: str, api_version: str = "v1", *, owner: str = "", **fields: Any) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name}
    if owner:
        owner_kind, _, owner_name = owner.partition("/")
        metadata["ownerReferences"] = [{"kind": owner_kind, "name": owner_name, "uid": f"uid-{owner_name}"}]
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **fields}


DEPLOYMENT = thing("Deployment", "web", "apps/v1")
SERVICE = thing("Service", "web", spec={"selector": {"app": "web"}})
HELLO = (DEPLOYMENT, SERVICE, thing("ConfigMap", "web"))


def pod(name: str, owner: str = "ReplicaSet/web-7f9", **status: Any) -> dict[str, Any]:
    return thing("Pod", name, owner=owner, status=status)


def event(name: str, about: str) -> dict[str, Any]:
    return {**thing("Event", name), "involvedObject": {"name": about, "uid": f"uid-{about}"}, "reason": "Pulling"}


def names(snapshot: Snapshot, kind: str) -> list[str]:
    return sorted(key.name for key in snapshot.objects if key.kind == kind)


@contextmanager
def watching(
    cluster: FakeCluster, objects: Sequence[dict[str, Any]] = HELLO, *, timings: Timings = FAST, synced: bool = True, **options: Any
) -> Iterator[RolloutWatch]:
    """Watch a release with these objects, once everything has been read."""
    before = threading.active_count()
    with RolloutWatch(cluster, "demo", timings=timings, **options) as watch:  # type: ignore[arg-type]
        watch.expect(expected(*objects))
        assert not synced or watch.is_synced(SOON)
        yield watch
    until(lambda: threading.active_count() <= before, "all threads have ended")


def expected(*objects: dict[str, Any]) -> tuple[Expected, ...]:
    return expected_objects(objects, "demo")


def requests(cluster: FakeCluster, verb: str) -> set[str]:
    return {request.removeprefix(f"{verb} ") for request in cluster.requests if request.startswith(f"{verb} ")}
