"""The logs of a release: those of its pods while it is the current one, else the lines that were kept when it failed."""

from __future__ import annotations

import math
import queue
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kubernaut.errors import BadInput, NotFound
from kubernaut.history.detail import describe_checked
from kubernaut.history.masking import known_secrets
from kubernaut.history.records import Record
from kubernaut.history.store import ReleaseHistory, list_pods
from kubernaut.redact import mask

if TYPE_CHECKING:
    from kubernaut.adapters.kube import Cluster

Notify = Callable[[str], None]

_CONTAINER = re.compile(r", (?:init )?container (?P<name>[a-z0-9-]+)(?:, previous run)?$")
_GROUPS = ("initContainers", "containers", "ephemeralContainers")


@dataclass(frozen=True)
class LogQuery:
    """Which lines of a log are wanted.

    Attributes:
        follow: Continue with new lines, of all containers at once; otherwise one container after the other.
        tail: Only the last lines of each container.
        previous: Of the runs before the last restart; containers that never restarted are skipped.
        container: Only of the containers with this name, also init containers; by default of all except init containers.
        since: Only lines of the last so many seconds.
    """

    follow: bool = False
    tail: int | None = None
    previous: bool = False
    container: str | None = None
    since: float | None = None


def read_logs(
    history: ReleaseHistory,
    record: Record,
    cluster: Cluster,
    notify: Notify,
    query: LogQuery | None = None,
    *,
    secrets: Iterable[str] = (),
) -> Iterator[str]:
    """Yield the log lines of a release's containers, each after its pod's name, without known secrets.

    The pods of all revisions have the labels that select them, so those of an earlier revision are not shown. Its lines are those
    that explain its failure, if it failed.

    Args:
        history: The history of its name.
        record: The release.
        cluster: Its cluster.
        notify: Receives why the pods are not shown.
        query: Which lines are wanted; all by default.
        secrets: Values that are masked, besides those of the release.

    Raises:
        BadInput: The manifest of the current release cannot be read, or ``since`` is combined with kept lines, which have no times.
        NotFound: No container has the name.
        Conflict: The record of the release is damaged.
    """
    query, current = query or LogQuery(), history.current or record
    pods = list_pods(record, cluster) if record.id == current.id else []
    why = f"{record.id} has no pods" if record.id == current.id else f"{record.id} is not the current release, {current.id} is"
    lines = _pod_logs(record, pods, cluster, query) if pods else _kept_lines(history, record, why, notify, query)
    known = (*secrets, *known_secrets(record))
    yield from (mask(line, known) for line in lines)


def _kept_lines(history: ReleaseHistory, record: Record, why: str, notify: Notify, query: LogQuery) -> Iterator[str]:
    """Yield the log lines that were kept when the release failed, after a notice that they are these, or that none are kept."""
    outcome = describe_checked(history, record).outcome
    logs = [one for one in (outcome.evidence if outcome else ()) if one.kind == "log"]
    if not logs:
        notify(f"{why}. No log lines of it are kept.")
        return
    if query.since is not None:
        raise BadInput(
            f"{why}. The log lines that were kept when it failed have no times, so --since cannot select among them.",
            hint="Leave --since out; --tail N prints the last N lines of each container.",
        )
    if query.container is not None:
        containers = [found["name"] if (found := _CONTAINER.search(log.about)) else "" for log in logs]
        if query.container not in containers:
            raise _unknown_container(f"{record.id} has no kept log lines of", query.container, containers)
        logs = [log for log, container in zip(logs, containers, strict=True) if container == query.container]
    notify(f"{why}. These log lines were kept when it failed.")
    tail = query.tail
    for log in logs:
        lines = log.text.splitlines()
        yield from (f"{log.about}  {line}" for line in (lines if tail is None else lines[max(len(lines) - tail, 0) :]))


def _pod_logs(record: Record, pods: Sequence[Mapping[str, Any]], cluster: Cluster, query: LogQuery) -> Iterator[str]:
    containers = _containers(record, pods, query.container)
    since = None if query.since is None else max(1, math.ceil(query.since))

    def lines(pod: str, container: str) -> Iterator[str]:
        several = sum(1 for name, _ in containers if name == pod) > 1
        prefix = f"{pod}/{container}" if several else pod
        log = cluster.pod_log(
            record.namespace,
            pod,
            container=container,
            tail=query.tail,
            follow=query.follow,
            previous=query.previous,
            since_seconds=since,
        )
        try:
            yield from (f"{prefix}  {line}" for line in log)
        except BadInput as refused:  # the container has not started, or has no previous run
            if not query.previous:
                yield f"{prefix}  ({refused.message})"

    if query.follow and len(containers) > 1:
        yield from _interleave([lines(*container) for container in containers])
    else:
        for container in containers:
            yield from lines(*container)


def _containers(record: Record, pods: Sequence[Mapping[str, Any]], name: str | None) -> list[tuple[str, str]]:
    """Return the pods and containers whose logs are wanted. Raises: NotFound (no container has the name)."""
    groups = ("containers",) if name is None else _GROUPS
    found = [
        (str(pod["metadata"]["name"]), str(container["name"]))
        for pod in pods
        for group in groups
        for container in pod["spec"].get(group) or ()
    ]
    if name is None:
        return found
    if all(container != name for _, container in found):
        raise _unknown_container(f"The pods of {record.id} have no container", name, [container for _, container in found])
    return [one for one in found if one[1] == name]


def _unknown_container(what: str, name: str, known: Iterable[str]) -> NotFound:
    names = ", ".join(dict.fromkeys(filter(None, known)))
    hint = f"Name one of these: {names}." if names else "Leave the container out."
    return NotFound(f"{what} {name!r}; the containers are {names or 'not known'}.", hint=hint)


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
