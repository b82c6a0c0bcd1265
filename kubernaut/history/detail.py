"""One release in detail: manifest, values, report, differences from another release, pods and logs. Secret values are masked."""

from __future__ import annotations

import queue
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kubernaut.errors import BadInput, Conflict, ReleaseNotFound
from kubernaut.history.diff import Difference, Snapshot, compare
from kubernaut.history.masking import join_objects, mask_record, mask_values
from kubernaut.history.operations import Operation
from kubernaut.history.records import Record
from kubernaut.history.releases import Release, ReleaseId, pod_selectors
from kubernaut.history.store import HistoryStore, ReleaseHistory
from kubernaut.models import Model

if TYPE_CHECKING:
    from kubernaut.adapters.kube import Cluster

_DEEPEST = 100
_REVISION = re.compile(r"v?([0-9]{1,9})")
_WITHOUT_HASHES = {"fingerprint": None, "key": None}  # hashes of requests, from which passwords could be guessed


class ReleaseReport(Model):
    """A release and the operation that made it, with its events; ``operation`` is ``None`` for a release of plain Helm."""

    release: Release
    operation: Operation | None = None


def read_manifest(store: HistoryStore, wanted: ReleaseId) -> str:
    """Return the applied manifest of a release, hooks last. Raises: ReleaseNotFound, Conflict for a damaged record."""
    return join_objects(mask_record(_checked(store.record(wanted))))


def read_values(store: HistoryStore, wanted: ReleaseId, *, all: bool) -> dict[str, Any]:
    """Return a release's values, with ``all`` over the chart's defaults. Raises: ReleaseNotFound, Conflict for a damaged record."""
    record = _with_checked_values(_checked(store.record(wanted)))
    values: dict[str, Any] = mask_values(_coalesce(record.defaults, record.config) if all else record.config)
    return values


def read_report(store: HistoryStore, wanted: ReleaseId) -> ReleaseReport:
    """Return a release and its operation. Raises: ReleaseNotFound, Conflict for a damaged record."""
    history = store.get(wanted.namespace, wanted.name)
    release = _described(history, history.record(wanted))
    operation = next((one for one in history.operations if one.id == release.operation), None)
    return ReleaseReport(release=release, operation=operation and operation.model_copy(update=_WITHOUT_HASHES))


def diff_releases(store: HistoryStore, wanted: ReleaseId, to: str | None) -> Difference:
    """Return the changes from a release to another, or without ``to`` from its predecessor to the release.

    Args:
        store: The history.
        wanted: The release.
        to: The other release: an ID, or a revision of the same name.

    Raises:
        ReleaseNotFound: One of the releases does not exist.
        Conflict: A record is damaged.
    """
    history = store.get(wanted.namespace, wanted.name)
    record = history.record(wanted)
    if to is None:
        return compare(_snapshot(history, _predecessor(history, record)), _snapshot(history, record))
    other = parse_other(wanted, to)
    same_name = (other.namespace, other.name) == (wanted.namespace, wanted.name)
    others = history if same_name else store.get(other.namespace, other.name)
    return compare(_snapshot(history, record), _snapshot(others, others.record(other)))


def parse_other(wanted: ReleaseId, to: str) -> ReleaseId:
    """Return the release to compare with: an ID, or a revision of the same name. Raises: NameInvalid."""
    revision = _REVISION.fullmatch(to)
    return ReleaseId(wanted.namespace, wanted.name, int(revision[1])) if revision else ReleaseId.parse(to)


def list_pods(record: Record, cluster: Cluster) -> list[dict[str, Any]]:
    """Return the pods of a release, by name."""
    found: dict[str, dict[str, Any]] = {}
    for labels in pod_selectors(record.manifest):
        for pod in cluster.list_pods(record.namespace, labels):
            found[str(pod["metadata"]["name"])] = pod
    return [found[name] for name in sorted(found)]


def read_logs(record: Record, cluster: Cluster, *, follow: bool, tail: int | None, previous: bool) -> Iterator[str]:
    """Yield the log lines of a release's containers, each after its pod's name.

    Args:
        record: The release.
        cluster: Its cluster.
        follow: Continue with new lines, of all containers at once; otherwise one container after the other.
        tail: Only the last lines of each container.
        previous: Of the runs before the last restart; containers that never restarted are skipped.
    """
    containers = [
        (str(pod["metadata"]["name"]), str(container["name"]))
        for pod in list_pods(record, cluster)
        for container in pod["spec"]["containers"]
    ]

    def lines(pod: str, container: str) -> Iterator[str]:
        several = sum(1 for name, _ in containers if name == pod) > 1
        prefix = f"{pod}/{container}" if several else pod
        log = cluster.pod_log(record.namespace, pod, container=container, tail=tail, follow=follow, previous=previous)
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


def _predecessor(history: ReleaseHistory, record: Record) -> Record:
    found = next((one for one in history.records if one.revision < record.revision), None)
    if found is None:
        raise ReleaseNotFound(
            f"{record.id} has no predecessor to compare with.",
            hint="Name the other release with --to ID.",
            http_hint="Name the other release: `?to=ID`.",
        )
    return found


def _snapshot(history: ReleaseHistory, record: Record) -> Snapshot:
    return Snapshot(_described(history, _with_checked_values(_checked(record))), record)


def _described(history: ReleaseHistory, record: Record) -> Release:
    try:
        return history.release(record)
    except (ValueError, TypeError, OverflowError) as error:
        raise _damaged(record, "its content is not a release") from error


def _checked(record: Record) -> Record:
    if record.damaged:
        raise _damaged(record, record.damaged)
    return record


def _with_checked_values(record: Record) -> Record:
    if _is_deep(record.config) or _is_deep(record.defaults):
        raise _damaged(record, "its values are nested too deeply")
    return record


def _damaged(record: Record, why: str) -> Conflict:
    return Conflict(f"The record of {record.id} is damaged: {why}.", hint="Its content is lost; other revisions are not affected.")


def _is_deep(values: Any) -> bool:
    """Return whether values are nested so deeply that recursion might fail."""
    level = [values]
    for _ in range(_DEEPEST):
        level = [below for one in level for below in (one.values() if isinstance(one, Mapping) else one)]
        level = [below for below in level if isinstance(below, Mapping | list)]
    return bool(level)


def _coalesce(defaults: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return both as Helm merges them: maps are merged, ``null`` removes a default, anything else replaces it."""
    merged = dict(config)
    for key, default in defaults.items():
        if key not in config:
            merged[key] = default
        elif config[key] is None:
            del merged[key]
        elif isinstance(default, Mapping) and isinstance(config[key], Mapping):
            merged[key] = _coalesce(default, config[key])
    return merged
