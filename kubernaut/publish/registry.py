"""The published versions in the registry; no other list exists.

Images are at ``REGISTRY/NAME:VERSION``, charts at ``CHART_REGISTRY/NAME:VERSION``. The facts about a version are annotations of the
chart's OCI manifest, where Helm copies those of ``Chart.yaml``, so one request reads them. This module only reads.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from typing import Any

from kubernaut.adapters.registry import Manifest, RegistryClient
from kubernaut.ci import build_from_annotations
from kubernaut.errors import (
    BadInput,
    EnvironmentNotFound,
    ImageNotFound,
    KubernautError,
    RegistryUnreachable,
    SettingInvalid,
    VersionConflict,
    VersionNotFound,
)
from kubernaut.models import check_name
from kubernaut.publish.chart_reference import ChartReference
from kubernaut.publish.chart_versions import newest_stable, parse_loose, tag_version, version_tag
from kubernaut.publish.registry_charts import find_manifest, not_a_chart
from kubernaut.publish.version import Artefact, ChartVersion, PublishedVersion, PublishedVersions, SourceOfVersion, parse
from kubernaut.settings import Settings
from kubernaut.yaml_reader import parse_yaml

SOURCE_DIGEST = "kubernaut/source-digest"
IMAGE = "kubernaut/image"
ENVIRONMENTS = "kubernaut/environments"
PROBE = "kubernaut/probe"
ON_FAILURE = "kubernaut/on-failure"
REVISION = "org.opencontainers.image.revision"
SOURCE = "org.opencontainers.image.source"
CREATED = "org.opencontainers.image.created"
TITLE = "org.opencontainers.image.title"
VERSION = "org.opencontainers.image.version"

CHART_LAYER = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
CHART_LIMIT = 32 << 20
VALUES_LIMIT = 1 << 20

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_PINNED = re.compile(r"([a-z0-9.-]+(?::[0-9]{1,5})?(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)+)@(sha256:[0-9a-f]{64})")
_THREADS = 8
_SHOWN_VERSIONS = 5


class Registry:
    """The image and chart registries of the settings, read with an HTTP client for registries."""

    def __init__(self, client: RegistryClient, settings: Settings) -> None:
        self._client = client
        self._settings = settings

    def image_repository(self, name: str) -> str:
        """Return the repository of an application's images. Raises: SettingInvalid."""
        repository = f"{self._settings.require_registry()}/{check_name(name)}"
        if repository == self.chart_repository(name):
            raise SettingInvalid(
                f"Images and charts of {name} would share the repository {repository}.",
                hint="Set chart_registry to a different value than registry; the default is REGISTRY/charts.",
            )
        return repository

    def chart_repository(self, name: str) -> str:
        """Return the repository of an application's charts, without ``oci://``."""
        return f"{self._settings.require_chart_registry()}/{check_name(name)}"

    def pull_name(self, repository: str) -> str:
        """Return the repository name that the cluster's nodes pull from."""
        registry, pull = self._settings.registry, self._settings.pull_registry
        if pull is None or registry is None or not repository.startswith(f"{registry}/"):
            return repository
        return pull + repository.removeprefix(registry)

    def find(self, name: str, version: str) -> PublishedVersion | None:
        """Return a version, or ``None`` if it is not published; takes one request.

        Raises:
            VersionConflict: The tag holds a chart that kubernaut did not publish.
        """
        manifest = self._client.manifest(self.chart_repository(name), version)
        if manifest is None:
            return None
        found = self._published(name, version, manifest)
        if found is None:
            raise VersionConflict(f"{self.chart_repository(name)}:{version} exists but was not published by kubernaut.")
        return found

    def tags(self, name: str) -> list[str]:
        """Return the SemVer tags of the chart repository, newest first."""
        return [tag for tag in self._chart_tags(name) if parse(tag) is not None]

    def versions(self, name: str) -> PublishedVersions:
        """Return the published versions, newest first by SemVer, with the references of charts that kubernaut did not publish."""
        tags = self._chart_tags(name)
        if not tags:
            return PublishedVersions()
        with ThreadPoolExecutor(min(_THREADS, len(tags)), thread_name_prefix="kubernaut-versions") as pool:
            manifests = list(pool.map(partial(self._client.manifest, self.chart_repository(name)), tags))
        charts = {tag: found for tag, found in zip(tags, manifests, strict=True) if found and _chart_layer(found)}
        versions = {tag: self._published(name, tag, manifest) for tag, manifest in charts.items()}
        foreign = tuple(self._reference(name, tag) for tag, version in versions.items() if version is None)
        return PublishedVersions((version for version in versions.values() if version is not None), foreign=foreign)

    def _chart_tags(self, name: str) -> list[str]:
        """Return the tags of the chart repository that are versions, also with build metadata, newest first."""
        tags = self._client.tags(self.chart_repository(name))
        known = [(parsed, tag) for tag in tags if (parsed := parse_loose(tag_version(tag))) and str(parsed) == tag_version(tag)]
        return [tag for _, tag in sorted(known, reverse=True)]

    def _reference(self, name: str, tag: str) -> str:
        return f"oci://{self.chart_repository(name)}:{tag_version(tag)}"

    def newest(self, name: str, *, pre: bool = False) -> PublishedVersion | None:
        """Return the newest stable version, with ``pre`` the newest including pre-releases, or ``None``."""
        for tag in self.tags(name):
            parsed = parse(tag)
            if parsed is None or (parsed.prerelease and not pre):
                continue
            if (version := self._fetch(name, tag)) is not None:
                return version
        return None

    def resolve(self, name: str, version: str | None = None, *, pre: bool = False) -> PublishedVersion:
        """Return the named version, or the newest one.

        Raises:
            VersionNotFound: It is not published.
            VersionConflict: The tag holds a chart that kubernaut did not publish.
        """
        if version is None:
            found = self.newest(name, pre=pre)
            if found is None:
                raise self._nothing_published(name, pre=pre)
            return found
        if parse(version.partition("+")[0]) is None:
            raise VersionNotFound(
                f"{name} has no version {version!r}: this is not SemVer{self._newest_shown(name)}.", **_listed(name)
            )
        try:
            found = self.find(name, version_tag(version))
        except VersionConflict as conflict:
            raise VersionConflict(conflict.message, **_by_reference(name, self._reference(name, version))) from conflict
        if found is None:
            where = f"{self.chart_repository(name)}{self._newest_shown(name)}"
            raise VersionNotFound(f"{name} {version} is not published in {where}.", **_listed(name))
        return found

    def _newest_shown(self, name: str) -> str:
        """Return the end of a message about a version that does not exist: the newest ones, after a semicolon."""
        try:
            tags = self.tags(name)[: 2 * _SHOWN_VERSIONS]
            shown = [tag for tag in tags if self._fetch(name, tag) is not None][:_SHOWN_VERSIONS]
        except KubernautError:  # the version is missing all the same
            return ""
        return f"; the newest published versions are {', '.join(shown)}" if shown else ""

    def _nothing_published(self, name: str, *, pre: bool) -> VersionNotFound:
        repository, tags = self.chart_repository(name), self._chart_tags(name)
        if not pre and self.newest(name, pre=True) is not None:
            return VersionNotFound(
                f"{name} has only pre-releases in {repository}.",
                hint="Name the version, or take the newest pre-release with --pre.",
                http_hint="Name the version, or send `pre: true` for the newest pre-release.",
            )
        if not tags:
            return VersionNotFound(f"No version of {name} is published in {repository}.", **_listed(name))
        newest = newest_stable(map(tag_version, tags), strict=True) or tag_version(tags[0])
        return VersionNotFound(
            f"No version of {name} was published by kubernaut; {repository} has {len(tags)} from elsewhere, such as {newest}.",
            **_by_reference(name, self._reference(name, newest)),
        )

    def chart(self, reference: str) -> ChartVersion:
        """Return the chart ``oci://HOST[:PORT]/PATH[:VERSION][@sha256:…]``, of any publisher; by default the newest stable one.

        Raises:
            BadInput: The reference has another form, or does not name a Helm chart.
            VersionNotFound: The registry does not have it.
            VersionConflict: The tag of the named version has another digest.
        """
        parsed, manifest = find_manifest(self._client, ChartReference.parse(reference))
        layer = _chart_layer(manifest)
        if layer is None:
            raise not_a_chart(parsed, manifest.content)
        annotations = _annotations(manifest)
        return ChartVersion(
            repository=parsed.repository,
            name=annotations.get(TITLE) or parsed.name,
            version=annotations.get(VERSION) or (tag_version(parsed.tag) if parsed.tag else parsed.tag_or_digest),
            chart=Artefact(ref=str(parsed), digest=manifest.digest),
            source=_source(annotations),
            environments=_environments(annotations),
            layer=layer,
            size=_chart_size(manifest),
        )

    def environment_values(self, version: PublishedVersion | ChartVersion, environment: str) -> dict[str, Any] | None:
        """Return the values that a version was published with for an environment, or ``None`` if it names no such environment.

        Raises:
            EnvironmentNotFound: The version names the environment, but its chart does not hold the file.
        """
        if environment not in version.environments:
            return None
        repository = version.repository
        data = self._client.blob(repository, version.layer or self._layer(repository, version.chart.digest), CHART_LIMIT)
        if data is None:
            raise RegistryUnreachable(f"{repository} has the manifest of chart {version.chart.digest}, but not its content.")
        path = f"{version.name}/environments/{environment}.yaml"
        text = _member(data, path)
        if text is None:
            raise EnvironmentNotFound(
                f"{version.name} {version.version} names the environment {environment}, but its chart has no {path}."
            )
        return parse_yaml(text, f"{version.chart.ref}: {path}")

    def image_digest(self, repository: str, tag: str) -> str | None:
        """Return the current digest of an image tag, or ``None``."""
        return self._client.manifest_digest(repository, tag)

    def check_image(self, image: str) -> Artefact:
        """Return an image that was built elsewhere, after checking that it exists.

        Raises:
            BadInput: The image is not named by digest.
            ImageNotFound: The registry does not have it.
        """
        match = _PINNED.fullmatch(image)
        if match is None:
            raise BadInput(f"{image!r} does not name an image by digest.", hint="Use HOST/REPOSITORY@sha256:…, without a tag.")
        if self._client.manifest_digest(match[1], match[2]) is None:
            raise ImageNotFound(
                f"{match[1].split('/')[0]} has no image {image}.", hint="Push the image before publishing a version with it."
            )
        return Artefact(ref=image, digest=match[2])

    def _fetch(self, name: str, tag: str) -> PublishedVersion | None:
        manifest = self._client.manifest(self.chart_repository(name), tag)
        return None if manifest is None else self._published(name, tag, manifest)

    def _layer(self, repository: str, digest: str) -> str:
        manifest = self._client.manifest(repository, digest)
        layer = None if manifest is None else _chart_layer(manifest)
        if layer is None:
            raise VersionNotFound(f"{repository} no longer has chart {digest}.")
        return layer

    def _published(self, name: str, version: str, manifest: Manifest) -> PublishedVersion | None:
        annotations = _annotations(manifest)
        image = _PINNED.fullmatch(annotations.get(IMAGE, ""))
        digest = annotations.get(SOURCE_DIGEST, "")
        layer = _chart_layer(manifest)
        if image is None or layer is None or not _DIGEST.fullmatch(digest):
            return None
        return PublishedVersion(
            name=name,
            version=version,
            chart=Artefact(ref=f"{self.chart_repository(name)}:{version}", digest=manifest.digest),
            image=Artefact(ref=image[0], digest=image[2]),
            source_digest=digest,
            source=_source(annotations),
            created_at=_time(annotations.get(CREATED)),
            build=build_from_annotations(annotations),
            environments=_environments(annotations),
            layer=layer,
            size=_chart_size(manifest),
        )


def _listed(name: str) -> dict[str, Any]:
    """Return the hints of an error about a version that is not published."""
    return {
        "hint": f"`kubernaut versions {name}` lists the published versions.",
        "http_hint": f"`GET /api/versions/{name}` lists the published versions.",
    }


def _by_reference(name: str, reference: str) -> dict[str, Any]:
    """Return the hints of an error about a chart that kubernaut did not publish."""
    return {
        "hint": f"Deploy it by reference: `kubernaut deploy {name} --chart {reference} -n NAMESPACE`.",
        "http_hint": f"Deploy it by reference: send `chart`, {reference}, instead of a version.",
    }


def _annotations(manifest: Manifest) -> Mapping[str, str]:
    annotations = manifest.content.get("annotations")
    return {str(key): str(value) for key, value in annotations.items()} if isinstance(annotations, dict) else {}


def _source(annotations: Mapping[str, str]) -> SourceOfVersion:
    return SourceOfVersion(commit=annotations.get(REVISION), repository=annotations.get(SOURCE))


def _environments(annotations: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(filter(None, annotations.get(ENVIRONMENTS, "").split(",")))


def _chart_layer(manifest: Manifest) -> str | None:
    layers = manifest.content.get("layers")
    for layer in layers if isinstance(layers, Sequence) else ():
        if isinstance(layer, dict) and layer.get("mediaType") == CHART_LAYER and _DIGEST.fullmatch(str(layer.get("digest"))):
            return str(layer["digest"])
    return None


def _chart_size(manifest: Manifest) -> int:
    layers = manifest.content.get("layers")
    known = (one for one in (layers if isinstance(layers, list) else ()) if isinstance(one, dict))
    sizes = (one.get("size") for one in known if one.get("mediaType") == CHART_LAYER)
    return next((size for size in sizes if isinstance(size, int)), 0)


def _time(text: str | None) -> datetime | None:
    try:
        return None if text is None else datetime.fromisoformat(text)
    except ValueError:
        return None


def _member(archive: bytes, path: str) -> bytes | None:
    """Return one file of a chart archive without unpacking it, or ``None``."""
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
            for member in tar:
                if member.name == path and member.isfile() and member.size <= VALUES_LIMIT:
                    file = tar.extractfile(member)
                    return None if file is None else file.read()
    except (tarfile.TarError, EOFError, OSError) as error:
        raise RegistryUnreachable(f"The chart archive with {path} is not a gzipped tar file.") from error
    return None
