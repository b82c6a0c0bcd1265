"""Random histories: random writes to a cluster, and the comparison of an index with the history."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from hypothesis import strategies as st

from kubernaut.adapters.kube import Cluster
from kubernaut.errors import IndexStale, ReleaseNotFound
from kubernaut.history.index import Index, Query
from kubernaut.history.operation_codec import OUTCOME_LABEL, operation_secret
from kubernaut.history.operations import SUCCEEDED, Operation, Outcome
from kubernaut.history.records import OPERATION_LABEL, REVISION_LABEL, Status, encode
from kubernaut.history.releases import Release, ReleaseHistoryList, ReleaseId
from kubernaut.history.repair import aside_secret
from kubernaut.history.store import HistoryStore

from .records import STARTED, made, operation, record_secret

NAMESPACES = ("demo", "prod")
NAMES = ("a", "a-b", "b")
OPERATIONS = ("one", "two", "three")
MANIFEST = "kind: Pod\nspec: {containers: [{image: 'r/a@sha256:00'}, {image: b}]}\n"


class Change(Protocol):
    """A write to the cluster."""

    def take(self, cluster: Cluster) -> None:
        """Write it, if that is possible."""
        ...


@dataclass(frozen=True)
class WriteRecord:
    """Create or change a record."""

    namespace: str
    name: str
    revision: int
    status: str
    operation: str | None
    payload: str | None

    def take(self, cluster: Cluster) -> None:
        labels = {OPERATION_LABEL: self.operation, REVISION_LABEL: "2"} if self.operation else {}
        secret_manifest = record_secret(
            self.revision,
            self.status,
            name=self.name,
            namespace=self.namespace,
            labels=labels,
            payload=self.payload,
            manifest=MANIFEST,
        )
        secret = secret_manifest["metadata"]["name"]
        if cluster.get_secret(self.namespace, secret) is None:
            cluster.create_secret(self.namespace, secret_manifest)
        else:
            cluster.patch_secret(
                self.namespace,
                secret,
                {"metadata": {"labels": secret_manifest["metadata"]["labels"]}, "data": secret_manifest["data"]},
            )


@dataclass(frozen=True)
class RemoveRecord:
    """Delete a record; with ``aside``, set a copy aside first; with ``kept``, only set a copy aside."""

    namespace: str
    name: str
    revision: int
    aside: bool
    kept: bool

    def take(self, cluster: Cluster) -> None:
        name = f"sh.helm.release.v1.{self.name}.v{self.revision}"
        secret = cluster.get_secret(self.namespace, name)
        if secret is None:
            return
        copy = aside_secret(secret)
        if self.aside and cluster.get_secret(self.namespace, copy["metadata"]["name"]) is None:
            cluster.create_secret(self.namespace, copy)
        if not self.kept:
            cluster.delete_secret(self.namespace, name)


@dataclass(frozen=True)
class WriteOperation:
    """Write, overwrite or delete an operation."""

    namespace: str
    name: str
    id: str
    verb: str
    ended: bool
    made: int
    broken: bool
    gone: bool

    def take(self, cluster: Cluster) -> None:
        known = cluster.get_secret(self.namespace, f"kubernaut.{self.id}")
        if known is not None and (self.gone or known["metadata"]["labels"]["name"] != self.name):
            cluster.delete_secret(self.namespace, f"kubernaut.{self.id}")
            return
        secret = operation_secret(self._operation(cluster))
        if self.broken:
            secret["data"] = {"operation": "!!!"}
        if known is None:
            cluster.create_secret(self.namespace, secret)
        else:
            labels = {OUTCOME_LABEL: None, **secret["metadata"]["labels"]}
            cluster.patch_secret(self.namespace, f"kubernaut.{self.id}", {"metadata": {"labels": labels}, "data": secret["data"]})

    def _operation(self, cluster: Cluster) -> Operation:
        history = HistoryStore(cluster).get(self.namespace, self.name)
        elsewhere = {one.uid for operation in history.operations if operation.id != self.id for one in operation.made}
        outcome = Outcome(reason=SUCCEEDED, message="well") if self.ended else None
        noted = tuple(made(record) for record in history.records if record.revision == self.made and record.uid not in elsewhere)
        of = {"namespace": self.namespace, "name": self.name, "outcome": outcome, "finished_at": STARTED if self.ended else None}
        return operation(self.id, verb=self.verb, made=noted, note=f"by {self.id}").model_copy(update=of)


_names = {"namespace": st.sampled_from(NAMESPACES), "name": st.sampled_from(NAMES)}
_revisions = st.integers(1, 4)
_payloads = st.sampled_from([None, None, None, "!!!", encode({"info": "none", "chart": 7})])
CHANGES = st.one_of(
    st.builds(
        WriteRecord,
        **_names,
        revision=_revisions,
        status=st.sampled_from([status.value for status in Status]),
        operation=st.sampled_from([None, *OPERATIONS]),
        payload=_payloads,
    ),
    st.builds(RemoveRecord, **_names, revision=_revisions, aside=st.booleans(), kept=st.booleans()),
    st.builds(
        WriteOperation,
        **_names,
        id=st.sampled_from(OPERATIONS),
        verb=st.sampled_from(["deploy", "rollback", "delete"]),
        ended=st.booleans(),
        made=_revisions,
        broken=st.booleans(),
        gone=st.booleans(),
    ),
)


def eventually(check: Callable[[], object], seconds: float = 10) -> object:
    """Call a check until it passes; raise its last error."""
    until = time.monotonic() + seconds
    while True:
        try:
            return check()
        except (AssertionError, IndexStale, ReleaseNotFound):
            if time.monotonic() > until:
                raise
            time.sleep(0.002)


def encoded(releases: Sequence[Release]) -> list[bytes]:
    """Return the releases' JSON."""
    return [release.model_dump_json(by_alias=True).encode() for release in releases]


def compare(index: Index, history: HistoryStore) -> None:
    """Fail unless an index returns what the history returns: lists, each name, and each release."""
    for namespace in (None, *NAMESPACES):
        for all in (False, True):
            expected = history.list(namespace, all=all)
            page = index.page(Query(namespace=namespace, all=all, limit=500))
            assert [*page.items] == encoded(expected.items)
            assert (page.count, page.next) == (expected.count, None)
    for namespace in NAMESPACES:
        for name in NAMES:
            found = _history(history.releases, namespace, name)
            assert _history(index.history, namespace, name) == found
            for release in found.items if found else ():
                assert index.release(ReleaseId.parse(release.id)) == release
            if found and found.items:
                assert index.release(ReleaseId(namespace, name)) == found.items[0]
    unfinished = {(namespace, name) for namespace in NAMESPACES for name in NAMES if history.get(namespace, name).unfinished}
    assert index.unfinished() == unfinished


def _history(ask: Any, namespace: str, name: str) -> ReleaseHistoryList | None:
    try:
        found: ReleaseHistoryList = ask(namespace, name)
    except ReleaseNotFound:
        return None
    return found
