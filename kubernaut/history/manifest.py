"""A release's manifest, read by the rules of Kubernetes: whole, or not at all. Pure.

A manifest that cannot be read has a ``problem`` and no objects: that a Service, an image or a pod is missing from it means nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from kubernaut.history.records import Record, as_mapping
from kubernaut.yaml_reader import YamlProblem, parse_documents

_MOST_KEPT = 4
_kept: WeakKeyDictionary[Record, Manifest] = WeakKeyDictionary()


@dataclass(frozen=True)
class Manifest:
    """The objects of a manifest.

    Attributes:
        objects: Its objects in order, those of a List one by one; none if it could not be read.
        problem: Why it could not be read, such as ``line 812: found undefined alias``.
    """

    objects: tuple[Mapping[str, Any], ...] = ()
    problem: str | None = None


@dataclass(frozen=True)
class ServicePort:
    """A port of a Service."""

    service: str
    name: str | None
    port: int


def read_manifest(text: str) -> Manifest:
    """Return the objects of a manifest as Kubernetes reads them, or the problem."""
    try:
        return Manifest(tuple(item for line, document in parse_documents(text) for item in _objects(document, line)))
    except YamlProblem as problem:
        return Manifest(problem=f"line {problem.line}: {problem.message}")


def manifest_of(record: Record) -> Manifest:
    """Return the manifest of a record; it is read once while the record, or one with the same manifest, is in use."""
    found = _kept.get(record)
    if found is None:
        kept = list(_kept.items())
        found = next((manifest for other, manifest in kept if other.manifest == record.manifest), None)
        if found is None:
            found = read_manifest(record.manifest)
        if len(kept) >= _MOST_KEPT:
            _kept.clear()
        _kept[record] = found
    return found


def _objects(document: Any, line: int) -> Iterator[Mapping[str, Any]]:
    if document is None:
        return
    if not isinstance(document, Mapping):
        raise YamlProblem(line, "a document is not an object")
    items = document.get("items")
    if not isinstance(items, list):
        yield document
        return
    for item in items:
        if not isinstance(item, Mapping):
            raise YamlProblem(line, "an item of a list is not an object")
        yield item if item.get("kind") or item.get("apiVersion") else {**_item_type(document), **item}


def _item_type(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the type of the items of a list of one kind, such as a ConfigMapList."""
    kind = str(document.get("kind") or "")
    single = kind.removesuffix("List")
    return {"apiVersion": document.get("apiVersion"), "kind": single} if single not in ("", kind) else {}


def manifest_images(manifest: Manifest) -> tuple[str, ...]:
    """Return the images that the manifest's pods run, each once, in order."""
    found: dict[str, None] = {}
    for spec in (spec for document in manifest.objects for spec in _pod_specs(document.get("spec"))):
        for group in ("initContainers", "containers"):
            for container in spec.get(group) or []:
                if isinstance(container, Mapping) and isinstance(container.get("image"), str):
                    found[container["image"]] = None
    return tuple(found)


def pod_selectors(manifest: Manifest) -> tuple[Mapping[str, str], ...]:
    """Return the labels by which the manifest's workloads select their pods."""
    found: list[Mapping[str, str]] = []
    for document in manifest.objects:
        spec = document.get("spec")
        if not isinstance(spec, Mapping) or not any(True for _ in _pod_specs(spec)):
            continue
        selector = spec.get("selector")
        labels = selector.get("matchLabels") if isinstance(selector, Mapping) else None
        if labels is None and isinstance(spec.get("template"), Mapping):
            labels = as_mapping(as_mapping(spec["template"]).get("metadata")).get("labels")
        if labels is None and document.get("kind") == "Pod":
            labels = as_mapping(document.get("metadata")).get("labels")
        if isinstance(labels, Mapping) and labels and dict(labels) not in found:
            found.append({str(key): str(value) for key, value in labels.items()})
    return tuple(found)


def service_ports(manifest: Manifest) -> tuple[ServicePort, ...]:
    """Return the ports of the manifest's Services."""
    return tuple(
        ServicePort(str(as_mapping(document.get("metadata")).get("name")), port.get("name"), port["port"])
        for document in manifest.objects
        if document.get("kind") == "Service"
        for port in as_mapping(document.get("spec")).get("ports") or []
        if isinstance(port, Mapping) and isinstance(port.get("port"), int)
    )


def _pod_specs(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        if isinstance(value.get("containers"), list):
            yield value
            return
        for item in value.values():
            yield from _pod_specs(item)
