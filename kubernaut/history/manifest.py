"""A release's manifest, read: which images it runs, which pods are its, which Services it has. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from kubernaut.helm_yaml import is_deep

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_CONTAINERS = ("initContainers", "containers")


@dataclass(frozen=True)
class ServicePort:
    """A port of a Service of the release."""

    service: str
    name: str | None
    port: int


def documents(manifest: str) -> Iterator[Mapping[str, Any]]:
    """Yield the objects of a manifest, those in a List one by one; what is no YAML ends it quietly, as a record is as it is."""
    try:
        if is_deep(manifest):
            return
        for document in yaml.load_all(manifest, Loader=_LOADER):
            if isinstance(document, Mapping):
                items = document.get("items") if str(document.get("kind", "")).endswith("List") else None
                yield from (item for item in items if isinstance(item, Mapping)) if isinstance(items, list) else (document,)
    except (yaml.YAMLError, RecursionError):
        return


def pod_specs(manifest: str) -> Iterator[Mapping[str, Any]]:
    """Yield the pod specifications of a manifest, wherever they stand: in a Pod, a Deployment, a CronJob or something else."""
    for document in documents(manifest):
        yield from _pod_specs(document.get("spec"))


def images(manifest: str) -> tuple[str, ...]:
    """Return the images that the manifest's pods run, each once, in order."""
    found: dict[str, None] = {}
    for spec in pod_specs(manifest):
        for group in _CONTAINERS:
            for container in spec.get(group) or []:
                if isinstance(container, Mapping) and isinstance(container.get("image"), str):
                    found[container["image"]] = None
    return tuple(found)


def selectors(manifest: str) -> tuple[Mapping[str, str], ...]:
    """Return the labels by which the manifest's workloads find their pods."""
    found: list[Mapping[str, str]] = []
    for document in documents(manifest):
        spec = document.get("spec")
        if not isinstance(spec, Mapping) or not any(True for _ in _pod_specs(spec)):
            continue
        selector = spec.get("selector")
        labels = selector.get("matchLabels") if isinstance(selector, Mapping) else None
        if labels is None and isinstance(spec.get("template"), Mapping):
            labels = _mapping(_mapping(spec["template"]).get("metadata")).get("labels")
        if labels is None and document.get("kind") == "Pod":
            labels = _mapping(document.get("metadata")).get("labels")
        if isinstance(labels, Mapping) and labels and dict(labels) not in found:
            found.append({str(key): str(value) for key, value in labels.items()})
    return tuple(found)


def service_ports(manifest: str) -> tuple[ServicePort, ...]:
    """Return the ports of the manifest's Services."""
    return tuple(
        ServicePort(str(_mapping(document.get("metadata")).get("name")), port.get("name"), port["port"])
        for document in documents(manifest)
        if document.get("kind") == "Service"
        for port in _mapping(document.get("spec")).get("ports") or []
        if isinstance(port, Mapping) and isinstance(port.get("port"), int)
    )


def _pod_specs(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        if isinstance(value.get("containers"), list):
            yield value
            return
        for item in value.values():
            yield from _pod_specs(item)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
