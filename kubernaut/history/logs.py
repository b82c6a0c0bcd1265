"""The logs of a release: those of its pods while it is the current one, else the lines that were kept when it failed."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kubernaut.errors import BadInput
from kubernaut.history.detail import describe_checked
from kubernaut.history.records import Record
from kubernaut.history.store import ReleaseHistory, list_pods

if TYPE_CHECKING:
    from kubernaut.adapters.kube import Cluster

Notify = Callable[[str], None]


def read_logs(
    history: ReleaseHistory,
    record: Record,
    cluster: Cluster,
    notify: Notify,
    *,
    follow: bool = False,
    tail: int | None = None,
    previous: bool = False,
) -> Iterator[str]:
    """Yield the log lines of a release's containers, each after its pod's name.

    The pods of all revisions have the labels that select them, so those of an earlier revision are not shown. Its lines are those
    that explain its failure, if it failed.

    Args:
        history: The history of its name.
        record: The release.
        cluster: Its cluster.
        notify: Receives why the pods are not shown.
        follow: Continue with new lines, of all containers at once; otherwise one container after the other.
        tail: Only the last lines of each container.
        previous: Of the runs before the last restart; containers that never restarted are skipped.

    Raises:
        BadInput: The manifest of the current release cannot be read.
        Conflict: The record of the release is damaged.
    """
    current = history.current or record
    pods = list_pods(record, cluster) if record.id == current.id else []
    if pods:
        yield from _pod_logs(record.namespace, pods, cluster, follow=follow, tail=tail, previous=previous)
        return
    lines = list(_kept_lines(history, record, tail))
    why = f"{record.id} has no pods" if record.id == current.id else f"{record.id} is not the current release, {current.id} is"
    if lines:
        notify(f"{why}. These log lines were kept when it failed.")
    else:
        notify(f"{why}. No log lines of it are kept.")
    yield from lines


def _kept_lines(history: ReleaseHistory, record: Record, tail: int | None) -> Iterator[str]:
    outcome = describe_checked(history, record).outcome
    for log in (one for one in (outcome.evidence if outcome else ()) if one.kind == "log"):
        lines = log.text.splitlines()
        yield from (f"{log.about}  {line}" for line in (lines if tail is None else lines[max(len(lines) - tail, 0) :]))


def _pod_logs(
    namespace: str, pods: Sequence[Mapping[str, Any]], cluster: Cluster, *, follow: bool, tail: int | None, previous: bool
) -> Iterator[str]:
    containers = [(str(pod["metadata"]["name"]), str(container["name"])) for pod in pods for container in pod["spec"]["containers"]]

    def lines(pod: str, container: str) -> Iterator[str]:
        several = sum(1 for name, _ in containers if name == pod) > 1
        prefix = f"{pod}/{container}" if several else pod
        log = cluster.pod_log(namespace, pod, container=container, tail=tail, follow=follow, previous=previous)
        try:
            yield from (f"{prefix}  {line}" for line in log)
        except BadInput as refused:  # the container has not started, or has no previous run
            if not previous:
                yield f"{prefix}  ({refused.message})"

    if follow and len(containers) > 1:
        yield from _interleave([lines(*container) for container in containers])
    else:
        for container in containers:
            yield from lines(*container)


def _interleave(streams: Sequence[Iterator[str]]) -> Iterator[str]:
    """Yield the lines of several streams as they arrive."""
    arrived: queue.Queue[str | Exception | None] = queue.Queue(maxsize=1000)

    def pump(stream: Iterator[str]) -> None:
        end: Exception | None = None
        try:
            for line in stream:
                arrived.put(line)
        except Exception as failure:  # noqa: BLE001 - raised by the reader, which would wait forever otherwise
            end = failure
        arrived.put(end)

    for stream in streams:
        threading.Thread(target=pump, args=(stream,), daemon=True, name="kubernaut-logs").start()
    left = len(streams)
    while left:
        item = arrived.get()
        if isinstance(item, str):
            yield item
        elif item is None:
            left -= 1
        else:
            raise item
