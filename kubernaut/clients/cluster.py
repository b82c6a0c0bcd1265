"""The Kubernetes API, through lightkube; the only file that imports ``lightkube``.

Speaks in plain dictionaries, as the API's JSON has them. It knows Kubernetes' objects, not what kubernaut keeps in them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any


class Cluster:
    """A cluster, by kubeconfig and context; the first call connects."""

    def __init__(self, kubeconfig: str | None = None, context: str | None = None, *, timeout: float = 30.0) -> None: ...

    def server(self) -> str:
        """Return the API server's address. Raises: ClusterUnreachable (no or broken kubeconfig, unknown context)."""
        raise NotImplementedError

    def list_secrets(self, namespace: str | None, labels: Mapping[str, str], *, metadata_only: bool = False) -> Sequence[dict[str, Any]]:
        """Return the Secrets with these labels; ``None`` for all namespaces; metadata only saves the transfer of their data."""
        raise NotImplementedError

    def get_secret(self, namespace: str, name: str) -> dict[str, Any] | None:
        """Return a Secret, or ``None``."""
        raise NotImplementedError

    def create_secret(self, namespace: str, secret: Mapping[str, Any]) -> dict[str, Any]:
        """Create a Secret. Raises: Conflict when it exists, NamespaceNotFound."""
        raise NotImplementedError

    def patch_secret(self, namespace: str, name: str, patch: Mapping[str, Any]) -> dict[str, Any]:
        """Merge-patch a Secret."""
        raise NotImplementedError

    def delete_secret(self, namespace: str, name: str) -> None:
        """Delete a Secret; one that is gone is no failure."""
        raise NotImplementedError

    def namespace_exists(self, namespace: str) -> bool:
        """Say whether the namespace exists."""
        raise NotImplementedError

    def create_namespace(self, namespace: str) -> None:
        """Create a namespace; one that exists is no failure."""
        raise NotImplementedError

    def list_pods(self, namespace: str, labels: Mapping[str, str]) -> Sequence[dict[str, Any]]:
        """Return the pods with these labels."""
        raise NotImplementedError

    def list_events(self, namespace: str) -> Sequence[dict[str, Any]]:
        """Return the namespace's events."""
        raise NotImplementedError

    def pod_log(self, namespace: str, pod: str, *, container: str | None, tail: int | None, follow: bool, previous: bool) -> Iterator[str]:
        """Yield a container's log, line by line."""
        raise NotImplementedError

    def get_through_service(self, namespace: str, service: str, port: int | str, path: str, *, timeout: float) -> tuple[int, str]:
        """GET ``path`` through the API server's services/proxy; return the HTTP status and the body's first 64 KiB."""
        raise NotImplementedError
