"""Versions of charts: which is the newest, and which are named where one does not exist."""

from __future__ import annotations

import re
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.in_process_server import COMMAND_LINE
from support.messages import facts, suggested

from kubernaut.adapters.registry import Manifest, RegistryClient
from kubernaut.errors import RegistryDenied, VersionNotFound
from kubernaut.publish.chart_index import find_entry
from kubernaut.publish.chart_reference import ChartReference, RepositoryChart
from kubernaut.publish.chart_versions import newest_first, newest_stable, tag_version, version_not_found, version_tag
from kubernaut.publish.registry_charts import find_manifest, not_a_chart

REPOSITORY = "r.example.com/charts/web"
DIGEST = "sha256:" + "0f" * 32


@pytest.mark.parametrize(
    ("versions", "strict", "newest"),
    [
        (["1.9.0", "1.10.0", "2.0.0-rc.1", "latest"], False, "1.10.0"),
        (["1.0.0+a", "1.0.0+b"], True, "1.0.0+b"),
        (["v1.2.0", "1.1.0"], False, "v1.2.0"),
        (["v1.2.0", "1.1.0"], True, "1.1.0"),
        (["1.2", "1.1.0"], False, "1.2"),
        (["1.2", "01.1.0"], True, None),
        (["2.0.0-rc.1", "latest", ""], False, None),
        ([], False, None),
    ],
)
def test_the_newest_stable_version_is_that_of_semver(versions: list[str], strict: bool, newest: str | None) -> None:
    assert newest_stable(versions, strict=strict) == newest


# any versions: numbers, whether it is a pre-release, and build metadata
NUMBERS = st.integers(0, 12)
VERSIONS = st.tuples(NUMBERS, NUMBERS, NUMBERS, st.none() | NUMBERS, st.none() | st.sampled_from(["5", "build.7"]))
OTHER_TAGS = st.sampled_from(["latest", "stable", "v9.9.9", "99", "sha256-0f.sig", "1.0"])


def text_of(version: tuple[int, int, int, int | None, str | None]) -> str:
    major, minor, patch, pre, build = version
    return f"{major}.{minor}.{patch}" + ("" if pre is None else f"-rc.{pre}") + ("" if build is None else f"+{build}")


def order_of(version: tuple[int, int, int, int | None, str | None]) -> tuple[int, int, int, float]:
    """Return the precedence of a version as SemVer defines it: a pre-release is older, and build metadata does not count."""
    return (*version[:3], float("inf") if version[3] is None else version[3])


class Tags:
    """A client of a registry that holds only tags, each with a manifest."""

    def __init__(self, tags: list[str], *, listed: bool = True) -> None:
        self._tags, self._listed = tags, listed

    def tags(self, _repository: str) -> list[str]:
        if not self._listed:
            raise RegistryDenied("Tags may not be listed.")
        return self._tags

    def manifest(self, _repository: str, reference: str) -> Manifest | None:
        return Manifest(DIGEST, {}) if reference in self._tags else None


def found(tags: list[str], tag: str | None = None, **how: Any) -> str | None:
    reference, _ = find_manifest(cast(RegistryClient, Tags(tags, **how)), ChartReference(REPOSITORY, tag))
    return reference.tag


@given(st.lists(VERSIONS, max_size=12), st.lists(OTHER_TAGS, max_size=3), st.randoms())
def test_a_registry_and_a_repository_choose_the_newest_stable_version_by_semver(
    versions: list[Any], others: list[str], order: Any
) -> None:
    tags = [*map(version_tag, map(text_of, versions)), *others]
    order.shuffle(tags)
    stable = [version for version in versions if version[3] is None]
    if not stable:
        with pytest.raises(VersionNotFound):
            found(tags)
        return
    newest = {text_of(version) for version in stable if order_of(version) == max(map(order_of, stable))}
    assert tag_version(found(tags) or "") in newest
    entries = [f"  - {{version: {text_of(version)}, urls: [web.tgz]}}" for version in versions]
    index = "\n".join(["entries:", "  web:", *entries]).encode()
    assert find_entry(index, RepositoryChart("https://r.example.com", "web")).version in newest


@given(st.lists(VERSIONS, min_size=1, max_size=12), st.lists(OTHER_TAGS, max_size=3))
def test_the_newest_versions_are_listed_and_one_of_them_is_suggested(versions: list[Any], others: list[str]) -> None:
    texts = {text_of(version): version for version in versions}
    tags = [*map(version_tag, texts), *others]
    with pytest.raises(VersionNotFound) as caught:
        found(tags, "77.0.0")
    listed = re.findall(r"(?:is|are|has|,) ([^ ,]+)(?=[,.])", caught.value.message.partition(";")[2])
    assert 1 <= len(listed) <= 5
    assert {*listed} <= {tag_version(tag) for tag in tags}
    own = [order_of(texts[one]) for one in listed if one in texts]
    assert own == sorted(own, reverse=True)
    (chart,) = suggested(caught.value.hint)
    assert found(tags, ChartReference.parse(chart).tag)
    assert chart in caught.value.http_hint


@given(st.lists(VERSIONS, max_size=12))
def test_versions_are_sorted_by_semver(versions: list[Any]) -> None:
    ordered = newest_first([text_of(version) for version in versions])
    precedence = {text_of(version): order_of(version) for version in versions}
    assert [precedence[one] for one in ordered] == sorted(map(order_of, versions), reverse=True)


@pytest.mark.parametrize(
    ("asked", "suggestion"),
    [
        ("v1.9.0", "1.9.0"),
        ("1.9", "1.9.3"),
        ("1.x", "1.10.0"),
        ("1", "1.10.0"),
        ("2.0.0", "2.0.0-rc.2"),
        ("2", "2.0.0-rc.2"),
        ("0.1.0", "0.1.0+build.5"),
        ("7.0.0", "1.10.0"),
        (None, "1.10.0"),
        ("stable", "1.10.0"),
        (DIGEST, "1.10.0"),
    ],
)
def test_the_nearest_version_is_suggested(asked: str | None, suggestion: str) -> None:
    versions = ["1.9.0", "1.9.3", "1.10.0", "2.0.0-rc.1", "2.0.0-rc.2", "0.1.0+build.5", "latest"]
    error = version_not_found("r/web", "web", asked, versions, lambda version: f"oci://r/web:{version}")
    assert suggested(error.hint) == [f"oci://r/web:{suggestion}"]
    assert "latest" not in error.message


def test_only_pre_releases_are_named_and_not_chosen() -> None:
    with pytest.raises(VersionNotFound, match=re.escape("1.0.0-rc.10, 1.0.0-rc.9")) as caught:
        found(["1.0.0-rc.9", "latest", "1.0.0-rc.10"])
    assert suggested(caught.value.hint) == [f"oci://{REPOSITORY}:1.0.0-rc.10"]


def test_tags_that_are_not_versions_are_named_if_no_other_exists() -> None:
    with pytest.raises(VersionNotFound, match=facts("latest")) as caught:
        found(["latest"])
    assert suggested(caught.value.hint) == [f"oci://{REPOSITORY}:latest"]


def test_a_repository_that_does_not_exist_is_named() -> None:
    with pytest.raises(VersionNotFound, match=facts(REPOSITORY)) as caught:
        found([], "1.0.0")
    assert f"oci://{REPOSITORY}/CHART:VERSION" in caught.value.hint
    assert not COMMAND_LINE.search(caught.value.http_hint)


def test_the_name_of_a_file_becomes_a_version() -> None:
    with pytest.raises(VersionNotFound) as caught:
        find_manifest(cast(RegistryClient, Tags([])), ChartReference("r.example.com/charts/web-1.2.3.tgz", None))
    assert suggested(caught.value.hint) == ["oci://r.example.com/charts/web:1.2.3"]


def test_a_version_is_missing_too_where_tags_may_not_be_listed() -> None:
    with pytest.raises(VersionNotFound, match=facts(f"{REPOSITORY}:2.0.0")) as caught:
        found(["1.0.0"], "2.0.0", listed=False)
    assert "Tags may not be listed" in caught.value.hint


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ({"config": {"mediaType": "application/vnd.oci.image.config.v1+json"}}, "container image"),
        ({"mediaType": "application/vnd.oci.image.index.v1+json"}, "container image"),
        ({"artifactType": "application/vnd.example.sbom"}, "application/vnd.example.sbom"),
        ({"config": 7}, "no type"),
    ],
)
def test_the_kind_of_another_artifact_is_named(content: dict[str, Any], kind: str) -> None:
    error = not_a_chart(ChartReference("r/web", "1.0.0"), content)
    assert kind in error.message
    assert not COMMAND_LINE.search(error.http_hint)
