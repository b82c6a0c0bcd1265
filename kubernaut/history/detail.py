"""One release at length: its manifest, its values, how it came to be, and what differs between two. What is secret is masked."""

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
# Of a request, which may hold passwords: whoever reads a report has no use for them, but to guess.
_HASHES = {"fingerprint": None, "key": None}


class ReleaseReport(Model):
    """A release and the operation that made it, with what was said on the way; ``None`` for a release that plain Helm made."""

    release: Release
    operation: Operation | None = None


def read_manifest(history: HistoryStore, wanted: ReleaseId) -> str:
    """Return what was applied for a release, its hooks last. Raises: ReleaseNotFound, Conflict when its record is damaged."""
    return join_objects(mask_record(_readable(history.record(wanted))))


def read_values(history: HistoryStore, wanted: ReleaseId, *, all: bool) -> dict[str, Any]:
    """Return a release's values, with ``all`` over the chart's own. Raises: ReleaseNotFound, Conflict for a damaged one."""
    record = _with_values(_readable(history.record(wanted)))
    values: dict[str, Any] = mask_values(_coalesced(record.defaults, record.config) if all else record.config)
    return values


def diff_releases(history: HistoryStore, wanted: ReleaseId, to: str | None) -> Difference:
    """Return what going from a release to another changes; without one, what it changed of the release before it.

    Args:
        history: The history.
        wanted: The release.
        to: The other one's id, or a revision of the same name.

    Raises:
        ReleaseNotFound: There is no such release, or none before it.
        Conflict: A record is damaged.
    """
    past = history.get(wanted.namespace, wanted.name)
    record = past.record(wanted)
    if to is None:
        return compare(_side(past, _before(past, record)), _side(past, record))
    other = parse_other(wanted, to)
    others = past if (other.namespace, other.name) == (wanted.namespace, wanted.name) else history.get(other.namespace, other.name)
    return compare(_side(past, record), _side(others, others.record(other)))


def parse_other(wanted: ReleaseId, to: str) -> ReleaseId:
    """Return which release is meant beside another: an id, or a revision of the same name. Raises: NameInvalid."""
    revision = _REVISION.fullmatch(to)
    return ReleaseId(wanted.namespace, wanted.name, int(revision[1])) if revision else ReleaseId.parse(to)


def read_report(history: HistoryStore, wanted: ReleaseId) -> ReleaseReport:
    """Return a release and how it came to be. Raises: ReleaseNotFound, Conflict when its record is no release's."""
    past = history.get(wanted.namespace, wanted.name)
    release = _told(past, past.record(wanted))
    operation = next((one for one in past.operations if one.id == release.operation), None)
    return ReleaseReport(release=release, operation=operation and operation.model_copy(update=_HASHES))


def _before(past: ReleaseHistory, record: Record) -> Record:
    before = next((one for one in past.records if one.revision < record.revision), None)
    if before is None:
        raise ReleaseNotFound(
            f"There is no release before {record.id}.", hint="Name the release to compare it with: --to ID, or ?to=ID over HTTP."
        )
    return before


def _side(past: ReleaseHistory, record: Record) -> Snapshot:
    return Snapshot(_told(past, _with_values(_readable(record))), record)


def _told(past: ReleaseHistory, record: Record) -> Release:
    """Return what is told of a record; of one that can be decoded and still is no release's, that."""
    try:
        return past.release(record)
    except (ValueError, TypeError, OverflowError) as error:
        raise _damaged(record, "its content is no release's") from error


def _readable(record: Record) -> Record:
    if record.damaged:
        raise _damaged(record, record.damaged)
    return record


def _with_values(record: Record) -> Record:
    if _is_deep(record.config) or _is_deep(record.defaults):
        raise _damaged(record, "its values are nested too deeply")
    return record


def _is_deep(values: Any) -> bool:
    """Say whether values are nested so deeply that reading them might end in the midst."""
    level = [values]
    for _ in range(_DEEPEST):
        level = [below for one in level for below in (one.values() if isinstance(one, Mapping) else one)]
        level = [below for below in level if isinstance(below, Mapping | list)]
    return bool(level)


def _damaged(record: Record, why: str) -> Conflict:
    return Conflict(f"The record of {record.id} is damaged: {why}.", hint="What it held is lost; the other revisions are whole.")


def _coalesced(defaults: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return both as Helm joins them: maps are joined, ``null`` takes a default away, everything else replaces it."""
    merged = dict(config)
    for key, default in defaults.items():
        if key not in config:
            merged[key] = default
        elif config[key] is None:
            del merged[key]
        elif isinstance(default, Mapping) and isinstance(config[key], Mapping):
            merged[key] = _coalesced(default, config[key])
    return merged


_Said = str | Exception | None


def list_pods(record: Record, cluster: Cluster) -> list[dict[str, Any]]:
    """Return the pods of a release, each once."""
    found: dict[str, dict[str, Any]] = {}
    for labels in pod_selectors(record.manifest):
        for pod in cluster.list_pods(record.namespace, labels):
            found[str(pod["metadata"]["name"])] = pod
    return [found[name] for name in sorted(found)]


def read_logs(record: Record, cluster: Cluster, *, follow: bool, tail: int | None, previous: bool) -> Iterator[str]:
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
        for pod in list_pods(record, cluster)
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
