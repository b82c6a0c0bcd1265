"""A Kubernetes cluster in memory: its Secrets, namespaces, pods and events, as :class:`kubernaut.clients.cluster.Cluster` has them.

It keeps what the API server keeps and refuses what it refuses: uids, resource versions, labels, merge patches, and the garbage
collection of what has an owner. It runs nothing; pods, events, logs and answers are whatever the test puts in.
"""

# ruff: noqa: ARG002 - a fake takes all that the real one takes
from __future__ import annotations

import base64
import copy
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from kubernaut.errors import Conflict, KubernautError, NamespaceNotFound, NotFound

Labels = Mapping[str, str | Sequence[str]]


class FakeCluster:
    """A cluster for tests.

    Attributes:
        requests: What was asked: verb and subject, in order; the writes are those that do not begin with ``get`` or ``list``.
        pods: By namespace, the pods; dictionaries as the API has them.
        events: By namespace, the events.
        logs: By namespace, pod and container (or ``None``), the lines.
        answers: What services/proxy answers: by namespace, service and port, a status and a body.
    """

    def __init__(self, *namespaces: str) -> None:
        self.requests: list[str] = []
        self.pods: dict[str, list[dict[str, Any]]] = {}
        self.events: dict[str, list[dict[str, Any]]] = {}
        self.logs: dict[tuple[str, str, str | None], list[str]] = {}
        self.answers: dict[tuple[str, str, int | str], tuple[int, str]] = {}
        self._namespaces = {"default", *namespaces}
        self._secrets: dict[tuple[str, str], dict[str, Any]] = {}
        self._version = 0
        self._faults: list[tuple[str, KubernautError, int]] = []
        self._lock = threading.RLock()

    def fail(self, request: str, error: KubernautError, *, times: int = 1) -> None:
        """Let the next requests that begin with ``request`` fail."""
        self._faults.append((request, error, times))

    @property
    def writes(self) -> list[str]:
        """The requests that wrote."""
        return [request for request in self.requests if not request.startswith(("get ", "list "))]

    def server(self) -> str:
        """Return the API server's address."""
        return "https://fake.invalid"

    def close(self) -> None:
        """Do nothing: there is no connection."""

    def list_secrets(self, namespace: str | None, labels: Labels, *, metadata_only: bool = False) -> Sequence[dict[str, Any]]:
        """Return the Secrets with these labels."""
        self._asked(f"list secrets {namespace or '*'}")
        with self._lock:
            found = [
                secret
                for (place, _), secret in sorted(self._secrets.items())
                if namespace in (None, place) and _matches(secret["metadata"].get("labels") or {}, labels)
            ]
            return [copy.deepcopy({"metadata": secret["metadata"]} if metadata_only else secret) for secret in found]

    def get_secret(self, namespace: str, name: str) -> dict[str, Any] | None:
        """Return a Secret, or ``None``."""
        self._asked(f"get secret {namespace}/{name}")
        return copy.deepcopy(self._secrets.get((namespace, name)))

    def create_secret(self, namespace: str, secret: Mapping[str, Any]) -> dict[str, Any]:
        """Create a Secret. Raises: Conflict when it exists, NamespaceNotFound."""
        name = str(secret["metadata"]["name"])
        self._asked(f"create secret {namespace}/{name}")
        with self._lock:
            if namespace not in self._namespaces:
                raise NamespaceNotFound(f'namespaces "{namespace}" not found.')
            if (namespace, name) in self._secrets:
                raise Conflict(f'secrets "{name}" already exists.')
            kept = {"type": "Opaque", **copy.deepcopy(dict(secret))}
            kept["data"] = {
                **(kept.get("data") or {}),
                **{key: base64.b64encode(text.encode()).decode() for key, text in (kept.pop("stringData", None) or {}).items()},
            }
            kept["metadata"] = {
                **kept["metadata"],
                "namespace": namespace,
                "uid": str(uuid.uuid4()),
                "creationTimestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                "resourceVersion": self._next(),
            }
            self._secrets[namespace, name] = kept
            return copy.deepcopy(kept)

    def patch_secret(self, namespace: str, name: str, patch: Mapping[str, Any]) -> dict[str, Any]:
        """Merge-patch a Secret. Raises: Conflict for another resource version, NotFound."""
        self._asked(f"patch secret {namespace}/{name}")
        with self._lock:
            kept = self._secrets.get((namespace, name))
            if kept is None:
                raise NotFound(f'secrets "{name}" not found.')
            wanted = (patch.get("metadata") or {}).get("resourceVersion")
            if wanted not in (None, kept["metadata"]["resourceVersion"]):
                raise Conflict(f'Operation cannot be fulfilled on secrets "{name}": the object has been modified.')
            _merge(kept, copy.deepcopy(dict(patch)))
            kept["metadata"]["resourceVersion"] = self._next()
            return copy.deepcopy(kept)

    def delete_secret(self, namespace: str, name: str) -> None:
        """Delete a Secret and what it alone owns; one that is gone is no failure."""
        self._asked(f"delete secret {namespace}/{name}")
        with self._lock:
            self._remove(namespace, name)

    def namespace_exists(self, namespace: str) -> bool:
        """Say whether the namespace exists."""
        self._asked(f"get namespace {namespace}")
        return namespace in self._namespaces

    def create_namespace(self, namespace: str) -> None:
        """Create a namespace; one that exists is no failure."""
        self._asked(f"create namespace {namespace}")
        self._namespaces.add(namespace)

    def list_pods(self, namespace: str, labels: Labels) -> Sequence[dict[str, Any]]:
        """Return the pods with these labels."""
        self._asked(f"list pods {namespace}")
        return [copy.deepcopy(pod) for pod in self.pods.get(namespace, []) if _matches(pod["metadata"].get("labels") or {}, labels)]

    def list_events(self, namespace: str) -> Sequence[dict[str, Any]]:
        """Return the namespace's events."""
        self._asked(f"list events {namespace}")
        return copy.deepcopy(self.events.get(namespace, []))

    def pod_log(
        self, namespace: str, pod: str, *, container: str | None, tail: int | None, follow: bool, previous: bool
    ) -> Iterator[str]:
        """Yield a container's log, line by line; ``follow`` ends with it, and ``previous`` is the same one."""
        self._asked(f"get log {namespace}/{pod}")
        lines = self.logs.get((namespace, pod, container))
        if lines is None:
            raise NotFound(f'pods "{pod}" not found.')
        yield from lines if tail is None else lines[len(lines) - min(tail, len(lines)) :]

    def get_through_service(self, namespace: str, service: str, port: int | str, path: str, *, timeout: float) -> tuple[int, str]:
        """GET ``path`` through the Service; a Service that the test did not put in answers 503."""
        self._asked(f"get service {namespace}/{service}:{port}{path}")
        return self.answers.get((namespace, service, port), (503, "no endpoints available"))

    def _asked(self, request: str) -> None:
        with self._lock:
            self.requests.append(request)
            for index, (match, error, times) in enumerate(self._faults):
                if request.startswith(match):
                    if times == 1:
                        del self._faults[index]
                    else:
                        self._faults[index] = (match, error, times - 1)
                    raise error

    def _next(self) -> str:
        self._version += 1
        return str(self._version)

    def _remove(self, namespace: str, name: str) -> None:
        gone = self._secrets.pop((namespace, name), None)
        if gone is None:
            return
        uid = gone["metadata"]["uid"]
        uids = {secret["metadata"]["uid"] for secret in self._secrets.values()}
        for place, other in list(self._secrets):
            kept = self._secrets.get((place, other))
            owners = [owner["uid"] for owner in (kept["metadata"].get("ownerReferences") or [])] if kept else []
            if uid in owners and not uids.intersection(owners):
                self._remove(place, other)


def _matches(labels: Mapping[str, str], wanted: Labels) -> bool:
    return all(labels.get(key) in ((value,) if isinstance(value, str) else value) for key, value in wanted.items())


def _merge(kept: dict[str, Any], patch: Mapping[str, Any]) -> None:
    for key, value in patch.items():
        if value is None:
            kept.pop(key, None)
        elif isinstance(value, Mapping):
            below = kept.setdefault(key, {})
            _merge(below, value)
        else:
            kept[key] = value
