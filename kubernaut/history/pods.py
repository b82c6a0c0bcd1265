"""A release's pods, and what they say."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from kubernaut.errors import BadInput
from kubernaut.history.manifest import selectors
from kubernaut.history.record import Record

if TYPE_CHECKING:
    from kubernaut.adapters.kube import Cluster

_Said = str | Exception | None


def pods_of(record: Record, cluster: Cluster) -> list[dict[str, Any]]:
    """Return the pods of a release, each once."""
    found: dict[str, dict[str, Any]] = {}
    for labels in selectors(record.manifest):
        for pod in cluster.list_pods(record.namespace, labels):
            found[str(pod["metadata"]["name"])] = pod
    return [found[name] for name in sorted(found)]


def logs_of(record: Record, cluster: Cluster, *, follow: bool, tail: int | None, previous: bool) -> Iterator[str]:
    """Yield the logs of a release's containers, each line with its pod's name before it.

    Args:
        record: The release.
        cluster: Where it runs.
        follow: Go on with what comes, from all containers at once; else one container after the other.
        tail: Only the last lines of each container.
        previous: Of the containers before their last restart; those that never restarted are passed over.
    """
    containers = [
        (str(pod["metadata"]["name"]), str(container["name"]))
        for pod in pods_of(record, cluster)
        for container in pod["spec"]["containers"]
    ]

    def lines(pod: str, container: str) -> Iterator[str]:
        several = sum(1 for name, _ in containers if name == pod) > 1
        prefix = f"{pod}/{container}" if several else pod
        said = cluster.pod_log(record.namespace, pod, container=container, tail=tail, follow=follow, previous=previous)
        try:
            yield from (f"{prefix}  {line}" for line in said)
        except BadInput as refused:  # a container that has not started yet, or has no run before this one
            if not previous:
                yield f"{prefix}  ({refused.message})"

    if follow and len(containers) > 1:
        yield from _together([lines(*container) for container in containers])
    else:
        for container in containers:
            yield from lines(*container)


def _together(streams: Sequence[Iterator[str]]) -> Iterator[str]:
    """Yield from several streams as their lines come."""
    said: queue.Queue[_Said] = queue.Queue(maxsize=1000)

    def pump(stream: Iterator[str]) -> None:
        end: _Said = None
        try:
            for line in stream:
                said.put(line)
        except Exception as failure:  # noqa: BLE001 - whoever reads would wait for ever; it is raised there
            end = failure
        said.put(end)

    for stream in streams:
        threading.Thread(target=pump, args=(stream,), daemon=True, name="kubernaut-logs").start()
    left = len(streams)
    while left:
        item = said.get()
        if isinstance(item, str):
            yield item
        elif item is None:
            left -= 1
        else:
            raise item
