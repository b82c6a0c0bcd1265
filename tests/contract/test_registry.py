"""The contract of `Registry`, for the fake in this process and for the real one; the real Helm pushes the charts."""

from __future__ import annotations

import re
import shutil
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml
from support.messages import facts, suggested
from support.source_tree import HELM, write

from kubernaut.adapters.helm import Helm
from kubernaut.adapters.registry import RegistryClient
from kubernaut.errors import BadInput, ImageNotFound, RegistryUnreachable, VersionConflict, VersionNotFound
from kubernaut.publish.registry import IMAGE, SOURCE_DIGEST, Registry
from kubernaut.settings import load_settings
from kubernaut.testing.registry import FakeRegistry

DIGEST = "sha256:" + "ab" * 32
OURS = {SOURCE_DIGEST: DIGEST, IMAGE: f"localhost/shop@{DIGEST}"}


class RegistryContract:
    """The contract; a subclass provides the registry's ``address`` and the ``helm`` that pushes."""

    @pytest.fixture
    def address(self) -> str:
        raise NotImplementedError

    @pytest.fixture
    def helm(self) -> str:
        return HELM

    @pytest.fixture
    def registry(self, address: str, tmp_path: Path) -> Registry:
        settings = load_settings({"registry": address}, environment={}, directory=tmp_path)
        return Registry(RegistryClient(plain_http=settings.uses_plain_http), settings)

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        return tmp_path

    def push(self, registry: Registry, helm: str, folder: Path, version: str, annotations: Mapping[str, str] = OURS) -> str:
        chart = folder / uuid.uuid4().hex / "shop"
        metadata = {"apiVersion": "v2", "name": "shop", "version": version, "annotations": dict(annotations)}
        write(chart / "Chart.yaml", yaml.safe_dump(metadata))
        write(chart / "environments" / "production.yaml", "replicas: 3\n")
        program = Helm(helm, environment={"HOME": str(folder), "PATH": "/usr/bin:/bin"}, plain_http=lambda _: True)
        return program.push(program.package(chart, chart.parent), registry.chart_repository("shop").removesuffix("/shop"))

    def test_empty_registry_has_no_versions(self, registry: Registry) -> None:
        assert registry.find("shop", "1.0.0") is None
        assert registry.versions("shop") == []
        assert registry.tags("shop") == []
        assert registry.newest("shop") is None
        assert registry.image_digest(registry.image_repository("shop"), "1.0.0") is None
        with pytest.raises(VersionNotFound, match=facts("shop", "1.0.0")):
            registry.resolve("shop", "1.0.0")
        with pytest.raises(VersionNotFound, match=r"\bshop\b"):
            registry.resolve("shop")

    def test_published_facts_are_read_from_annotations(self, registry: Registry, helm: str, folder: Path) -> None:
        facts = {
            "org.opencontainers.image.revision": "31fba06",
            "org.opencontainers.image.source": "https://git.example.com/shop",
            "org.opencontainers.image.created": "2026-05-04T03:02:01Z",
            "kubernaut/build-url": "https://ci.example.com/7",
            "kubernaut/environments": "production,staging",
        }
        digest = self.push(registry, helm, folder, "1.4.3-dev.5.gabc1234", OURS | facts)
        found = registry.find("shop", "1.4.3-dev.5.gabc1234")
        assert found is not None
        assert found.chart.digest == digest
        assert found.chart.ref == f"{registry.chart_repository('shop')}:1.4.3-dev.5.gabc1234"
        assert found.image.ref == OURS[IMAGE]
        assert found.image.digest == DIGEST
        assert found.source_digest == DIGEST
        assert (found.source.commit, found.source.repository) == ("31fba06", "https://git.example.com/shop")
        assert found.created_at is not None
        assert found.created_at.isoformat() == "2026-05-04T03:02:01+00:00"
        assert found.build is not None
        assert found.environments == ("production", "staging")
        assert registry.image_digest(registry.chart_repository("shop"), "1.4.3-dev.5.gabc1234") == digest

    def test_versions_are_in_semver_order(self, registry: Registry, helm: str, folder: Path) -> None:
        for version in ("1.9.0", "1.10.0", "1.10.0-rc.1", "1.10.1-dev.2.gabc1234", "0.1.0"):
            self.push(registry, helm, folder, version)
        order = ["1.10.1-dev.2.gabc1234", "1.10.0", "1.10.0-rc.1", "1.9.0", "0.1.0"]
        assert registry.tags("shop") == order
        assert [version.version for version in registry.versions("shop")] == order
        assert registry.resolve("shop").version == "1.10.0"
        assert registry.resolve("shop", pre=True).version == "1.10.1-dev.2.gabc1234"
        assert registry.resolve("shop", "0.1.0").version == "0.1.0"

    def test_newest_versions_are_named_where_one_is_missing(self, registry: Registry, helm: str, folder: Path) -> None:
        for version in ("1.9.0", "1.10.0", "1.10.0-rc.1", "1.8.0", "0.9.0", "0.10.0"):
            self.push(registry, helm, folder, version)
        self.push(registry, helm, folder, "2.0.0", {})
        for missing in ("9.9.9", "newest"):
            with pytest.raises(VersionNotFound, match=r"9\.9\.9|newest") as caught:
                registry.resolve("shop", missing)
            assert re.findall(r"\d+\.\d+\.0(?:-rc\.1)?", caught.value.message.partition(";")[2]) == [
                "1.10.0",
                "1.10.0-rc.1",
                "1.9.0",
                "1.8.0",
                "0.10.0",
            ]
        reference = f"oci://{registry.chart_repository('shop')}"
        with pytest.raises(VersionNotFound, match=facts("9.9.9", "2.0.0", "1.10.0", "1.10.0-rc.1", "1.9.0", "1.8.0")) as chart:
            registry.chart(f"{reference}:9.9.9")
        assert suggested(chart.value.hint) == [f"{reference}:2.0.0"]

    def test_prereleases_need_pre(self, registry: Registry, helm: str, folder: Path) -> None:
        self.push(registry, helm, folder, "1.0.0-rc.1")
        with pytest.raises(VersionNotFound, match=r"\bshop\b") as caught:
            registry.resolve("shop")
        assert "--pre" in caught.value.hint

    def test_foreign_charts_are_skipped_and_conflict(self, registry: Registry, helm: str, folder: Path) -> None:
        self.push(registry, helm, folder, "2.0.0", {})
        self.push(registry, helm, folder, "1.0.0")
        assert [version.version for version in registry.versions("shop")] == ["1.0.0"]
        assert registry.resolve("shop").version == "1.0.0"
        with pytest.raises(VersionConflict, match=facts("shop", "2.0.0")):
            registry.find("shop", "2.0.0")

    def test_environment_values_are_read_from_the_chart(self, registry: Registry, helm: str, folder: Path) -> None:
        self.push(registry, helm, folder, "1.0.0", OURS | {"kubernaut/environments": "production"})
        version = registry.resolve("shop")
        assert registry.environment_values(version, "production") == {"replicas": 3}
        assert registry.environment_values(version, "staging") is None

    def test_chart_is_found_by_tag_or_digest(self, registry: Registry, helm: str, folder: Path) -> None:
        ours = {"kubernaut/environments": "production", "org.opencontainers.image.revision": "31fba06"}
        digest = self.push(registry, helm, folder, "1.0.0", OURS | ours)
        repository = registry.chart_repository("shop")
        for reference in (f"{repository}:1.0.0", f"{repository}@{digest}"):
            found = registry.chart(f"oci://{reference}")
            assert (found.repository, found.name, found.version) == (repository, "shop", "1.0.0")
            assert (found.chart.ref, found.chart.digest, found.source.commit) == (reference, digest, "31fba06")
            assert registry.environment_values(found, "production") == {"replicas": 3}
        foreign = self.push(registry, helm, folder, "2.0.0", {})
        found = registry.chart(f"oci://{repository}:2.0.0")
        assert (found.version, found.chart.digest, found.source.commit, found.environments) == ("2.0.0", foreign, None, ())

    def test_chart_without_a_version_is_the_newest_stable(self, registry: Registry, helm: str, folder: Path) -> None:
        for version in ("1.9.0", "1.10.0", "2.0.0-rc.1"):
            self.push(registry, helm, folder, version, {})
        reference = f"oci://{registry.chart_repository('shop')}"
        found = registry.chart(reference)
        assert (found.version, f"oci://{found.chart.ref}") == ("1.10.0", f"{reference}:1.10.0")
        with pytest.raises(VersionNotFound, match=r"\bshop\b"):
            registry.chart(f"{reference}-more")

    def test_only_pre_releases_are_not_chosen_but_named(self, registry: Registry, helm: str, folder: Path) -> None:
        self.push(registry, helm, folder, "2.0.0-rc.1", {})
        reference = f"oci://{registry.chart_repository('shop')}"
        with pytest.raises(VersionNotFound, match=r"2\.0\.0-rc\.1") as caught:
            registry.chart(reference)
        assert f"{reference}:2.0.0-rc.1" in caught.value.hint

    def test_version_and_digest_must_agree(self, registry: Registry, helm: str, folder: Path) -> None:
        first = self.push(registry, helm, folder, "1.0.0", {})
        second = self.push(registry, helm, folder, "1.0.0", {"a": "b"})
        reference = f"oci://{registry.chart_repository('shop')}"
        assert registry.chart(f"{reference}:1.0.0@{second}").chart.digest == second
        assert registry.chart(f"{reference}:9.0.0@{second}").version == "1.0.0"
        with pytest.raises(VersionConflict, match=facts(first, second)):
            registry.chart(f"{reference}:1.0.0@{first}")

    def test_build_metadata_is_found_as_helm_stores_it(self, registry: Registry, helm: str, folder: Path) -> None:
        digest = self.push(registry, helm, folder, "0.1.0+build.5", {})
        reference = f"oci://{registry.chart_repository('shop')}"
        for text in (f"{reference}:0.1.0+build.5", f"{reference}:0.1.0_build.5", reference):
            assert (registry.chart(text).version, registry.chart(text).chart.digest) == ("0.1.0+build.5", digest)
        with pytest.raises(VersionConflict) as caught:
            registry.resolve("shop", "0.1.0+build.5")
        assert f"{reference}:0.1.0+build.5" in caught.value.hint

    def test_charts_of_others_are_named(self, registry: Registry, helm: str, folder: Path) -> None:
        for version in ("2.0.0", "1.10.0", "0.1.0+build.5", "3.0.0-rc.1"):
            self.push(registry, helm, folder, version, {})
        reference = f"oci://{registry.chart_repository('shop')}"
        with pytest.raises(VersionNotFound, match=facts("shop", "4", "2.0.0")) as caught:
            registry.resolve("shop")
        assert f"kubernaut deploy shop --chart {reference}:2.0.0 -n NAMESPACE" in caught.value.hint
        assert f"{reference}:2.0.0" in caught.value.http_hint
        with pytest.raises(VersionConflict) as conflict:
            registry.resolve("shop", "1.10.0")
        assert f"--chart {reference}:1.10.0" in conflict.value.hint
        self.push(registry, helm, folder, "1.0.0")
        versions = registry.versions("shop")
        assert [version.version for version in versions] == ["1.0.0"]
        assert versions.foreign == tuple(f"{reference}:{one}" for one in ("3.0.0-rc.1", "2.0.0", "1.10.0", "0.1.0+build.5"))

    def test_invalid_chart_reference_is_refused(self, registry: Registry) -> None:
        with pytest.raises(VersionNotFound, match=facts("shop", "7.0.0")):
            registry.chart(f"oci://{registry.chart_repository('shop')}:7.0.0")
        with pytest.raises(BadInput):
            registry.chart("file:///etc")

    def test_image_must_be_given_by_digest(self, registry: Registry, helm: str, folder: Path) -> None:
        digest = self.push(registry, helm, folder, "1.0.0")
        repository = registry.chart_repository("shop")
        assert registry.check_image(f"{repository}@{digest}").digest == digest
        with pytest.raises(ImageNotFound):
            registry.check_image(f"{repository}@{DIGEST}")
        for vague in (repository, f"{repository}:1.0.0", f"{repository}:1.0.0@{digest}", "shop", "--x"):
            with pytest.raises(BadInput, match=re.escape(vague)):
                registry.check_image(vague)

    def test_pushing_again_moves_the_tag(self, registry: Registry, helm: str, folder: Path) -> None:
        self.push(registry, helm, folder, "1.0.0")
        second = self.push(registry, helm, folder, "1.0.0", OURS | {"kubernaut/build-url": "https://ci.example.com/8"})
        assert registry.resolve("shop", "1.0.0").chart.digest == second


class TestFakeRegistry(RegistryContract):
    @pytest.fixture
    def running(self) -> Iterator[FakeRegistry]:
        with FakeRegistry(page=2) as registry:
            yield registry

    @pytest.fixture
    def address(self, running: FakeRegistry) -> str:
        return f"{running.address}/team"

    def test_registry_is_unreachable_until_it_starts_again(
        self, running: FakeRegistry, registry: Registry, helm: str, folder: Path
    ) -> None:
        self.push(registry, helm, folder, "1.0.0")
        running.stop()
        with pytest.raises(RegistryUnreachable, match=running.address):
            registry.find("shop", "1.0.0")
        running.start()
        assert registry.find("shop", "1.0.0") is not None


@pytest.mark.platform
class TestRealRegistry(RegistryContract):
    @pytest.fixture
    def address(self, platform: Mapping[str, str]) -> str:
        return f"{platform['KUBERNAUT_REGISTRY']}/{uuid.uuid4().hex[:8]}"


@pytest.mark.platform
class TestRealRegistryWithHelm3(TestRealRegistry):
    @pytest.fixture
    def helm(self, helms: dict[str, str]) -> str:
        return helms["helm3"]


def test_helm_is_installed() -> None:
    assert shutil.which(HELM)
