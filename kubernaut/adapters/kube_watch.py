"""Lists in pages, and what is heard of changes after them: Kubernetes' list and watch, as data and as a stream.

It knows the protocol and the connection, not who asks: :mod:`kubernaut.adapters.kube` opens the stream.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import Any, Protocol

import httpx2

from kubernaut.adapters.kube_errors import refusal
from kubernaut.errors import ClusterUnreachable

GONE = 410


class Expired(Exception):
    """The API server no longer knows the state that a list or a watch was to go on from: whoever hears it begins anew."""


@dataclass(frozen=True)
class SecretPage:
    """A part of a list.

    Attributes:
        items: The Secrets, or their metadata.
        resource_version: The state that the whole list is of; a watch goes on from it.
        continues: What the next part is asked for with; empty on the last.
    """

    items: Sequence[dict[str, Any]]
    resource_version: str
    continues: str = ""


@dataclass(frozen=True)
class Change:
    """What a watch says: ``ADDED``, ``MODIFIED``, ``DELETED``, or with ``BOOKMARK`` only how far it has come."""

    kind: str
    metadata: Mapping[str, Any]

    @property
    def resource_version(self) -> str:
        """The state after it."""
        return str(self.metadata.get("resourceVersion", ""))


class Watch(Protocol):
    """Changes, as they happen; it ends when the server ends it, or when another thread closes it."""

    def __iter__(self) -> Iterator[Change]:
        """Yield the changes. Raises: Expired, ClusterUnreachable, ClusterDenied."""
        ...

    def close(self) -> None:
        """End it; from any thread."""
        ...


class HttpWatch:
    """A watch over an open HTTP response.

    Args:
        response: The stream.
        mapped: Turns a broken connection into the error that it is.
        cluster: The cluster's name, as a sentence begins with it.
    """

    def __init__(self, response: httpx2.Response, mapped: Callable[[], AbstractContextManager[None]], cluster: str) -> None:
        self._response = response
        self._mapped = mapped
        self._cluster = cluster
        self._closed = False

    def __iter__(self) -> Iterator[Change]:
        """Yield the changes. Raises: Expired, ClusterUnreachable, ClusterDenied."""
        try:
            with self._mapped():
                yield from (self._change(line) for line in self._response.iter_lines() if line)
        except ClusterUnreachable:
            if not self._closed:
                raise
        finally:
            self._response.close()

    def close(self) -> None:
        """End it; from any thread. The one that reads wakes up, which closing the descriptor alone would not do."""
        self._closed = True
        stream = self._response.extensions.get("network_stream")
        connection = stream.get_extra_info("socket") if stream is not None else None
        if connection is not None:
            with suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)

    def _change(self, line: str) -> Change:
        try:
            said = json.loads(line)
            kind, thing = str(said["type"]), dict(said["object"])
        except (ValueError, KeyError, TypeError) as error:
            raise ClusterUnreachable(f"{self._cluster} says something other than Kubernetes' events.") from error
        if kind != "ERROR":
            return Change(kind, thing.get("metadata") or {})
        if thing.get("code") == GONE:
            raise Expired(str(thing.get("message", "")))
        raise refusal(self._cluster, int(thing.get("code") or 500), str(thing.get("message", "")))
