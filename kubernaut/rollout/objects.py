"""Kubernetes objects as plain dictionaries: their identity, owners, conditions, times, and what a manifest expects. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from kubernaut.history.records import as_mapping, parse_time

Object = Mapping[str, Any]
"""A Kubernetes object, as in the API's JSON."""

_BUILTIN_GROUPS = (
    "",
    "apps",
    "autoscaling",
    "batch",
    "extensions",
    "policy",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "networking.k8s.io",
    "node.k8s.io",
    "rbac.authorization.k8s.io",
    "resource.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
)
_LARGEST_NUMBER = 2**31 - 1
_EARLIEST, _LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, order=True)
class ObjectKey:
    """The identity of an object.

    Attributes:
        kind: Its kind.
        namespace: Its namespace; empty for an object of the cluster.
        name: Its name.
        group: The API group of a kind that is not one of Kubernetes' own, such as Knative's ``Service``; otherwise empty.
    """

    kind: str
    namespace: str
    name: str
    group: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True)
class Expected:
    """An object that a release's manifest has, and the Helm hook events that create it (none for an ordinary object)."""

    key: ObjectKey
    object: Object
    hook: tuple[str, ...] = ()

    @property
    def group(self) -> str:
        """The API group; empty for the core group."""
        return group_of(self.object)

    @property
    def is_builtin(self) -> bool:
        """Whether the kind is one of Kubernetes' own."""
        return not self.key.group


def expected_objects(objects: Sequence[Object], namespace: str, hooks: Sequence[Object] = ()) -> tuple[Expected, ...]:
    """Return the objects of a release.

    Args:
        objects: The manifest's objects.
        namespace: The release's namespace, for objects that name none.
        hooks: The hooks' objects.
    """
    ordinary = (Expected(key_of(item, namespace), item) for item in objects)
    hooked = (Expected(key_of(item, namespace), item, hook_events(item)) for item in hooks)
    return (*ordinary, *hooked)


def hook_events(item: Object) -> tuple[str, ...]:
    """Return the events of a Helm hook, such as ``pre-upgrade``."""
    named = str(annotations_of(item).get("helm.sh/hook") or "")
    return tuple(event.strip() for event in named.split(",") if event.strip())


def key_of(item: Object, namespace: str = "") -> ObjectKey:
    """Return an object's identity; ``namespace`` is that of an object that names none."""
    metadata, group = metadata_of(item), group_of(item)
    return ObjectKey(
        str(item.get("kind") or ""),
        str(metadata.get("namespace") or namespace),
        str(metadata.get("name") or ""),
        "" if group in _BUILTIN_GROUPS else group,
    )


def group_of(item: Object) -> str:
    """Return the API group of an object; empty for the core group."""
    group, slash, _ = str(item.get("apiVersion") or "").rpartition("/")
    return group if slash else ""


def metadata_of(item: Object) -> Object:
    """Return an object's metadata."""
    return as_mapping(item.get("metadata"))


def spec_of(item: Object) -> Object:
    """Return an object's spec."""
    return as_mapping(item.get("spec"))


def status_of(item: Object) -> Object:
    """Return an object's status."""
    return as_mapping(item.get("status"))


def annotations_of(item: Object) -> Object:
    """Return an object's annotations."""
    return as_mapping(metadata_of(item).get("annotations"))


def owner_release(item: Object) -> tuple[str, str]:
    """Return the name and the namespace of the release that an object belongs to for Helm; empty texts for none."""
    annotations = annotations_of(item)
    name, namespace = (annotations.get(f"meta.helm.sh/release-{part}") for part in ("name", "namespace"))
    return str(name or ""), str(namespace or "")


def is_kept(item: Object) -> bool:
    """Return whether an object has ``helm.sh/resource-policy: keep``, so that Helm never deletes it."""
    return str(annotations_of(item).get("helm.sh/resource-policy")).strip().lower() == "keep"


def labels_of(item: Object) -> Object:
    """Return an object's labels."""
    return as_mapping(metadata_of(item).get("labels"))


def name_of(item: Object) -> str:
    """Return an object's name."""
    return str(metadata_of(item).get("name") or "")


def uid_of(item: Object) -> str:
    """Return an object's UID."""
    return str(metadata_of(item).get("uid") or "")


def owner_uids(item: Object) -> Iterator[str]:
    """Yield the UIDs of an object's owners."""
    return (str(owner.get("uid")) for owner in mappings(metadata_of(item).get("ownerReferences")))


def is_deleted(item: Object) -> bool:
    """Return whether an object is being deleted."""
    return bool(metadata_of(item).get("deletionTimestamp"))


def created_at(item: Object) -> datetime | None:
    """Return when an object was created, by the cluster's clock."""
    return time_in(metadata_of(item), "creationTimestamp")


def time_in(fields: Object, name: str) -> datetime | None:
    """Return the time in a field; ``None`` for one that cannot be a cluster's."""
    time = parse_time(str(fields.get(name) or ""))
    return time if time is not None and _EARLIEST <= time <= _LATEST else None


def condition(item: Object, type: str) -> Object:
    """Return a condition of an object; empty if it does not have it."""
    return next((found for found in mappings(status_of(item).get("conditions")) if found.get("type") == type), {})


def is_condition(item: Object, type: str, status: str = "True") -> bool:
    """Return whether a condition of an object has a status."""
    return condition(item, type).get("status") == status


def number(fields: Object, name: str, default: int = 0) -> int:
    """Return a whole number of 32 bits in a field, as the API has them; ``default`` for anything else."""
    value = fields.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _LARGEST_NUMBER else default


def mappings(value: Any) -> Iterator[Object]:
    """Yield the maps in a list; nothing for anything else."""
    return (item for item in value if isinstance(item, Mapping)) if isinstance(value, list) else iter(())


def selects(selector: Object, labels: Object) -> bool:
    """Return whether a map of labels, not empty, selects an object with these labels."""
    return bool(selector) and all(labels.get(name) == value for name, value in selector.items())


def pod_template(item: Object) -> Object:
    """Return the pod template of a workload; a Pod is its own."""
    if item.get("kind") == "Pod":
        return item
    spec = spec_of(item)
    if item.get("kind") == "CronJob":
        spec = spec_of(as_mapping(spec.get("jobTemplate")))
    return as_mapping(spec.get("template"))
