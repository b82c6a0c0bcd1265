"""The resources of the Kubernetes API: which path serves the objects of a kind. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from kubernaut.errors import BadInput


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind of object, as the API serves it.

    Attributes:
        kind: The kind: ``Deployment``.
        api_version: The group and version: ``apps/v1``; ``v1`` for the core group.
        plural: The name in paths: ``deployments``.
        namespaced: Whether its objects belong to a namespace.
    """

    kind: str
    api_version: str
    plural: str
    namespaced: bool = True

    @property
    def group(self) -> str:
        """The API group; empty for the core group."""
        group, slash, _ = self.api_version.rpartition("/")
        return group if slash else ""

    @property
    def full_name(self) -> str:
        """The plural with the group, as the API server writes it: ``leases.coordination.k8s.io``."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str | None = None, *parts: str) -> str:
        """Return the URL path of an object, by name and subresource, or of the kind; ``None`` means all namespaces.

        Raises:
            BadInput: A name is empty or a dot segment.
        """
        place = ("namespaces", namespace) if namespace and self.namespaced else ()
        return "/".join([api_path(self.api_version), *map(_segment, (*place, self.plural, *parts))])


def api_path(api_version: str) -> str:
    """Return the URL path of an API group and version."""
    root = "/apis" if "/" in api_version else "/api"
    return "/".join([root, *map(_segment, api_version.split("/"))])


def _segment(name: str) -> str:
    """Return a name as a segment of a path; a dot segment would name another path."""
    if name in ("", ".", ".."):
        raise BadInput(f"{name!r} is not a name in the Kubernetes API.")
    return quote(name, safe=":")


SECRETS = Resource("Secret", "v1", "secrets")
LEASES = Resource("Lease", "coordination.k8s.io/v1", "leases")
NAMESPACES = Resource("Namespace", "v1", "namespaces", namespaced=False)
PODS = Resource("Pod", "v1", "pods")
SERVICES = Resource("Service", "v1", "services")
EVENTS = Resource("Event", "v1", "events")
SCALERS = Resource("HorizontalPodAutoscaler", "autoscaling/v2", "horizontalpodautoscalers")

RESOURCES: Mapping[str, Resource] = {
    resource.kind: resource
    for resource in (
        SECRETS,
        LEASES,
        NAMESPACES,
        PODS,
        SERVICES,
        EVENTS,
        Resource("ReplicaSet", "apps/v1", "replicasets"),
        Resource("ReplicationController", "v1", "replicationcontrollers"),
        Resource("Deployment", "apps/v1", "deployments"),
        Resource("StatefulSet", "apps/v1", "statefulsets"),
        Resource("DaemonSet", "apps/v1", "daemonsets"),
        Resource("Job", "batch/v1", "jobs"),
        Resource("PersistentVolumeClaim", "v1", "persistentvolumeclaims"),
        Resource("EndpointSlice", "discovery.k8s.io/v1", "endpointslices"),
        Resource("CustomResourceDefinition", "apiextensions.k8s.io/v1", "customresourcedefinitions", namespaced=False),
    )
}
"""The resources that kubernaut judges, and reads in whichever version a manifest names, by kind."""

CHART_RESOURCES: Mapping[str, Resource] = {
    resource.kind: resource
    for resource in (
        SCALERS,
        Resource("ConfigMap", "v1", "configmaps"),
        Resource("ServiceAccount", "v1", "serviceaccounts"),
        Resource("CronJob", "batch/v1", "cronjobs"),
        Resource("Ingress", "networking.k8s.io/v1", "ingresses"),
        Resource("NetworkPolicy", "networking.k8s.io/v1", "networkpolicies"),
        Resource("PodDisruptionBudget", "policy/v1", "poddisruptionbudgets"),
        Resource("Role", "rbac.authorization.k8s.io/v1", "roles"),
        Resource("RoleBinding", "rbac.authorization.k8s.io/v1", "rolebindings"),
        Resource("ClusterRole", "rbac.authorization.k8s.io/v1", "clusterroles", namespaced=False),
        Resource("ClusterRoleBinding", "rbac.authorization.k8s.io/v1", "clusterrolebindings", namespaced=False),
    )
}
"""Other resources that charts have, by kind; the API server need not be asked for their paths either."""


def known_resource(api_version: str, kind: str) -> Resource | None:
    """Return a resource that is known without a request; ``None`` for another kind, or for another version."""
    known = RESOURCES.get(kind) or CHART_RESOURCES.get(kind)
    return known if known is not None and known.api_version == api_version else None


def served_resource(api_version: str, kind: str, served: Iterable[Mapping[str, Any]]) -> Resource | None:
    """Return the resource of a kind among those that the API server lists for a version; subresources do not count."""
    for one in served:
        if one.get("kind") == kind and "/" not in str(one.get("name", "/")):
            return Resource(kind, api_version, str(one["name"]), bool(one.get("namespaced")))
    return None
