"""The Kubernetes API's HTTP protocol: selectors, errors, repeated requests, pages and watches.

:mod:`kubernaut.adapters.kube_connection` holds the connection and the credentials.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Protocol

import httpx2
from tenacity import RetryCallState, Retrying, retry_if_exception_type, retry_if_result, stop_after_attempt

from kubernaut.errors import BadInput, ClusterDenied, ClusterUnreachable, Conflict, KubernautError, NamespaceNotFound, NotFound

GONE = 410
_BUSY = frozenset({429, 502, 503, 504})
_PAUSES = (0.1, 0.4, 1.5)
_LONGEST_PAUSE = 5.0
_LONGEST_MESSAGE = 500
_CHANGES = tuple(f'{{"type":"{type}"'.encode() for type in ("ADDED", "MODIFIED", "DELETED"))


class NotEqual(str):
    """A label value in a selector that stands for any other value, or none."""

    __slots__ = ()


Labels = Mapping[str, str | Sequence[str]]


class ResourceExpired(Exception):
    """The API server no longer has the state from which a list or a watch should continue; start again."""


@dataclass(frozen=True)
class Page:
    """A page of a list.

    Attributes:
        items: The objects, or their metadata; as in the API's lists, they may lack ``kind`` and ``apiVersion``.
        resource_version: The state that the whole list shows; a watch continues from it.
        continue_token: Requests the next page; empty on the last.
    """

    items: Sequence[dict[str, Any]]
    resource_version: str
    continue_token: str = ""


@dataclass(frozen=True)
class WatchEvent:
    """An event of a watch.

    Attributes:
        type: ``ADDED``, ``MODIFIED``, ``DELETED``, or ``BOOKMARK``, which only carries the resource version.
        object: The object, or only its metadata, with its kind.
    """

    type: str
    object: Mapping[str, Any]

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The object's metadata."""
        return self.object.get("metadata") or {}

    @property
    def resource_version(self) -> str:
        """The state after the event."""
        return str(self.metadata.get("resourceVersion", ""))


class Watch(Protocol):
    """A stream of events, until the server ends it or another thread closes it."""

    def __iter__(self) -> Iterator[WatchEvent]:
        """Yield the events. Raises: ResourceExpired, ClusterUnreachable, ClusterDenied."""
        ...

    def close(self) -> None:
        """End the watch; from any thread."""
        ...


def label_selector(labels: Labels) -> str:
    """Return a label selector; a value may be a sequence, one of these, or :class:`NotEqual`."""

    def requirement(key: str, value: str | Sequence[str]) -> str:
        if isinstance(value, str):
            return f"{key}{'!=' if isinstance(value, NotEqual) else '='}{value}"
        return f"{key} in ({','.join(value)})"

    return ",".join(requirement(key, value) for key, value in labels.items())


def parse_date(header: str) -> datetime | None:
    """Return the time in a Date header; ``None`` if it is invalid."""
    try:
        return parsedate_to_datetime(header).astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        return None


def send(client: httpx2.Client, request: httpx2.Request, *, retry: bool) -> httpx2.Response:
    """Send a request; with ``retry``, again after a pause when the server is busy or the connection breaks."""
    attempts = Retrying(
        stop=stop_after_attempt(1 + len(_PAUSES) if retry else 1),
        retry=retry_if_exception_type((httpx2.RemoteProtocolError, httpx2.ReadError))
        | retry_if_result(lambda response: response.status_code in _BUSY),
        wait=_pause,
        retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
    )
    response: httpx2.Response = attempts(client.send, request)
    return response


def _pause(state: RetryCallState) -> float:
    """Return the seconds before the next attempt: those in Retry-After, at most 5, if the server sends it."""
    broken = state.outcome is None or state.outcome.failed
    after = "" if broken else state.outcome.result().headers.get("Retry-After", "")  # type: ignore[union-attr]
    return float(min(float(after), _LONGEST_PAUSE) if after.isdigit() else _PAUSES[min(state.attempt_number, len(_PAUSES)) - 1])


def refused_credentials(message: str, **named: Any) -> ClusterDenied:
    """Return the error for credentials that the cluster does not accept, or that cannot be obtained."""
    error = ClusterDenied(message, **named)
    error.unauthenticated = True
    return error


def status_message(body: str) -> str:
    """Return the message of a Kubernetes ``Status``; of anything else, such as a proxy's page, the beginning."""
    try:
        status = json.loads(body)
    except (ValueError, RecursionError):
        return body[:_LONGEST_MESSAGE]
    return str((status.get("message") if isinstance(status, dict) else None) or body[:_LONGEST_MESSAGE])


def status_error(cluster: str, status: int, message: str) -> KubernautError:
    """Return the error for a failed response's HTTP status and message; ``cluster`` is the beginning of a sentence."""
    if status == 401:
        return refused_credentials(
            f"{cluster} does not accept the credentials; they may have expired.", hint="Log in to the cluster again."
        )
    if status == 403 and "being terminated" in message:
        return Conflict(f"{message}.", hint="The namespace is being deleted: wait until it is gone.")
    if status == 403:
        return ClusterDenied(f"{cluster} refuses: {message}.")
    if status == 404 and message.startswith("namespaces "):
        return NamespaceNotFound(f"{message}.")
    # A PUT to a missing object is a conflict where a PUT may create: the server compares the uid with an empty one.
    if status == 404 or (status == 409 and message.rstrip().endswith("UID in object meta:")):
        return NotFound(f"{cluster} answers: {message}.")
    if status == 409:
        return Conflict(f"{message}.")
    if status in (400, 413, 422):
        return BadInput(f"{cluster} refuses: {message}.")
    return ClusterUnreachable(f"{cluster} answers {status}: {message}.")


class HttpWatch:
    """A watch over an open HTTP response.

    Args:
        response: The response; its body is read by the iteration.
        mapped_errors: Converts a broken connection.
        cluster: The beginning of a sentence.
        mentioning: If not empty, a change is skipped, without being decoded, unless its JSON contains one of these words.
    """

    def __init__(
        self,
        response: httpx2.Response,
        mapped_errors: Callable[[], AbstractContextManager[None]],
        cluster: str,
        mentioning: Iterable[str] = (),
    ) -> None:
        self._response = response
        self._mapped_errors = mapped_errors
        self._cluster = cluster
        self._words = tuple(word.encode() for word in mentioning)
        self._closed = False

    def __iter__(self) -> Iterator[WatchEvent]:
        """Yield the events. Raises: ResourceExpired, ClusterUnreachable, ClusterDenied."""
        try:
            with self._mapped_errors():
                yield from (self._event(line) for line in self._lines() if self._is_wanted(line))
        except ClusterUnreachable:
            if not self._closed:
                raise
        finally:
            self._response.close()

    def close(self) -> None:
        """End the watch; from any thread. The shutdown wakes the reading thread; closing the descriptor would not."""
        self._closed = True
        stream = self._response.extensions.get("network_stream")
        connection = stream.get_extra_info("socket") if stream is not None else None
        if connection is not None:
            with suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)

    def _lines(self) -> Iterator[bytes]:
        rest = b""
        for chunk in self._response.iter_bytes():
            *lines, rest = (rest + chunk).split(b"\n")
            yield from (line for line in lines if line)
        if rest:
            yield rest

    def _is_wanted(self, line: bytes) -> bool:
        return not self._words or not line.startswith(_CHANGES) or any(word in line for word in self._words)

    def _event(self, line: bytes) -> WatchEvent:
        try:
            event = json.loads(line)
            type, content = str(event["type"]), dict(event["object"])
        except (ValueError, KeyError, TypeError) as error:
            raise ClusterUnreachable(f"{self._cluster} sends something other than Kubernetes watch events.") from error
        if type != "ERROR":
            return WatchEvent(type, content)
        if content.get("code") == GONE:
            raise ResourceExpired(str(content.get("message", "")))
        raise status_error(self._cluster, int(content.get("code") or 500), str(content.get("message", "")))
