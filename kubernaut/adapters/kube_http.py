"""The Kubernetes API's HTTP protocol (paths, selectors, errors, repeated requests, pages, watches), and the kubeconfig.

:mod:`kubernaut.adapters.kube` holds the connection and the credentials.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import httpx2
import yaml
from tenacity import RetryCallState, Retrying, retry_if_exception_type, retry_if_result, stop_after_attempt

from kubernaut.errors import BadInput, ClusterDenied, ClusterUnreachable, Conflict, KubernautError, NamespaceNotFound, NotFound

GONE = 410
_BUSY = frozenset({429, 502, 503, 504})
_PAUSES = (0.1, 0.4, 1.5)
_LONGEST_PAUSE = 5.0
_LONGEST_MESSAGE = 500
_SECTIONS = ("clusters", "contexts", "users")
_PATHS = ("certificate-authority", "client-certificate", "client-key", "tokenFile")
_EXEC_V1 = "client.authentication.k8s.io/v1"
_HINT = "Check the `kubeconfig` and `context` settings (`kubernaut config`)."


class NotEqual(str):
    """A label value in a selector that stands for any other value, or none."""

    __slots__ = ()


Labels = Mapping[str, str | Sequence[str]]


class ResourceExpired(Exception):
    """The API server no longer has the state from which a list or a watch should continue; start again."""


@dataclass(frozen=True)
class SecretPage:
    """A page of a list.

    Attributes:
        items: The Secrets, or their metadata.
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
        metadata: The object's metadata.
    """

    type: str
    metadata: Mapping[str, Any]

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


def resource_path(namespace: str | None, *parts: str, api: str = "/api/v1") -> str:
    """Return the URL path of a resource in a namespace, or of a kind in all namespaces."""
    place = ("namespaces", namespace, *parts) if namespace else parts
    return "/".join([api, *(quote(part, safe=":") for part in place)])


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
        return ClusterDenied(
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
    """A watch over an open HTTP response; ``mapped_errors`` converts a broken connection, ``cluster`` begins a sentence."""

    def __init__(self, response: httpx2.Response, mapped_errors: Callable[[], AbstractContextManager[None]], cluster: str) -> None:
        self._response = response
        self._mapped_errors = mapped_errors
        self._cluster = cluster
        self._closed = False

    def __iter__(self) -> Iterator[WatchEvent]:
        """Yield the events. Raises: ResourceExpired, ClusterUnreachable, ClusterDenied."""
        try:
            with self._mapped_errors():
                yield from (self._event(line) for line in self._response.iter_lines() if line)
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

    def _event(self, line: str) -> WatchEvent:
        try:
            event = json.loads(line)
            type, content = str(event["type"]), dict(event["object"])
        except (ValueError, KeyError, TypeError) as error:
            raise ClusterUnreachable(f"{self._cluster} sends something other than Kubernetes watch events.") from error
        if type != "ERROR":
            return WatchEvent(type, content.get("metadata") or {})
        if content.get("code") == GONE:
            raise ResourceExpired(str(content.get("message", "")))
        raise status_error(self._cluster, int(content.get("code") or 500), str(content.get("message", "")))


# The kubeconfig; lightkube reads one file, and does not know client.authentication.k8s.io/v1.


def read_kubeconfig(kubeconfig: str) -> dict[str, Any]:
    """Return the merged files of a KUBECONFIG, as kubectl merges them: the first that names a cluster, context or user wins.

    Relative paths are made absolute.

    Raises:
        ClusterUnreachable: None of the files exists, or one is invalid.
    """
    names = [name for name in kubeconfig.split(os.pathsep) if name]
    paths = [Path(name).expanduser().absolute() for name in names]
    existing = [path for path in paths if path.is_file()]
    if not existing:
        raise ClusterUnreachable(f"No kubeconfig exists at {', '.join(map(str, paths)) or 'any place'}.", hint=_HINT)
    merged: dict[str, Any] = {section: [] for section in _SECTIONS}
    for path in existing:
        _merge(merged, _read(path), path)
    return merged


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise ClusterUnreachable(f"The kubeconfig {path}{where} cannot be read: {type(error).__name__}.", hint=_HINT) from error
    if not isinstance(content, dict):
        raise ClusterUnreachable(f"{path} is not a kubeconfig.", hint=_HINT)
    return content


def _merge(merged: dict[str, Any], content: dict[str, Any], path: Path) -> None:
    if content.get("current-context") and not merged.get("current-context"):
        merged["current-context"] = content["current-context"]
    for section in _SECTIONS:
        entries = content.get(section) or []
        if not isinstance(entries, list) or not all(isinstance(entry, dict) and "name" in entry for entry in entries):
            raise ClusterUnreachable(f"The kubeconfig {path} is invalid at {section}.", hint=_HINT)
        known = {entry["name"] for entry in merged[section]}
        for entry in entries:
            if entry["name"] not in known:
                merged[section].append({**entry, section[:-1]: _absolute(entry.get(section[:-1]) or {}, path.parent)})


def _absolute(body: dict[str, Any], folder: Path) -> dict[str, Any]:
    body = {key: str(folder / value) if key in _PATHS and value else value for key, value in body.items()}
    plugin = body.get("exec")
    if isinstance(plugin, dict):
        body["exec"] = _exec_plugin(plugin, folder)
    return body


def _exec_plugin(plugin: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return an exec plugin as lightkube takes it; its output (``status.token``) is the same in v1beta1 and v1."""
    command = str(plugin.get("command", ""))
    version = plugin.get("apiVersion")
    info = {"apiVersion": version, "kind": "ExecCredential", "spec": {"interactive": False}}
    return {
        **plugin,
        "command": str(folder / command) if "/" in command else command,
        "apiVersion": "client.authentication.k8s.io/v1beta1" if version == _EXEC_V1 else version,
        "env": [*(plugin.get("env") or []), {"name": "KUBERNETES_EXEC_INFO", "value": json.dumps(info)}],
    }
