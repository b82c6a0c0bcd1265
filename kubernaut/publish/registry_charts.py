"""A chart of any publisher in an OCI registry, by reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kubernaut.adapters.registry import MANIFEST_TYPES, Manifest, RegistryClient
from kubernaut.errors import BadInput, KubernautError, VersionConflict, VersionNotFound
from kubernaut.publish.chart_mistakes import PACKAGE
from kubernaut.publish.chart_reference import ChartReference
from kubernaut.publish.chart_versions import newest_stable, tag_version, use_chart, version_not_found, version_tag

_IMAGE_TYPES = (*MANIFEST_TYPES, "application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json")


def find_manifest(client: RegistryClient, reference: ChartReference) -> tuple[ChartReference, Manifest]:
    """Return the manifest that a reference names, with the reference; without a version the newest stable one.

    Raises:
        VersionNotFound: The registry does not have it.
        VersionConflict: The tag of the named version has another digest.
    """
    if not reference.tag_or_digest:
        reference = replace(reference, tag=_newest_tag(client, reference))
    manifest = client.manifest(reference.repository, reference.tag_or_digest)
    if manifest is None:
        raise _not_found(client, reference)
    _check_tag(client, reference, manifest.digest)
    return reference, manifest


def not_a_chart(reference: ChartReference, content: Mapping[str, Any]) -> BadInput:
    """Return the error about a manifest that has no chart."""
    config = content.get("config")
    config_type = config.get("mediaType") if isinstance(config, dict) else None
    kind = content.get("artifactType") or config_type or content.get("mediaType")
    found = "is a container image" if kind in _IMAGE_TYPES else f"has the type {str(kind)[:80]!r}" if kind else "has no type"
    return BadInput(
        f"{reference} is not a Helm chart: it {found}.",
        hint="Name the repository of the chart, as `helm push` printed it.",
        http_hint="Name the repository of the chart.",
    )


def _newest_tag(client: RegistryClient, chart: ChartReference) -> str:
    """Return the tag of the newest stable version, as Helm chooses it. Raises: VersionNotFound."""
    tags = client.tags(chart.repository)
    newest = newest_stable(map(tag_version, tags), strict=True)
    if newest is None:
        raise _not_in(chart, tags)
    return version_tag(newest)


def _not_found(client: RegistryClient, chart: ChartReference) -> VersionNotFound:
    try:
        tags = client.tags(chart.repository)
    except KubernautError as error:  # a registry may permit to read charts, and not to list them
        return VersionNotFound(f"The registry has no chart {chart}.", hint=f"Check the reference. {error.message}")
    return _not_in(chart, tags)


def _not_in(chart: ChartReference, tags: list[str]) -> VersionNotFound:
    if not tags:
        package = PACKAGE.fullmatch(chart.name)
        if package is not None:
            path = f"oci://{chart.repository.removesuffix(chart.name)}{package['name']}:{package['version']}"
            return VersionNotFound(f"The registry has no chart {chart}, whose name is that of a file.", **use_chart(path))
        form = f"oci://{chart.repository}/CHART:VERSION"
        return VersionNotFound(
            f"The registry has no chart {chart}: the repository {chart.repository} does not exist.",
            hint=f"Check the path. It ends with the chart's name: what `helm push` stores in oci://{chart.repository} is {form}.",
            http_hint=f"Check the path. It ends with the chart's name, such as {form}.",
        )
    asked = chart.digest or (tag_version(chart.tag) if chart.tag else None)
    return version_not_found(
        chart.repository, chart.name, asked, map(tag_version, tags), lambda version: f"oci://{chart.repository}:{version}"
    )


def _check_tag(client: RegistryClient, chart: ChartReference, digest: str) -> None:
    """Check that a tag which is named beside a digest has it; a tag that does not exist proves nothing, as in Helm."""
    if chart.tag is None or chart.digest is None:
        return
    tagged = client.manifest_digest(chart.repository, chart.tag)
    if tagged not in (None, digest):
        raise VersionConflict(
            f"{chart.repository}:{chart.tag} has the digest {tagged}, and the reference names {digest}.",
            hint="The tag was pushed again: name the digest of the chart that you mean, or leave the digest out.",
        )
