"""How the index reads from the cluster: lists in parts, and single Secrets in as few requests as it takes. It keeps nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from kubernaut.adapters.kube_http import Not
from kubernaut.adapters.kube_watch import Expired, SecretPage, Watch
from kubernaut.errors import ClusterUnreachable
from kubernaut.history.index.summaries import Name, RecordMetadata, sight
from kubernaut.history.record import KUBERNAUT_OWNER, OPERATION_LABEL, OWNER, Status

if TYPE_CHECKING:
    from kubernaut.adapters.kube import Cluster
    from kubernaut.adapters.kube_http import Labels

Secret = Mapping[str, Any]
OWNERS = (OWNER, KUBERNAUT_OWNER)

# Every operation, and nearly every current record; a superseded one is current only where somebody removed those after it.
_NOT_SUPERSEDED = Not(Status.SUPERSEDED.value)
_LABEL = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_FEW = 2
_NAMES = 25
_METADATA_LIMIT = 1000
_CONTENT_LIMIT = 100  # at first; then as many as are about _BYTES_AT_ONCE
_BYTES_AT_ONCE = 8 << 20
_TRIES = 5
_PING_SECONDS = 5.0


class Reader:
    """Reads Helm's records, the copies of them, and the operations.

    Args:
        open: Opens the cluster, or returns the open one.
        limit: The most Secrets in one answer, if it is to be fewer than usual.
    """

    def __init__(self, open: Callable[[], Cluster], *, limit: int | None = None) -> None:
        self._open = open
        self._limit = limit

    def sights(self, namespace: str | None) -> tuple[list[RecordMetadata], str]:
        """Return what the metadata of all tell, in a namespace or in all, and the state that this is of."""
        for _ in range(_TRIES):
            found: list[RecordMetadata] = []
            version = ""
            try:
                for page in self._pages(namespace, {"owner": OWNERS}, metadata_only=True):
                    found += [seen for secret in page.items if (seen := sight(secret))]
                    version = page.resource_version
            except Expired:
                continue
            return found, version
        raise ClusterUnreachable("The cluster forgets the list of its releases before it has been read to its end.")

    def likely(self, namespace: str | None) -> Iterator[Sequence[Secret]]:
        """Yield in parts what kubernaut keeps and the records that may be current, whole; what it misses is missing.

        The operations of a name come before its records: a list is in the order of namespaces and of the Secrets' names.
        """
        try:
            for page in self._pages(namespace, {"owner": OWNERS, "status": _NOT_SUPERSEDED}):
                yield page.items
        except Expired:
            return

    def name(self, name: Name) -> tuple[list[Secret], str]:
        """Return all that there is of a name, whole, and the state that this is of."""
        for _ in range(_TRIES):
            try:
                pages = list(self._pages(name.namespace, {"name": name.name, "owner": OWNERS}))
            except Expired:
                continue
            return [secret for page in pages for secret in page.items], pages[-1].resource_version
        raise ClusterUnreachable(f"The cluster forgets the list of {name.name} in {name.namespace} before it has been read.")

    def operation(self, namespace: str | None, id: str) -> Sequence[Secret]:
        """Return the operation with an id."""
        return self._open().list_secrets(namespace, {"owner": KUBERNAUT_OWNER, OPERATION_LABEL: id})

    def these(self, sights: Iterable[RecordMetadata]) -> Iterator[tuple[RecordMetadata, Secret | None]]:
        """Yield the Secrets that were seen, whole, and ``None`` for one that is gone: a few one by one, many by their names."""
        ordered = sorted(sights, key=lambda seen: (seen.name, not seen.is_operation))
        for namespace, group in groupby(ordered, key=lambda seen: seen.name.namespace):
            wanted = {seen.secret: seen for seen in group}
            if len(wanted) > _FEW:
                for secret in self._by_names(namespace, list(wanted.values())):
                    seen = wanted.pop(str(secret["metadata"]["name"]), None)
                    if seen is not None:
                        yield seen, secret
            for seen in wanted.values():
                yield seen, self._open().get_secret(namespace, seen.secret)

    def ping(self, namespace: str | None) -> None:
        """Ask for next to nothing. Raises: ClusterUnreachable, ClusterDenied."""
        self._open().page_secrets(namespace, {"owner": OWNERS}, metadata_only=True, limit=1, timeout=_PING_SECONDS)

    def watch(self, namespace: str | None, version: str, seconds: int) -> Watch:
        """Watch the metadata of all, from a state on. Raises: Expired."""
        return self._open().watch_secrets(namespace, {"owner": OWNERS}, resource_version=version, seconds=seconds)

    def _by_names(self, namespace: str, sights: Sequence[RecordMetadata]) -> Iterator[Secret]:
        names = sorted({seen.name.name for seen in sights if _LABEL.fullmatch(seen.name.name)})
        for start in range(0, len(names), _NAMES):
            some = names[start : start + _NAMES]
            among = [seen for seen in sights if seen.name.name in some]
            labels: dict[str, str | Sequence[str]] = {"owner": OWNERS, "name": some}
            if all(seen.label and not seen.copy for seen in among):
                labels |= {"owner": OWNER, "status": sorted({seen.label for seen in among})}
            try:
                for page in self._pages(namespace, labels):
                    yield from page.items
            except Expired:
                continue

    def _pages(self, namespace: str | None, labels: Labels, *, metadata_only: bool = False) -> Iterator[SecretPage]:
        limit = self._limit or (_METADATA_LIMIT if metadata_only else _CONTENT_LIMIT)
        continues = ""
        while True:
            page = self._open().page_secrets(namespace, labels, metadata_only=metadata_only, limit=limit, continues=continues)
            yield page
            continues = page.continues
            if not continues:
                return
            limit = limit if metadata_only or self._limit else _fitting(page)


def _fitting(page: SecretPage) -> int:
    """Return how many Secrets like those of a page make a page that is large enough and not too large."""
    size = sum(len(text) for secret in page.items for text in (secret.get("data") or {}).values())
    return max(1, min(_METADATA_LIMIT, _BYTES_AT_ONCE * len(page.items) // (size + 1)))
