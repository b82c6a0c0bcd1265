"""The Kubernetes API: one method per request that kubernaut makes.

Objects are plain dictionaries, as in the API's JSON. It knows Kubernetes' objects, not what kubernaut keeps in them.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any
from urllib.parse import quote

import httpx2

from kubernaut.adapters.kube_connection import Connection
from kubernaut.adapters.kube_http import HttpWatch, Labels, Page, Watch, label_selector
from kubernaut.adapters.kube_resources import (
    EVENTS,
    LEASES,
    NAMESPACES,
    PODS,
    SECRETS,
    SERVICES,
    Resource,
    api_path,
    known_resource,
    served_resource,
)
from kubernaut.errors import ClusterDenied, Conflict, NotFound

_METADATA = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_ONE_METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_MERGE_PATCH = "application/merge-patch+json"
_LATE_SECONDS = 3.0  # how much later than requested the server may end a watch
_LARGEST_BODY = 65_536
_LEASE_SECONDS = 8.0  # a Lease lasts for seconds; one lost response must not consume them all


class Cluster:
    """A cluster, by kubeconfig and context; the first call connects.

    Args:
        kubeconfig: The file, or several joined as in KUBECONFIG; by default ~/.kube/config, in a pod the service account.
        context: The kube context; the current one by default.
        timeout: Seconds to wait for one response.
    """

    def __init__(self, kubeconfig: str | None = None, context: str | None = None, *, timeout: float = 30.0) -> None:
        self._api = Connection(kubeconfig, context, timeout)

    @property
    def server_time(self) -> datetime | None:
        """The API server's time in its last response, in whole seconds; ``None`` before the first response."""
        return self._api.server_time

    def server(self) -> str:
        """Return the API server's URL. Raises: ClusterUnreachable (kubeconfig missing or invalid, unknown context)."""
        return str(self._api.config().cluster.server)

    def read_credentials(self) -> None:
        """Read the kubeconfig's certificates and credentials, as the first request does otherwise. Raises: ClusterUnreachable."""
        self._api.client()

    def list_objects(
        self,
        resource: Resource,
        namespace: str | None,
        labels: Labels | None = None,
        *,
        metadata_only: bool = False,
        cached: bool = False,
        limit: int | None = None,
        continue_token: str = "",
        timeout: float | None = None,
    ) -> Page:
        """Return the objects with these labels: all, or a page of at most ``limit``. Raises: ResourceExpired.

        Args:
            resource: Their kind.
            namespace: ``None`` for all namespaces.
            labels: By name; a value may be a sequence (one of these) or ``NotEqual``.
            metadata_only: Saves the transfer of the rest.
            cached: Read from the API server's watch cache: much faster among thousands of objects, but the latest may be missing.
            limit: The size of a page.
            continue_token: Names a page other than the first.
            timeout: Seconds to wait for the response, if fewer than usual.
        """
        parameters = {
            "resourceVersion": "0" if cached else "",
            "labelSelector": label_selector(labels or {}),
            "limit": limit,
            "continue": continue_token,
        }
        answer = self._api.json(
            "GET",
            resource.path(namespace),
            parameters={key: value for key, value in parameters.items() if value},
            headers=_headers(resource, _METADATA if metadata_only else ""),
            timeout=timeout,
        )
        metadata = answer.get("metadata") or {}
        return Page(answer.get("items") or [], str(metadata.get("resourceVersion", "")), str(metadata.get("continue") or ""))

    def watch_objects(
        self,
        resource: Resource,
        namespace: str | None,
        labels: Labels | None = None,
        *,
        resource_version: str,
        seconds: int,
        metadata_only: bool = False,
        mentioning: Collection[str] = (),
    ) -> Watch:
        """Watch the objects with these labels from a resource version on, for some seconds.

        Raises ResourceExpired, here or while it is read; ClusterUnreachable if the connection stays silent beyond its end.

        Args:
            resource: Their kind.
            namespace: ``None`` for all namespaces.
            labels: As in :meth:`list_objects`.
            resource_version: Where the list ended, or the last event.
            seconds: After which the server ends the watch.
            metadata_only: Saves the transfer of the rest.
            mentioning: If not empty, objects whose JSON contains none of these words may be left out, which saves decoding them.
        """
        parameters: dict[str, str | int] = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            **({"labelSelector": label_selector(labels)} if labels else {}),
            "resourceVersion": resource_version,
            "timeoutSeconds": seconds,
        }
        limit = seconds + _LATE_SECONDS
        headers = _headers(resource, _ONE_METADATA if metadata_only else "")
        response = self._api.open(resource.path(namespace), parameters=parameters, headers=headers, seconds=limit)
        return HttpWatch(response, lambda: self._api.mapped_errors(seconds=limit), self._api.name(), mentioning)

    def get_object(
        self, resource: Resource, namespace: str | None, name: str, *, timeout: float | None = None
    ) -> dict[str, Any] | None:
        """Return an object, or ``None``."""
        try:
            return self._api.json("GET", resource.path(namespace, name), timeout=timeout)
        except NotFound:
            return None

    def delete_object(self, resource: Resource, namespace: str | None, name: str, *, uid: str, foreground: bool = False) -> None:
        """Delete an object, and what it owns: afterwards, or first. A missing one is ignored. Raises: Conflict for another UID."""
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": uid},
            "propagationPolicy": "Foreground" if foreground else "Background",
        }
        with suppress(NotFound):
            self._api.json("DELETE", resource.path(namespace, name), body=options)

    def with_applied(
        self,
        resource: Resource,
        namespace: str | None,
        manifest: Mapping[str, Any],
        *,
        merges_lists: bool,
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """Return an object as it would be with a manifest applied to it; nothing is changed (``dryRun=All``).

        Args:
            resource: Its kind.
            namespace: Its namespace.
            manifest: The fields that are applied, with the object's name.
            merges_lists: Merge lists by their keys, which the API server does for the kinds of Kubernetes only.
            timeout: Seconds to wait for the response, if fewer than usual.
        """
        body = {key: value for key, value in manifest.items() if key != "status"}
        form = "strategic-merge" if merges_lists else "merge"
        return self._api.json(
            "PATCH",
            resource.path(namespace, str(manifest["metadata"]["name"])),
            body=body,
            parameters={"dryRun": "All", "fieldValidation": "Ignore"},
            headers={"Content-Type": f"application/{form}-patch+json"},
            timeout=timeout,
        )

    def find_resource(self, api_version: str, kind: str) -> Resource:
        """Return the resource of a kind, as the API server serves it. Raises: NotFound when it does not."""
        known = known_resource(api_version, kind)
        if known is not None:
            return known
        with suppress(NotFound):
            found = served_resource(api_version, kind, self._api.json("GET", api_path(api_version)).get("resources") or ())
            if found is not None:
                return found
        raise NotFound(f"{self._api.name()} does not serve the kind {kind} of {api_version}.")

    def list_secrets(
        self, namespace: str | None, labels: Labels, *, metadata_only: bool = False, cached: bool = False
    ) -> Sequence[dict[str, Any]]:
        """Return the Secrets with these labels; the arguments are those of :meth:`list_objects`."""
        return self.list_objects(SECRETS, namespace, labels, metadata_only=metadata_only, cached=cached).items

    def get_secret(self, namespace: str, name: str) -> dict[str, Any] | None:
        """Return a Secret, or ``None``."""
        return self.get_object(SECRETS, namespace, name)

    def create_secret(self, namespace: str, secret: Mapping[str, Any]) -> dict[str, Any]:
        """Create a Secret. Raises: Conflict when it exists, NamespaceNotFound."""
        return self._api.json("POST", SECRETS.path(namespace), body={"apiVersion": "v1", "kind": "Secret", **secret})

    def patch_secret(self, namespace: str, name: str, patch: Mapping[str, Any]) -> dict[str, Any]:
        """Merge-patch a Secret; only this version if the patch has ``metadata.resourceVersion``. Raises: Conflict, NotFound."""
        return self._api.json("PATCH", SECRETS.path(namespace, name), body=patch, headers={"Content-Type": _MERGE_PATCH})

    def delete_secret(self, namespace: str, name: str, *, resource_version: str | None = None) -> None:
        """Delete a Secret, or only this version of it; do nothing if it is gone. Raises: Conflict for another version."""
        self._delete(SECRETS.path(namespace, name), resource_version)

    def get_lease(self, namespace: str, name: str) -> dict[str, Any] | None:
        """Return a Lease, or ``None``."""
        return self.get_object(LEASES, namespace, name, timeout=_LEASE_SECONDS)

    def create_lease(self, namespace: str, lease: Mapping[str, Any]) -> dict[str, Any]:
        """Create a Lease. Raises: Conflict when it exists, NamespaceNotFound."""
        return self._api.json("POST", LEASES.path(namespace), body=_lease(lease), timeout=_LEASE_SECONDS)

    def replace_lease(self, namespace: str, lease: Mapping[str, Any]) -> dict[str, Any]:
        """Replace a Lease; ``metadata`` must have its name, uid and resourceVersion, as it was read.

        Without the uid, a PUT would recreate a Lease that is gone. Raises: Conflict for another version, NotFound.
        """
        metadata = lease["metadata"]
        if not (metadata.get("uid") and metadata.get("resourceVersion")):
            raise ValueError("replacing a Lease needs its uid and resourceVersion")
        address = LEASES.path(namespace, str(metadata["name"]))
        return self._api.json("PUT", address, body=_lease(lease), timeout=_LEASE_SECONDS)

    def delete_lease(self, namespace: str, name: str, *, resource_version: str | None = None) -> None:
        """Delete a Lease, or only this version of it; do nothing if it is gone. Raises: Conflict for another version."""
        self._delete(LEASES.path(namespace, name), resource_version, timeout=_LEASE_SECONDS)

    def namespace_exists(self, namespace: str) -> bool:
        """Return whether the namespace exists; true if this user may not read it."""
        response = self._api.request("GET", NAMESPACES.path(None, namespace))
        if response.is_error and response.status_code not in (403, 404):
            raise self._api.error(response)
        return response.status_code != 404

    def create_namespace(self, namespace: str) -> None:
        """Create a namespace; do nothing if it exists."""
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
        with suppress(Conflict):
            self._api.json("POST", NAMESPACES.path(), body=body)

    def list_pods(self, namespace: str, labels: Labels) -> Sequence[dict[str, Any]]:
        """Return the pods with these labels."""
        return self.list_objects(PODS, namespace, labels).items

    def list_events(self, namespace: str) -> Sequence[dict[str, Any]]:
        """Return the namespace's events."""
        return self.list_objects(EVENTS, namespace).items

    def pod_log(
        self,
        namespace: str,
        pod: str,
        *,
        container: str | None,
        tail: int | None,
        follow: bool,
        previous: bool,
        since_seconds: int | None = None,
        limit_bytes: int | None = None,
        timeout: float | None = None,
    ) -> Iterator[str]:
        """Yield a container's log, line by line; at most ``limit_bytes`` of it, each part within ``timeout`` seconds."""
        parameters: dict[str, Any] = {"follow": str(follow).lower(), "previous": str(previous).lower()}
        if container is not None:
            parameters["container"] = container
        if tail is not None:
            parameters["tailLines"] = tail
        if since_seconds is not None:
            parameters["sinceSeconds"] = since_seconds
        if limit_bytes is not None:
            parameters["limitBytes"] = limit_bytes
        seconds = min(self._api.timeout, timeout or self._api.timeout)
        limits = httpx2.Timeout(seconds, read=None if follow else seconds)
        client = self._api.client()
        with (
            self._api.mapped_errors(seconds=seconds),
            client.stream("GET", PODS.path(namespace, pod, "log"), params=parameters, timeout=limits) as response,
        ):
            if response.is_error:
                response.read()
                raise self._api.error(response)
            yield from response.iter_lines()

    def get_through_service(self, namespace: str, service: str, port: int | str, path: str, *, timeout: float) -> tuple[int, str]:
        """GET ``path`` through the API server's services/proxy; return the HTTP status and the body's first 64 KiB.

        An endless body is cut after ``timeout`` seconds. Raises: ClusterDenied if this user may not use services/proxy.
        """
        address = SERVICES.path(namespace, f"{service}:{port}", "proxy") + quote("/" + path.lstrip("/"), safe="/?=&%~+,;:@!$'()*")
        until = time.monotonic() + timeout
        what = f"The Service {namespace}/{service}:{port}, through the API server,"
        with self._api.mapped_errors(what, timeout), self._api.client().stream("GET", address, timeout=timeout) as response:
            body = b""
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) >= _LARGEST_BODY or time.monotonic() >= until:
                    break
            text = body[:_LARGEST_BODY].decode("utf-8", "replace")
        status = response.status_code
        if '"kind":"Status"' in text and (status == 401 or (status == 403 and "services/proxy" in text)):
            raise ClusterDenied(f"{self._api.name()} refuses the request to the Service: {text.strip()[:500]}")
        return status, text

    def close(self) -> None:
        """Close the connections; the next call connects again."""
        self._api.close()

    def _delete(self, address: str, resource_version: str | None, *, timeout: float | None = None) -> None:
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"resourceVersion": resource_version}}
        with suppress(NotFound):
            self._api.json("DELETE", address, body=None if resource_version is None else options, timeout=timeout)


def _headers(resource: Resource, accept: str) -> dict[str, str]:
    """Return the headers of a list or a watch."""
    headers = {"Accept": accept or "application/json"}
    # Helm's records are compressed already.
    return headers if accept or resource is not SECRETS else {**headers, "Accept-Encoding": "identity"}


def _lease(lease: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", **lease}
