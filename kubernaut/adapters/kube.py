"""The Kubernetes API, through lightkube; the only file that imports ``lightkube``.

Objects are plain dictionaries, as in the API's JSON. It knows Kubernetes' objects, not what kubernaut keeps in them.

lightkube finds and keeps the credentials; requests use its HTTP client directly, without its models. A read is repeated when the
server is busy (429, 502, 503, 504) or the connection breaks; a write never is.
"""

from __future__ import annotations

import json
import os
import ssl
import threading
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx2
import msgspec
from lightkube import ConfigError, KubeConfig, SingleConfig
from lightkube.config.client_adapter import Client, ConnectionParams
from lightkube.config.models import User

from kubernaut.adapters.kube_http import (
    GONE,
    HttpWatch,
    Labels,
    ResourceExpired,
    SecretPage,
    Watch,
    label_selector,
    parse_date,
    read_kubeconfig,
    resource_path,
    send,
    status_error,
    status_message,
)
from kubernaut.errors import ClusterDenied, ClusterUnreachable, Conflict, KubernautError, NotFound
from kubernaut.settings import is_loopback

_DEFAULT = "~/.kube/config"
_METADATA = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_ONE_METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_JSON = "application/json"
_MERGE_PATCH = "application/merge-patch+json"
_CONNECT_SECONDS = 10.0
_LATE_SECONDS = 3.0  # how much later than requested the server may end a watch
_LARGEST_BODY = 65_536
_LEASES = "/apis/coordination.k8s.io/v1"
_LEASE_SECONDS = 8.0  # a Lease lasts for seconds; one lost response must not consume them all


class Cluster:
    """A cluster, by kubeconfig and context; the first call connects.

    Args:
        kubeconfig: The file, or several joined as in KUBECONFIG; by default ~/.kube/config, in a pod the service account.
        context: The kube context; the current one by default.
        timeout: Seconds to wait for one response.

    Attributes:
        server_time: The API server's time in its last response, in whole seconds; ``None`` before the first response.
    """

    def __init__(self, kubeconfig: str | None = None, context: str | None = None, *, timeout: float = 30.0) -> None:
        self._kubeconfig = kubeconfig
        self._context = context
        self._timeout = timeout
        self._lock = threading.Lock()
        self._config: SingleConfig | None = None
        self._client: httpx2.Client | None = None
        self.server_time: datetime | None = None

    def server(self) -> str:
        """Return the API server's URL. Raises: ClusterUnreachable (kubeconfig missing or invalid, unknown context)."""
        return str(self._loaded_config().cluster.server)

    def list_secrets(
        self, namespace: str | None, labels: Labels, *, metadata_only: bool = False, cached: bool = False
    ) -> Sequence[dict[str, Any]]:
        """Return the Secrets with these labels, or only their metadata.

        Args:
            namespace: ``None`` for all namespaces.
            labels: By name; a value may be a sequence (one of these) or ``NotEqual``.
            metadata_only: Saves the transfer of their data.
            cached: Read from the API server's watch cache: much faster among thousands of Secrets, but the latest may be missing.
        """
        parameters = {"resourceVersion": "0"} if cached else {}
        return self._list("secrets", namespace, labels, {"Accept": _METADATA} if metadata_only else None, parameters)

    def page_secrets(
        self,
        namespace: str | None,
        labels: Labels,
        *,
        metadata_only: bool = False,
        limit: int,
        continue_token: str = "",
        timeout: float | None = None,
    ) -> SecretPage:
        """Return a page of :meth:`list_secrets`: the first, or the one that ``continue_token`` names. Raises: ResourceExpired."""
        parameters = {"labelSelector": label_selector(labels), "limit": limit, "continue": continue_token}
        response = self._response(
            "GET",
            resource_path(namespace, "secrets"),
            parameters={key: value for key, value in parameters.items() if value},
            headers={"Accept": _METADATA} if metadata_only else {"Accept-Encoding": "identity"},  # records are compressed already
            timeout=timeout,
        )
        answer = self._read(response)
        metadata = answer.get("metadata") or {}
        return SecretPage(answer.get("items") or [], str(metadata.get("resourceVersion", "")), str(metadata.get("continue") or ""))

    def watch_secrets(self, namespace: str | None, labels: Labels, *, resource_version: str, seconds: int) -> Watch:
        """Watch the metadata of the Secrets with these labels from a resource version on, for some seconds.

        Raises ResourceExpired, here or while it is read; ClusterUnreachable if the connection stays silent beyond its end.
        """
        parameters: dict[str, str | int] = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "labelSelector": label_selector(labels),
            "resourceVersion": resource_version,
            "timeoutSeconds": seconds,
        }
        limits = httpx2.Timeout(_CONNECT_SECONDS, read=seconds + _LATE_SECONDS)
        client = self._connected()
        with self._mapped_errors(seconds=seconds + _LATE_SECONDS):
            request = client.build_request(
                "GET", resource_path(namespace, "secrets"), params=parameters, headers={"Accept": _ONE_METADATA}, timeout=limits
            )
            response = client.send(request, stream=True)
            if response.is_error:
                response.read()
                response.close()
        if response.is_error:
            self._read(response)
        return HttpWatch(response, lambda: self._mapped_errors(seconds=seconds + _LATE_SECONDS), self._name())

    def get_secret(self, namespace: str, name: str) -> dict[str, Any] | None:
        """Return a Secret, or ``None``."""
        return self._find(resource_path(namespace, "secrets", name))

    def create_secret(self, namespace: str, secret: Mapping[str, Any]) -> dict[str, Any]:
        """Create a Secret. Raises: Conflict when it exists, NamespaceNotFound."""
        return self._json("POST", resource_path(namespace, "secrets"), body={"apiVersion": "v1", "kind": "Secret", **secret})

    def patch_secret(self, namespace: str, name: str, patch: Mapping[str, Any]) -> dict[str, Any]:
        """Merge-patch a Secret; only this version if the patch has ``metadata.resourceVersion``. Raises: Conflict, NotFound."""
        return self._json("PATCH", resource_path(namespace, "secrets", name), body=patch, headers={"Content-Type": _MERGE_PATCH})

    def delete_secret(self, namespace: str, name: str, *, resource_version: str | None = None) -> None:
        """Delete a Secret, or only this version of it; do nothing if it is gone. Raises: Conflict for another version."""
        self._delete(resource_path(namespace, "secrets", name), resource_version)

    def get_lease(self, namespace: str, name: str) -> dict[str, Any] | None:
        """Return a Lease, or ``None``."""
        return self._find(resource_path(namespace, "leases", name, api=_LEASES), timeout=_LEASE_SECONDS)

    def create_lease(self, namespace: str, lease: Mapping[str, Any]) -> dict[str, Any]:
        """Create a Lease. Raises: Conflict when it exists, NamespaceNotFound."""
        return self._json("POST", resource_path(namespace, "leases", api=_LEASES), body=_lease(lease), timeout=_LEASE_SECONDS)

    def replace_lease(self, namespace: str, lease: Mapping[str, Any]) -> dict[str, Any]:
        """Replace a Lease; ``metadata`` must have its name, uid and resourceVersion, as it was read.

        Without the uid, a PUT would recreate a Lease that is gone. Raises: Conflict for another version, NotFound.
        """
        metadata = lease["metadata"]
        if not (metadata.get("uid") and metadata.get("resourceVersion")):
            raise ValueError("replacing a Lease needs its uid and resourceVersion")
        address = resource_path(namespace, "leases", str(metadata["name"]), api=_LEASES)
        return self._json("PUT", address, body=_lease(lease), timeout=_LEASE_SECONDS)

    def delete_lease(self, namespace: str, name: str, *, resource_version: str | None = None) -> None:
        """Delete a Lease, or only this version of it; do nothing if it is gone. Raises: Conflict for another version."""
        self._delete(resource_path(namespace, "leases", name, api=_LEASES), resource_version, timeout=_LEASE_SECONDS)

    def namespace_exists(self, namespace: str) -> bool:
        """Return whether the namespace exists; true if this user may not read it."""
        response = self._response("GET", f"/api/v1/namespaces/{quote(namespace, safe='')}")
        if response.is_error and response.status_code not in (403, 404):
            raise self._error(response)
        return response.status_code != 404

    def create_namespace(self, namespace: str) -> None:
        """Create a namespace; do nothing if it exists."""
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
        with suppress(Conflict):
            self._json("POST", "/api/v1/namespaces", body=body)

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
            self._mapped_errors(),
            client.stream("GET", resource_path(namespace, "pods", pod, "log"), params=parameters, timeout=timeout) as response,
        ):
            if response.is_error:
                response.read()
                raise self._error(response)
            yield from response.iter_lines()

    def get_through_service(self, namespace: str, service: str, port: int | str, path: str, *, timeout: float) -> tuple[int, str]:
        """GET ``path`` through the API server's services/proxy; return the HTTP status and the body's first 64 KiB.

        An endless body is cut after ``timeout`` seconds. Raises: ClusterDenied if this user may not use services/proxy.
        """
        address = resource_path(namespace, "services", f"{service}:{port}", "proxy") + quote(
            "/" + path.lstrip("/"), safe="/?=&%~+,;:@!$'()*"
        )
        until = time.monotonic() + timeout
        what = f"The Service {namespace}/{service}:{port}, through the API server,"
        with self._mapped_errors(what, timeout), self._connected().stream("GET", address, timeout=timeout) as response:
            body = b""
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) >= _LARGEST_BODY or time.monotonic() >= until:
                    break
            text = body[:_LARGEST_BODY].decode("utf-8", "replace")
        status = response.status_code
        if '"kind":"Status"' in text and (status == 401 or (status == 403 and "services/proxy" in text)):
            raise ClusterDenied(f"{self._name()} refuses the request to the Service: {text.strip()[:500]}")
        return status, text

    def close(self) -> None:
        """Close the connections; the next call connects again."""
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None

    def _loaded_config(self) -> SingleConfig:
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
            raise ClusterUnreachable(f"The kubeconfig is invalid{context}: {type(error).__name__} {error}.", hint=hint) from error

    def _connected(self) -> httpx2.Client:
        config = self._loaded_config()
        with self._lock:
            if self._client is None:
                timeout = httpx2.Timeout(self._timeout, connect=min(self._timeout, _CONNECT_SECONDS))
                config = config._replace(user=config.user or User())
                try:
                    # Loopback is never reached through a proxy, as in Go's programs (kubectl, Helm).
                    proxied = not is_loopback(urlsplit(config.cluster.server).hostname or "")
                    self._client = Client(config, ConnectionParams(timeout=timeout, trust_env=proxied))
                except (OSError, ssl.SSLError, ValueError, ConfigError) as error:
                    name = f"The context {config.context_name!r}"
                    raise ClusterUnreachable(f"{name} has unusable certificates or credentials: {error}.") from error
                weakref.finalize(self, self._client.close)
            return self._client

    def _name(self) -> str:
        config = self._loaded_config()
        return f"The cluster of the context {config.context_name!r} ({config.cluster.server})"

    def _list(
        self,
        kind: str,
        namespace: str | None,
        labels: Labels,
        headers: Mapping[str, str] | None = None,
        parameters: Mapping[str, str] | None = None,
    ) -> Sequence[dict[str, Any]]:
        parameters = {**(parameters or {}), **({"labelSelector": label_selector(labels)} if labels else {})}
        answer = self._json("GET", resource_path(namespace, kind), parameters=parameters, headers=headers)
        items: list[dict[str, Any]] = answer.get("items") or []
        return items

    def _find(self, address: str, *, timeout: float | None = None) -> dict[str, Any] | None:
        try:
            return self._json("GET", address, timeout=timeout)
        except NotFound:
            return None

    def _delete(self, address: str, resource_version: str | None, *, timeout: float | None = None) -> None:
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"resourceVersion": resource_version}}
        with suppress(NotFound):
            self._json("DELETE", address, body=None if resource_version is None else options, timeout=timeout)

    def _json(self, method: str, address: str, **options: Any) -> dict[str, Any]:
        """Return the object in a response; the options are those of :meth:`_response`."""
        return self._read(self._response(method, address, **options))

    def _read(self, response: httpx2.Response) -> dict[str, Any]:
        if response.status_code == GONE:
            raise ResourceExpired(status_message(response.text))
        if response.is_error:
            raise self._error(response)
        try:
            answer: dict[str, Any] = response.json()
        except ValueError as error:
            raise ClusterUnreachable(f"{self._name()} answers with something other than Kubernetes JSON.") from error
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
        sent = {"Accept": _JSON, **({"Content-Type": _JSON} if body is not None else {}), **(headers or {})}
        content = None if body is None else json.dumps(body).encode()
        client = self._connected()
        seconds = min(self._timeout, timeout or self._timeout)
        limits = httpx2.Timeout(seconds, connect=min(seconds, _CONNECT_SECONDS))
        with self._mapped_errors(seconds=seconds):
            request = client.build_request(method, address, params=parameters, headers=sent, content=content, timeout=limits)
            response = send(client, request, retry=method == "GET")
        self.server_time = parse_date(response.headers.get("Date", "")) or self.server_time
        return response

    @contextmanager
    def _mapped_errors(self, what: str | None = None, seconds: float | None = None) -> Iterator[None]:
        try:
            yield
        except httpx2.TimeoutException as error:
            raise ClusterUnreachable(f"{what or self._name()} did not answer within {seconds or self._timeout:.0f} s.") from error
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
            raise ClusterDenied(f"{self._name()}: the kubeconfig's credential plugin returned no token.") from error

    def _error(self, response: httpx2.Response) -> KubernautError:
        return status_error(self._name(), response.status_code, status_message(response.text))


def _lease(lease: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", **lease}


def _single(config: SingleConfig | None) -> SingleConfig:
    if config is None:
        raise ConfigError("it has no context")
    return config
