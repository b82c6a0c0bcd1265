"""The index's cache: Secrets read from the cluster, kept as the state of each name and as contents up to a size limit."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from itertools import groupby
from typing import TYPE_CHECKING, Any, TypeVar

from cachetools import LRUCache

from kubernaut.adapters.kube_http import NotEqual, Page, ResourceExpired, Watch, WatchEvent
from kubernaut.adapters.kube_resources import SECRETS
from kubernaut.errors import ClusterUnreachable
from kubernaut.history.index.state import CachedRecord, IndexState, NameState
from kubernaut.history.index.summaries import (
    Key,
    NamespacedName,
    RecordMetadata,
    ReleaseJSON,
    parse_metadata,
    summarize_operation,
    summarize_release,
)
from kubernaut.history.operation_codec import decode_operation
from kubernaut.history.operations import Operation
from kubernaut.history.records import HELM_OWNER, KUBERNAUT_OWNER, OPERATION_LABEL, Status, decode

if TYPE_CHECKING:
    from kubernaut.adapters.kube import Cluster
    from kubernaut.adapters.kube_http import Labels

T = TypeVar("T")
Secret = Mapping[str, Any]
Content = ReleaseJSON | Secret
"""What is kept of a Secret's content: a release's JSON, or an operation's Secret."""
Contents = Mapping[Key, Content]

_OWNERS = (HELM_OWNER, KUBERNAUT_OWNER)
# Every operation, and nearly every current record; a superseded one is current only where later records were removed.
_NOT_SUPERSEDED = NotEqual(Status.SUPERSEDED.value)
_LABEL_VALUE = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_MAX_SINGLE_READS = 2
_NAMES_PER_LIST = 25
_METADATA_LIMIT = 1000
_CONTENT_LIMIT = 100  # of the first page; later pages hold about _PAGE_BYTES
_PAGE_BYTES = 8 << 20
_PING_SECONDS = 5.0
_NAMES_AT_ONCE = 50
_TRIES = 5
_ROUNDS = 10
_CACHE_BYTES = 32 << 20


class SecretSource:
    """Lists, reads and watches the Secrets of Helm's records, their set-aside copies and the operations.

    Args:
        open_cluster: Returns the cluster; called for each request.
    """

    def __init__(self, open_cluster: Callable[[], Cluster]) -> None:
        self._open = open_cluster

    def list_metadata(self, namespace: str | None) -> tuple[list[RecordMetadata], str]:
        """Return the metadata of all Secrets in a namespace, or in all, and the list's resource version."""
        return self._list(namespace, {"owner": _OWNERS}, parse_metadata, metadata_only=True)

    def list_name(self, name: NamespacedName) -> tuple[list[Secret], str]:
        """Return all Secrets of a name, and the list's resource version."""
        return self._list(name.namespace, {"name": name.name, "owner": _OWNERS}, lambda secret: secret)

    def list_operation(self, namespace: str | None, id: str) -> Sequence[Secret]:
        """Return the Secret of an operation; empty where it does not exist."""
        return self._open().list_secrets(namespace, {"owner": KUBERNAUT_OWNER, OPERATION_LABEL: id})

    def list_likely_current(self, namespace: str | None) -> Iterator[Sequence[Secret]]:
        """Yield pages of operations and of records that are probably current; pages may be missing.

        The operations of a name precede its records, since a list is ordered by namespace and Secret name.
        """
        with suppress(ResourceExpired):
            for page in self._pages(namespace, {"owner": _OWNERS, "status": _NOT_SUPERSEDED}):
                yield page.items

    def read(self, wanted: Iterable[RecordMetadata]) -> Iterator[tuple[RecordMetadata, Secret | None]]:
        """Yield Secrets, ``None`` for a deleted one: single reads for a few of a namespace, lists by name for many."""
        ordered = sorted(wanted, key=lambda one: (one.name, not one.is_operation))
        for namespace, group in groupby(ordered, key=lambda one: one.name.namespace):
            left = {one.secret: one for one in group}
            if len(left) > _MAX_SINGLE_READS:
                for secret in self._list_by_names(namespace, list(left.values())):
                    metadata = left.pop(str(secret["metadata"]["name"]), None)
                    if metadata is not None:
                        yield metadata, secret
            for metadata in left.values():
                yield metadata, self._open().get_secret(namespace, metadata.secret)

    def ping(self, namespace: str | None) -> None:
        """Make the smallest possible list request. Raises: ClusterUnreachable, ClusterDenied."""
        self._open().list_objects(SECRETS, namespace, {"owner": _OWNERS}, metadata_only=True, limit=1, timeout=_PING_SECONDS)

    def watch(self, namespace: str | None, version: str, seconds: int) -> Watch:
        """Watch the metadata of all Secrets from a resource version on. Raises: ResourceExpired."""
        return self._open().watch_objects(
            SECRETS, namespace, {"owner": _OWNERS}, resource_version=version, seconds=seconds, metadata_only=True
        )

    def _list(
        self, namespace: str | None, labels: Labels, parse: Callable[[Secret], T | None], *, metadata_only: bool = False
    ) -> tuple[list[T], str]:
        for _ in range(_TRIES):
            found: list[T] = []
            version = ""
            with suppress(ResourceExpired):
                for page in self._pages(namespace, labels, metadata_only=metadata_only):
                    found += [item for secret in page.items if (item := parse(secret)) is not None]
                    version = page.resource_version
                return found, version
        raise ClusterUnreachable(
            f"The list of Secrets in {namespace or 'all namespaces'} expired before its last page, {_TRIES} times."
        )

    def _list_by_names(self, namespace: str, wanted: Sequence[RecordMetadata]) -> Iterator[Secret]:
        names = sorted({one.name.name for one in wanted if _LABEL_VALUE.fullmatch(one.name.name)})
        for start in range(0, len(names), _NAMES_PER_LIST):
            some = names[start : start + _NAMES_PER_LIST]
            among = [one for one in wanted if one.name.name in some]
            labels: dict[str, str | Sequence[str]] = {"owner": _OWNERS, "name": some}
            if all(one.status and not one.copy for one in among):
                labels |= {"owner": HELM_OWNER, "status": sorted({one.status for one in among})}
            with suppress(ResourceExpired):
                for page in self._pages(namespace, labels):
                    yield from page.items

    def _pages(self, namespace: str | None, labels: Labels, *, metadata_only: bool = False) -> Iterator[Page]:
        limit, token = _METADATA_LIMIT if metadata_only else _CONTENT_LIMIT, ""
        while True:
            page = self._open().list_objects(
                SECRETS, namespace, labels, metadata_only=metadata_only, limit=limit, continue_token=token
            )
            yield page
            token = page.continue_token
            if not token:
                return
            if not metadata_only:
                size = sum(len(text) for secret in page.items for text in (secret.get("data") or {}).values())
                limit = max(1, min(_METADATA_LIMIT, _PAGE_BYTES * len(page.items) // (size + 1)))


class IndexCache:
    """The index's store.

    Methods that return :data:`Contents` return all that they read, also what the cache has no space for.

    Attributes:
        state: The state of all names; guarded by ``lock``.
        contents: The least recently used contents leave it first; guarded by ``lock``.
        lock: Notified when a name has content to be read.
    """

    def __init__(self, source: SecretSource) -> None:
        self.state = IndexState()
        self.contents: LRUCache[Key, Content] = LRUCache(_CACHE_BYTES, getsizeof=_size)
        self.lock = threading.Condition(threading.RLock())
        self._source = source
        self._pending: dict[NamespacedName, float] = {}

    def pending_since(self) -> float | None:
        """Return the monotonic time of the oldest change that is not published yet."""
        with self.lock:
            return next(iter(self._pending.values()), None)

    def is_pending(self, name: NamespacedName) -> bool:
        """Return whether a change of a name is not published yet."""
        with self.lock:
            return name in self._pending

    def release(self, record: CachedRecord, state: NameState, read: Contents) -> ReleaseJSON | None:
        """Return the whole JSON of a published record, without evidence; ``None`` unless it is in ``read`` or cached."""
        view, key = state.view, record.metadata.key
        with self.lock:
            found = record.release if record.release and record.release.whole else read.get(key) or self.contents.get(key)
            if view is None or not isinstance(found, ReleaseJSON):
                return None
            if found.operation != view.operations.get(record.metadata.secret):
                return None
            found = found.standing(active=record is view.records[0] and view.active, serving=view.serving)
            self._remember(key, found)
            return found

    def operation(self, metadata: RecordMetadata, read: Contents) -> Operation | None:
        """Return an operation; ``None`` unless it is in ``read`` or cached."""
        with self.lock:
            found = read.get(metadata.key) or self.contents.get(metadata.key)
        return decode_operation(found) if isinstance(found, Mapping) else None

    def relist(self, namespace: str | None) -> str:
        """Read and publish a namespace, or all, and return the list's resource version.

        The first time the contents that are probably current are read while the metadata is listed; later only what has changed.
        """
        with self.lock:
            is_first = all(state.view is None for _, state in self.state.items(namespace))
        listing = run_in_background(lambda: self._source.list_metadata(namespace))
        if is_first:
            for secrets in prefetch(self._source.list_likely_current(namespace)):
                _, names = self._store(secrets)
                with self.lock:  # the fetcher may have published some meanwhile, which the list below then finds unchanged
                    self._publish({name for name in names if self.state.get(name).view is not None})
        listed, version = listing.result()
        with self.lock:
            changed = self.state.replace(namespace, listed, version)
            self._publish(changed | {name for name, state in self.state.items(namespace) if state.view is None})
        while self.fetch_pending(namespace):
            continue
        return version

    def apply(self, event: WatchEvent) -> None:
        """Store a change that a watch reports."""
        metadata = parse_metadata({"metadata": event.metadata})
        if metadata is None or event.type == "BOOKMARK":
            return
        with self.lock:
            if self._delete(metadata) if event.type == "DELETED" else self.state.update(metadata):
                self._publish({metadata.name})

    def refresh(self, name: NamespacedName) -> None:
        """Read and publish a name as it is now."""
        secrets, version = self._source.list_name(name)
        listed = [found for secret in secrets if (found := parse_metadata(secret)) and found.name == name]
        with self.lock:
            self.state.replace_name(name, listed, version)
            missing = {metadata.secret for metadata in self.state.get(name).missing()}
        self._store(secret for secret in secrets if secret["metadata"]["name"] in missing)
        with self.lock:
            self._publish({name})
        self.fetch_name(name)

    def fetch(self, wanted: Iterable[RecordMetadata]) -> Contents:
        """Read Secrets, store them, and publish their names where nothing else is missing."""
        found, gone = [], []
        for metadata, secret in self._source.read(wanted):
            now = parse_metadata(secret) if secret is not None else None
            if secret is None or now is None or (now.name, now.uid) != (metadata.name, metadata.uid):
                gone.append(metadata)
            if secret is not None:
                found.append(secret)
        with self.lock:
            self._publish({metadata.name for metadata in gone if self.state.delete(metadata, metadata.version)})
        return self.store(found)

    def store(self, secrets: Iterable[Secret]) -> Contents:
        """Store Secrets, and publish their names where nothing else is missing."""
        read, names = self._store(secrets)
        with self.lock:
            self._publish(names)
        return read

    def fetch_name(self, name: NamespacedName) -> None:
        """Read what a name is missing, and publish it."""
        for _ in range(_ROUNDS):
            with self.lock:
                missing = self.state.get(name).missing()
                if not missing:
                    self._publish({name} & self._pending.keys())  # another thread has read it and not published it yet
                    return
            self.fetch(missing)

    def fetch_pending(self, namespace: str | None = None) -> bool:
        """Read what some of the pending names are missing; return whether any of them is published now."""
        with self.lock:
            names = [name for name in self._pending if namespace in (None, name.namespace)][:_NAMES_AT_ONCE]
            missing = [metadata for name in names for metadata in self.state.get(name).missing()]
            self._publish(names)
        if missing:
            self.fetch(missing)
        with self.lock:
            return any(name not in self._pending for name in names)

    def _delete(self, metadata: RecordMetadata) -> bool:
        known = self.state.get(metadata.name).find(metadata.secret)
        if known is not None:
            self.contents.pop(known.key, None)
        return self.state.delete(metadata, metadata.version)

    def _store(self, secrets: Iterable[Secret]) -> tuple[Contents, set[NamespacedName]]:
        """Store Secrets, operations first, since a release's JSON depends on them; return the contents and the names."""
        read: dict[Key, Content] = {}
        parsed = [(metadata, secret) for secret in secrets if (metadata := parse_metadata(secret))]
        for metadata, secret in sorted(parsed, key=lambda pair: not pair[0].is_operation):
            content = self._store_operation(metadata, secret) if metadata.is_operation else self._store_record(metadata, secret)
            if content is not None:
                read[metadata.key] = content
                with self.lock:
                    self._remember(metadata.key, content)
        return read, {metadata.name for metadata, _ in parsed}

    def _store_operation(self, metadata: RecordMetadata, secret: Secret) -> Content | None:
        operation = decode_operation(secret)
        with self.lock:
            self.state.update(metadata)
            cached = self.state.get(metadata.name).operations.get(metadata.secret)
            if cached is not None and cached.metadata.key == metadata.key:
                cached.summary, cached.read = summarize_operation(operation) if operation else None, True
            if operation is None:
                self.state.operations.pop(str(metadata.operation), None)
                return None
        slim = {key: value for key, value in secret["metadata"].items() if key != "managedFields"}
        return {"metadata": slim, "type": secret.get("type"), "data": secret.get("data")}

    def _store_record(self, metadata: RecordMetadata, secret: Secret) -> Content | None:
        record = decode(secret)
        if record is None:
            return None
        with self.lock:
            self.state.update(metadata)
            operations = self.state.get(metadata.name).summaries()
        release = summarize_release(record, operations)
        with self.lock:
            state = self.state.get(metadata.name)
            cached = state.records.get(metadata.secret)
            if cached is not None and cached.metadata.key == metadata.key:
                cached.content_status, cached.chart_version = release.status, release.chart_version
                if state.revisions()[0] is cached:
                    cached.release = release.shortened()
        return release

    def _remember(self, key: Key, content: Content) -> None:
        with suppress(ValueError):  # larger than the whole cache
            self.contents[key] = content

    def _publish(self, names: Iterable[NamespacedName]) -> None:
        """Publish the names that are missing nothing, and mark the others as pending."""
        for name in names:
            if self.state.get(name).missing():
                self._pending.setdefault(name, time.monotonic())
                self.lock.notify_all()
            else:
                self.state.publish(name)
                self._pending.pop(name, None)


def _size(content: Content) -> int:
    """Return about how many bytes a content takes."""
    if isinstance(content, ReleaseJSON):
        return len(content.json)
    return 1000 + sum(len(str(text)) for text in (content.get("data") or {}).values())


def run_in_background(call: Callable[[], T]) -> Future[T]:
    """Call in a daemon thread, which does not keep the process from exiting."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001 - raised by result()
            future.set_exception(error)

    threading.Thread(target=run, daemon=True, name="kubernaut-index-list").start()
    return future


def prefetch(items: Iterator[T]) -> Iterator[T]:
    """Yield the items of an iterator; the next one is computed while the caller handles the current one."""
    coming = run_in_background(lambda: next(items, None))
    while (item := coming.result()) is not None:
        coming = run_in_background(lambda: next(items, None))
        yield item
