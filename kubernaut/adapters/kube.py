"""The Kubernetes API, through lightkube; the only file that imports ``lightkube``.

Speaks in plain dictionaries, as the API's JSON has them. It knows Kubernetes' objects, not what kubernaut keeps in them.

lightkube finds and keeps the credentials; requests go over its HTTP client as they are: its models would only be undone again.
What may be repeated is: a read that met a busy server (429, 502, 503, 504) or a connection that broke. A write never is.
"""

from __future__ import annotations

import json
import os
import ssl
import threading
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx2
import msgspec
from lightkube import ConfigError, KubeConfig, SingleConfig
from lightkube.config.client_adapter import Client, ConnectionParams
from lightkube.config.models import User

from kubernaut.adapters.kube_errors import message_of, refusal
from kubernaut.adapters.kube_http import Labels, address_of, date, selector, send
from kubernaut.adapters.kube_watch import GONE, Expired, HttpWatch, SecretPage, Watch
from kubernaut.adapters.kubeconfig import read_kubeconfig
from kubernaut.errors import ClusterDenied, ClusterUnreachable, Conflict, KubernautError, NotFound
from kubernaut.settings import is_loopback

_DEFAULT = "~/.kube/config"
_METADATA = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_ONE_METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_MERGE_PATCH = "application/merge-patch+json"
_CONNECT_SECONDS = 10.0
_LATE_SECONDS = 3.0  # how much later than it said the server may end a watch
_LARGEST_BODY = 65_536
_LEASES = "/apis/coordination.k8s.io/v1"
_LEASE_SECONDS = 8.0  # a Lease lives for seconds, and one lost answer must not cost them all


class Cluster:
    """A cluster, by kubeconfig and context; the first call connects.

    Args:
        kubeconfig: The kubeconfig file, or several joined as in KUBECONFIG; else ~/.kube/config, or in a pod its own account.
        context: The kube context; the current one by default.
        timeout: Seconds that one answer may take.
    """

    def __init__(self, kubeconfig: str | None = None, context: str | None = None, *, timeout: float = 30.0) -> None:
        self._kubeconfig = kubeconfig
        self._context = context
        self._timeout = timeout
        self._lock = threading.Lock()
        self._config: SingleConfig | None = None
        self._client: httpx2.Client | None = None
        self._server_time: datetime | None = None

    @property
    def server_time(self) -> datetime | None:
        """The API server's clock, as its last answer told, in whole seconds; ``None`` before the first answer."""
        return self._server_time

    def server(self) -> str:
        """Return the API server's address. Raises: ClusterUnreachable (no or broken kubeconfig, unknown context)."""
        return str(self._configured().cluster.server)

    def list_secrets(
        self, namespace: str | None, labels: Labels, *, metadata_only: bool = False, at_hand: bool = False
    ) -> Sequence[dict[str, Any]]:
        """Return the Secrets with these labels; ``None`` for all namespaces; metadata only saves the transfer of their data.

        A label's value may be a sequence: one of these. ``at_hand`` takes what the API server has in its memory: of many thousands
        it finds one a hundred times faster, and what was written just now may be missing.
        """
        parameters = {"resourceVersion": "0"} if at_hand else {}
        return self._list("secrets", namespace, labels, {"Accept": _METADATA} if metadata_only else None, parameters)

    def page_secrets(
        self,
        namespace: str | None,
        labels: Labels,
        *,
        metadata_only: bool = False,
        limit: int,
        continues: str = "",
        timeout: float | None = None,
    ) -> SecretPage:
        """Return a part of what :meth:`list_secrets` does: the first, or what ``continues``. Raises: Expired."""
        parameters = {"labelSelector": selector(labels), "limit": limit, "continue": continues}
        response = self._response(
            "GET",
            address_of(namespace, "secrets"),
            parameters={key: value for key, value in parameters.items() if value},
            headers={"Accept": _METADATA} if metadata_only else {"Accept-Encoding": "identity"},  # records are packed already
            timeout=timeout,
        )
        answer = self._read(response)
        metadata = answer.get("metadata") or {}
        return SecretPage(answer.get("items") or [], str(metadata.get("resourceVersion", "")), str(metadata.get("continue") or ""))

    def watch_secrets(self, namespace: str | None, labels: Labels, *, resource_version: str, seconds: int) -> Watch:
        """Watch the metadata of the Secrets with these labels: what changes after a resource version, for so many seconds.

        Raises: Expired, here or while it is read. A connection on which nothing is heard, not even the end, is an error.
        """
        parameters: dict[str, str | int] = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "labelSelector": selector(labels),
            "resourceVersion": resource_version,
            "timeoutSeconds": seconds,
        }
        limits = httpx2.Timeout(_CONNECT_SECONDS, read=seconds + _LATE_SECONDS)
        client = self._connected()
        with self._mapped(seconds=seconds + _LATE_SECONDS):
            request = client.build_request(
                "GET", address_of(namespace, "secrets"), params=parameters, headers={"Accept": _ONE_METADATA}, timeout=limits
            )
            response = client.send(request, stream=True)
            if response.is_error:
                response.read()
                response.close()
        if response.is_error:
            self._read(response)
        return HttpWatch(response, lambda: self._mapped(seconds=seconds + _LATE_SECONDS), self._name())

    def get_secret(self, namespace: str, name: str) -> dict[str, Any] | None:
        """Return a Secret, or ``None``."""
        try:
            return self._json("GET", address_of(namespace, "secrets", name))
        except NotFound:
            return None

    def create_secret(self, namespace: str, secret: Mapping[str, Any]) -> dict[str, Any]:
        """Create a Secret. Raises: Conflict when it exists, NamespaceNotFound."""
        return self._json("POST", address_of(namespace, "secrets"), body={"apiVersion": "v1", "kind": "Secret", **secret})

    def patch_secret(self, namespace: str, name: str, patch: Mapping[str, Any]) -> dict[str, Any]:
        """Merge-patch a Secret; with ``metadata.resourceVersion`` in it, only the one that was read. Raises: Conflict, NotFound."""
        return self._json("PATCH", address_of(namespace, "secrets", name), body=patch, headers={"Content-Type": _MERGE_PATCH})

    def delete_secret(self, namespace: str, name: str, *, resource_version: str | None = None) -> None:
        """Delete a Secret, or only this version of it; one that is gone is no failure. Raises: Conflict for another version."""
        self._delete(address_of(namespace, "secrets", name), resource_version)

    def get_lease(self, namespace: str, name: str) -> dict[str, Any] | None:
        """Return a Lease, or ``None``."""
        try:
            return self._json("GET", address_of(namespace, "leases", name, api=_LEASES), timeout=_LEASE_SECONDS)
        except NotFound:
            return None

    def create_lease(self, namespace: str, lease: Mapping[str, Any]) -> dict[str, Any]:
        """Create a Lease. Raises: Conflict when it exists, NamespaceNotFound."""
        return self._json("POST", address_of(namespace, "leases", api=_LEASES), body=_lease(lease), timeout=_LEASE_SECONDS)

    def replace_lease(self, namespace: str, lease: Mapping[str, Any]) -> dict[str, Any]:
        """Write a Lease over the one that was read: its ``metadata`` must have that one's name, uid and resourceVersion.

        Without the uid a PUT would make a Lease anew that is gone. Raises: Conflict for another version, NotFound.
        """
        metadata = lease["metadata"]
        if not (metadata.get("uid") and metadata.get("resourceVersion")):
            raise ValueError("a Lease is replaced by uid and resourceVersion")
        address = address_of(namespace, "leases", str(metadata["name"]), api=_LEASES)
        return self._json("PUT", address, body=_lease(lease), timeout=_LEASE_SECONDS)

    def delete_lease(self, namespace: str, name: str, *, resource_version: str | None = None) -> None:
        """Delete a Lease, or only this version of it; one that is gone is no failure. Raises: Conflict for another version."""
        self._delete(address_of(namespace, "leases", name, api=_LEASES), resource_version, timeout=_LEASE_SECONDS)

    def namespace_exists(self, namespace: str) -> bool:
        """Say whether the namespace exists; to a user who may not know, it does."""
        response = self._response("GET", f"/api/v1/namespaces/{quote(namespace, safe='')}")
        if response.is_error and response.status_code not in (403, 404):
            raise self._refused(response)
        return response.status_code != 404

    def create_namespace(self, namespace: str) -> None:
        """Create a namespace; one that exists is no failure."""
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
        try:
            self._json("POST", "/api/v1/namespaces", body=body)
        except Conflict:
            return

    def list_pods(self, namespace: str, labels: Labels) -> Sequence[dict[str, Any]]:
        """Return the pods with these labels."""
        return self._list("pods", namespace, labels)

    def list_events(self, namespace: str) -> Sequence[dict[str, Any]]:
        """Return the namespace's events."""
        return self._list("events", namespace, {})

    def pod_log(
        self, namespace: str, pod: str, *, container: str | None, tail: int | None, follow: bool, previous: bool
    ) -> Iterator[str]:
        """Yield a container's log, line by line."""
        parameters: dict[str, Any] = {"follow": str(follow).lower(), "previous": str(previous).lower()}
        if container is not None:
            parameters["container"] = container
        if tail is not None:
            parameters["tailLines"] = tail
        timeout = httpx2.Timeout(self._timeout, read=None if follow else self._timeout)
        client = self._connected()
        with (
            self._mapped(),
            client.stream("GET", address_of(namespace, "pods", pod, "log"), params=parameters, timeout=timeout) as response,
        ):
            if response.is_error:
                response.read()
                raise self._refused(response)
            yield from response.iter_lines()

    def get_through_service(self, namespace: str, service: str, port: int | str, path: str, *, timeout: float) -> tuple[int, str]:
        """GET ``path`` through the API server's services/proxy; return the HTTP status and the body's first 64 KiB.

        Of a body that does not end, what came within ``timeout`` seconds. Raises: ClusterDenied when this user may not ask so.
        """
        address = address_of(namespace, "services", f"{service}:{port}", "proxy") + quote(
            "/" + path.lstrip("/"), safe="/?=&%~+,;:@!$'()*"
        )
        until = time.monotonic() + timeout
        what = f"The Service {namespace}/{service}:{port}, asked through the API server,"
        with self._mapped(what, timeout), self._connected().stream("GET", address, timeout=timeout) as response:
            body = b""
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) >= _LARGEST_BODY or time.monotonic() >= until:
                    break
            text = body[:_LARGEST_BODY].decode("utf-8", "replace")
        status = response.status_code
        if '"kind":"Status"' in text and (status == 401 or (status == 403 and "services/proxy" in text)):
            raise ClusterDenied(f"{self._name()} refuses to ask the Service: {text.strip()[:500]}")
        return status, text

    def close(self) -> None:
        """Close the connections; the next call connects again."""
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None

    # the connection

    def _configured(self) -> SingleConfig:
        with self._lock:
            if self._config is None:
                self._config = self._read_config()
            return self._config

    def _read_config(self) -> SingleConfig:
        named = self._kubeconfig
        hint = "Check the `kubeconfig` and `context` settings (`kubernaut config`)."
        try:
            if not named and not Path(_DEFAULT).expanduser().is_file() and "KUBERNETES_SERVICE_HOST" in os.environ:
                return _single(KubeConfig.from_service_account().get())
            return _single(KubeConfig.from_dict(read_kubeconfig(named or _DEFAULT)).get(self._context))
        except ConfigError as error:
            raise ClusterUnreachable(f"The kubeconfig cannot be used: {error}.", hint=hint) from error
        except (KeyError, TypeError, AttributeError, msgspec.MsgspecError) as error:
            context = f" for the context {self._context!r}" if self._context else ""
            raise ClusterUnreachable(f"The kubeconfig is broken{context}: {type(error).__name__} {error}.", hint=hint) from error

    def _connected(self) -> httpx2.Client:
        config = self._configured()
        with self._lock:
            if self._client is None:
                timeout = httpx2.Timeout(self._timeout, connect=min(self._timeout, _CONNECT_SECONDS))
                config = config._replace(user=config.user or User())
                try:
                    # Loopback is never reached through a proxy, as Go's programs have it (kubectl, Helm).
                    proxied = not is_loopback(urlsplit(config.cluster.server).hostname or "")
                    self._client = Client(config, ConnectionParams(timeout=timeout, trust_env=proxied))
                except (OSError, ssl.SSLError, ValueError, ConfigError) as error:
                    name = f"The context {config.context_name!r}"
                    raise ClusterUnreachable(f"{name} has unusable certificates or credentials: {error}.") from error
                weakref.finalize(self, self._client.close)
            return self._client

    def _name(self) -> str:
        config = self._configured()
        return f"The cluster of the context {config.context_name!r} ({config.cluster.server})"

    # requests

    def _list(
        self,
        kind: str,
        namespace: str | None,
        labels: Labels,
        headers: Mapping[str, str] | None = None,
        parameters: Mapping[str, str] | None = None,
    ) -> Sequence[dict[str, Any]]:
        parameters = {**(parameters or {}), **({"labelSelector": selector(labels)} if labels else {})}
        answer = self._json("GET", address_of(namespace, kind), parameters=parameters, headers=headers)
        items: list[dict[str, Any]] = answer.get("items") or []
        return items

    def _delete(self, address: str, resource_version: str | None, *, timeout: float | None = None) -> None:
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"resourceVersion": resource_version}}
        try:
            self._json("DELETE", address, body=None if resource_version is None else options, timeout=timeout)
        except NotFound:
            return

    def _json(
        self,
        method: str,
        address: str,
        *,
        body: Mapping[str, Any] | None = None,
        parameters: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> dict[str, Any]:
        return self._read(self._response(method, address, body=body, parameters=parameters, headers=headers, timeout=timeout))

    def _read(self, response: httpx2.Response) -> dict[str, Any]:
        if response.status_code == GONE:
            raise Expired(message_of(response.text))
        if response.is_error:
            raise self._refused(response)
        try:
            answer: dict[str, Any] = response.json()
        except ValueError as error:
            raise ClusterUnreachable(f"{self._name()} answers with something other than Kubernetes' JSON.") from error
        return answer

    def _response(
        self,
        method: str,
        address: str,
        *,
        body: Mapping[str, Any] | None = None,
        parameters: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> httpx2.Response:
        sent = {
            "Accept": "application/json",
            **({"Content-Type": "application/json"} if body is not None else {}),
            **(headers or {}),
        }
        content = None if body is None else json.dumps(body).encode()
        client = self._connected()
        seconds = min(self._timeout, timeout or self._timeout)
        limits = httpx2.Timeout(seconds, connect=min(seconds, _CONNECT_SECONDS))
        with self._mapped(seconds=seconds):
            request = client.build_request(
                method, address, params=parameters or None, headers=sent, content=content, timeout=limits
            )
            response = send(client, request, repeat=method == "GET")
        self._server_time = date(response.headers.get("Date", "")) or self._server_time
        return response

    @contextmanager
    def _mapped(self, what: str | None = None, seconds: float | None = None) -> Iterator[None]:
        try:
            yield
        except httpx2.TimeoutException as error:
            late = f"did not answer within {seconds or self._timeout:.0f} s"
            raise ClusterUnreachable(f"{what or self._name()} {late}.") from error
        except httpx2.HTTPError as error:
            raise ClusterUnreachable(f"{self._name()} does not answer: {error}.") from error
        except ConfigError as error:
            raise ClusterDenied(
                f"{self._name()}: the kubeconfig's credential plugin failed.", details=str(error).splitlines()[-5:]
            ) from error
        except FileNotFoundError as error:
            raise ClusterDenied(f"{self._name()}: the kubeconfig's credential plugin {error.filename} is not installed.") from error
        except OSError as error:
            plugin, why = error.filename or "", error.strerror or str(error)
            raise ClusterDenied(f"{self._name()}: the kubeconfig's credential plugin {plugin} cannot be run: {why}.") from error
        except (KeyError, json.JSONDecodeError) as error:
            raise ClusterDenied(f"{self._name()}: the kubeconfig's credential plugin gave no token.") from error

    def _refused(self, response: httpx2.Response) -> KubernautError:
        return refusal(self._name(), response.status_code, message_of(response.text))


def _lease(lease: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", **lease}


def _single(config: SingleConfig | None) -> SingleConfig:
    if config is None:
        raise ConfigError("it names no context")
    return config
