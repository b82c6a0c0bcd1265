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
    RegistryUnreachable,
    SettingInvalid,
    VersionConflict,
    VersionNotFound,
)
from kubernaut.models import check_name
from kubernaut.publish.version import Artefact, ChartReference, ChartVersion, PublishedVersion, SourceOfVersion, parse
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
        known = [(parsed, tag) for tag in self._client.tags(self.chart_repository(name)) if (parsed := parse(tag)) is not None]
        return [tag for _, tag in sorted(known, key=lambda pair: pair[0], reverse=True)]

    def versions(self, name: str) -> list[PublishedVersion]:
        """Return the published versions, newest first by SemVer, without charts that kubernaut did not publish."""
        tags = self.tags(name)
        if not tags:
            return []
        with ThreadPoolExecutor(min(_THREADS, len(tags)), thread_name_prefix="kubernaut-versions") as pool:
            return [version for version in pool.map(partial(self._fetch, name), tags) if version is not None]

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
        """Return the named version, or the newest one. Raises: VersionNotFound (it is not published)."""
        if version is not None and parse(version) is None:
            raise VersionNotFound(f"{name} has no version {version!r}: this is not SemVer.")
        found = self.newest(name, pre=pre) if version is None else self.find(name, version)
        if found is not None:
            return found
        if version is not None:
            raise VersionNotFound(f"{name} {version} is not published in {self.chart_repository(name)}.")
        if not pre and self.tags(name):
            raise VersionNotFound(
                f"{name} has only pre-releases in {self.chart_repository(name)}.",
                hint="Name the version, or take the newest pre-release with --pre.",
                http_hint="Name the version, or send `pre: true` for the newest pre-release.",
            )
        raise VersionNotFound(f"No version of {name} is published in {self.chart_repository(name)}.")

    def chart(self, reference: str) -> ChartVersion:
        """Return the chart ``oci://HOST[:PORT]/PATH:VERSION`` or ``…@sha256:…``, of any publisher; takes one request.

        Raises:
            BadInput: The reference has another form, or does not name a Helm chart.
            VersionNotFound: The registry does not have it.
        """
        parsed = ChartReference.parse(reference)
        manifest = self._client.manifest(parsed.repository, parsed.tag_or_digest)
        if manifest is None:
            raise VersionNotFound(
                f"The registry has no chart {parsed}.", hint="Check the reference, and that the chart was pushed."
            )
        layer = _chart_layer(manifest)
        if layer is None:
            raise BadInput(f"{parsed} is not a Helm chart.", hint="Use a reference that `helm push` printed.")
        annotations = _annotations(manifest)
        return ChartVersion(
            repository=parsed.repository,
            name=annotations.get(TITLE) or parsed.name,
            version=annotations.get(VERSION) or parsed.tag_or_digest,
            chart=Artefact(ref=str(parsed), digest=manifest.digest),
            source=_source(annotations),
            environments=_environments(annotations),
            layer=layer,
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
        )


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
