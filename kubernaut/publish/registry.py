"""The published versions, as the registry has them. There is no other list of them.

Images lie at ``REGISTRY/NAME:VERSION``, charts at ``CHART_REGISTRY/NAME:VERSION``. All that is told of a version stands in the
annotations of its chart's manifest, to which Helm copies those of ``Chart.yaml``: one request answers it. Nothing is written here.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import Field

from kubernaut.adapters.registry import Manifest, RegistryClient
from kubernaut.ci import CiBuild, annotated_build
from kubernaut.errors import (
    BadInput,
    EnvironmentNotFound,
    ImageNotFound,
    RegistryUnreachable,
    SettingInvalid,
    VersionConflict,
    VersionNotFound,
)
from kubernaut.helm_yaml import parse_yaml
from kubernaut.models import Model
from kubernaut.names import check_name
from kubernaut.publish.chart_reference import ChartReference
from kubernaut.publish.version import parse
from kubernaut.settings import Settings

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


class Artefact(Model):
    """An image or a chart in a registry: where it is, and which one it is."""

    ref: str
    digest: str


class SourceOfVersion(Model):
    """Where a version's files come from; ``None`` where git did not know. ``-dirty`` ends a commit that files differed from."""

    commit: str | None = None
    repository: str | None = None


class PublishedVersion(Model):
    """A published version: one image and one chart under one name, for good.

    Attributes:
        build: The CI build that published it, if one did.
        layer: The digest of the chart's content, where it is known; not in the JSON.
    """

    name: str
    version: str
    chart: Artefact
    image: Artefact
    source_digest: str
    source: SourceOfVersion
    created_at: datetime | None
    build: CiBuild | None
    environments: tuple[str, ...] = ()
    layer: str = Field(default="", exclude=True)

    @property
    def repository(self) -> str:
        """Where the chart lies, without ``oci://``."""
        return self.chart.ref.rpartition(":")[0]


@dataclass(frozen=True)
class ChartVersion:
    """A chart that somebody named himself, and perhaps somebody else pushed: as much of a version as its annotations tell."""

    repository: str
    name: str
    version: str
    chart: Artefact
    source: SourceOfVersion
    environments: tuple[str, ...] = ()
    layer: str = ""


class Registry:
    """The registries of images and charts that the settings name.

    Args:
        web: How they are reached.
        settings: Where they are.
    """

    def __init__(self, web: RegistryClient, settings: Settings) -> None:
        self._web = web
        self._settings = settings

    def image_repository(self, name: str) -> str:
        """Return where an application's images are pushed."""
        repository = f"{self._settings.require_registry()}/{check_name(name)}"
        if repository == self.chart_repository(name):
            raise SettingInvalid(
                f"Images and charts of {name} would lie in the same repository, {repository}.",
                hint="Set chart_registry to another place than registry; REGISTRY/charts is the default.",
            )
        return repository

    def chart_repository(self, name: str) -> str:
        """Return where an application's charts are pushed, without ``oci://``."""
        return f"{self._settings.require_chart_registry()}/{check_name(name)}"

    def pull_name(self, repository: str) -> str:
        """Return what the cluster's nodes call a repository."""
        registry, pull = self._settings.registry, self._settings.pull_registry
        if pull is None or registry is None or not repository.startswith(f"{registry}/"):
            return repository
        return pull + repository.removeprefix(registry)

    def find(self, name: str, version: str) -> PublishedVersion | None:
        """Return a version, or ``None``: one request.

        Raises:
            VersionConflict: A chart that kubernaut did not publish has its place.
        """
        manifest = self._web.manifest(self.chart_repository(name), version)
        if manifest is None:
            return None
        found = self._published(name, version, manifest)
        if found is None:
            raise VersionConflict(f"{self.chart_repository(name)}:{version} is something that kubernaut did not publish.")
        return found

    def tags(self, name: str) -> list[str]:
        """Return the versions that charts exist for, newest first by SemVer."""
        known = [(parsed, tag) for tag in self._web.tags(self.chart_repository(name)) if (parsed := parse(tag)) is not None]
        return [tag for _, tag in sorted(known, key=lambda pair: pair[0], reverse=True)]

    def versions(self, name: str) -> list[PublishedVersion]:
        """Return the published versions, newest first by SemVer; charts that kubernaut did not publish are left out."""
        repository = self.chart_repository(name)

        def fetch(tag: str) -> PublishedVersion | None:
            manifest = self._web.manifest(repository, tag)
            return None if manifest is None else self._published(name, tag, manifest)

        tags = self.tags(name)
        if not tags:
            return []
        with ThreadPoolExecutor(min(_THREADS, len(tags)), thread_name_prefix="kubernaut-versions") as pool:
            return [version for version in pool.map(fetch, tags) if version is not None]

    def newest(self, name: str, *, pre: bool = False) -> PublishedVersion | None:
        """Return the newest stable version (or the newest of all, with ``pre``), or ``None``."""
        for tag in self.tags(name):
            parsed = parse(tag)
            if parsed is None or (parsed.prerelease and not pre):
                continue
            manifest = self._web.manifest(self.chart_repository(name), tag)
            version = None if manifest is None else self._published(name, tag, manifest)
            if version is not None:
                return version
        return None

    def resolve(self, name: str, version: str | None = None, *, pre: bool = False) -> PublishedVersion:
        """Return a version, or the newest one where none is named.

        Raises:
            VersionNotFound: There is none.
        """
        if version is not None:
            if parse(version) is None:
                raise VersionNotFound(f"{name} has no version {version!r}: it is no SemVer.")
            found = self.find(name, version)
        else:
            found = self.newest(name, pre=pre)
        if found is not None:
            return found
        if version is not None:
            raise VersionNotFound(f"{name} {version} was not published to {self.chart_repository(name)}.")
        if not pre and self.tags(name):
            raise VersionNotFound(
                f"{name} has no stable version, only pre-releases.",
                hint="Name the version, or take the newest pre-release with --pre.",
            )
        raise VersionNotFound(f"Nothing was published of {name} to {self.chart_repository(name)}.")

    def chart(self, reference: str) -> ChartVersion:
        """Return a chart of any registry, whoever pushed it: one request.

        Args:
            reference: ``oci://HOST[:PORT]/PATH:VERSION`` or ``…@sha256:…``.

        Raises:
            BadInput: It is written otherwise, or names no Helm chart.
            VersionNotFound: There is none.
        """
        wanted = ChartReference.parse(reference)
        manifest = self._web.manifest(wanted.repository, wanted.which)
        if manifest is None:
            raise VersionNotFound(f"There is no chart {wanted}.", hint="Check the reference, and that the chart was pushed.")
        layer = _chart_layer(manifest)
        if layer is None:
            raise BadInput(f"{wanted} is no Helm chart.", hint="Name one that `helm push` has put there.")
        annotations = _annotations(manifest)
        return ChartVersion(
            repository=wanted.repository,
            name=annotations.get(TITLE) or wanted.name,
            version=annotations.get(VERSION) or wanted.which,
            chart=Artefact(ref=str(wanted), digest=manifest.digest),
            source=_source(annotations),
            environments=_environments(annotations),
            layer=layer,
        )

    def environment_values(self, version: PublishedVersion | ChartVersion, environment: str) -> dict[str, Any] | None:
        """Return the values that a version was published with for an environment; ``None`` where it has none for it.

        Raises:
            EnvironmentNotFound: The version names the environment, and its chart holds no such file.
        """
        if environment not in version.environments:
            return None
        repository = version.repository
        data = self._web.blob(repository, version.layer or self._layer(repository, version.chart.digest), CHART_LIMIT)
        if data is None:
            raise RegistryUnreachable(f"{repository}@{version.chart.digest} is there, and its content is not.")
        path = f"{version.name}/environments/{environment}.yaml"
        text = _member(data, path)
        if text is None:
            raise EnvironmentNotFound(f"{version.name} {version.version} should hold values for {environment}, and does not.")
        return parse_yaml(text, f"{version.chart.ref}: {path}")

    def image_digest(self, repository: str, tag: str) -> str | None:
        """Return the digest that an image's tag has now, or ``None``."""
        return self._web.manifest_digest(repository, tag)

    def check_image(self, image: str) -> Artefact:
        """Check that an image which was built elsewhere exists.

        Raises:
            BadInput: It is not named by digest.
            ImageNotFound: Its registry does not have it.
        """
        match = _PINNED.fullmatch(image)
        if match is None:
            raise BadInput(
                f"{image!r} does not name an image by its digest.", hint="Give it as HOST/REPOSITORY@sha256:…, without a tag."
            )
        if self._web.manifest_digest(match[1], match[2]) is None:
            raise ImageNotFound(
                f"{match[1].split('/')[0]} has no image {image}.", hint="Push it before publishing a version with it."
            )
        return Artefact(ref=image, digest=match[2])

    def _layer(self, repository: str, digest: str) -> str:
        manifest = self._web.manifest(repository, digest)
        layer = None if manifest is None else _chart_layer(manifest)
        if layer is None:
            raise VersionNotFound(f"{repository}@{digest} is not a chart any more.")
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
            build=annotated_build(annotations),
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
    """Read one file out of a chart without unpacking it."""
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
            for member in tar:
                if member.name == path and member.isfile() and member.size <= VALUES_LIMIT:
                    file = tar.extractfile(member)
                    return None if file is None else file.read()
    except (tarfile.TarError, EOFError, OSError) as error:
        raise RegistryUnreachable(f"The chart with {path} is not a gzipped tar.") from error
    return None
