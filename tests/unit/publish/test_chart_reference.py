"""Chart references: what each form names, and that no other form is accepted."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.messages import suggested

from kubernaut.errors import BadInput
from kubernaut.publish.chart_reference import ChartReference, RepositoryChart, parse_chart
from kubernaut.publish.chart_versions import tag_version, version_tag
from kubernaut.publish.charts import find_chart

DIGEST = "sha256:" + "0f" * 32


@pytest.mark.parametrize(
    ("text", "repository", "selector", "name"),
    [
        ("oci://r.example.com/charts/shop:1.4.2", "r.example.com/charts/shop", "1.4.2", "shop"),
        ("oci://localhost:5000/shop:1.0.0-rc.1", "localhost:5000/shop", "1.0.0-rc.1", "shop"),
        ("oci://10.0.0.7:65535/a/b__c/my-shop:1.0.0_build", "10.0.0.7:65535/a/b__c/my-shop", "1.0.0_build", "my-shop"),
        ("oci://r.example.com/shop:latest", "r.example.com/shop", "latest", "shop"),
        (f"oci://r/shop@{DIGEST}", "r/shop", DIGEST, "shop"),
        (f"oci://r/shop:1.4.2@{DIGEST}", "r/shop", DIGEST, "shop"),
        ("oci://r/shop", "r/shop", "", "shop"),
        ("oci://localhost:5000/shop", "localhost:5000/shop", "", "shop"),
    ],
)
def test_a_chart_is_named_by_tag_and_by_digest(text: str, repository: str, selector: str, name: str) -> None:
    found = ChartReference.parse(text)
    assert (found.repository, found.tag_or_digest, found.name) == (repository, selector, name)
    assert f"oci://{found}" == text


@pytest.mark.parametrize("text", ["oci://r/shop:0.1.0+build.5", "oci://r/shop:0.1.0_build.5"])
def test_build_metadata_is_stored_as_helm_stores_it(text: str) -> None:
    assert ChartReference.parse(text).tag == "0.1.0_build.5"
    assert tag_version("0.1.0_build.5") == "0.1.0+build.5"


REFUSED = [
    "OCI://r/shop:1",
    "oci:r/shop:1",
    "oci://shop:1",
    "oci://shop",
    "oci:///shop:1",
    "oci://r/:1",
    "oci://r//shop:1",
    "oci://r/../shop:1",
    "oci://r/./shop:1",
    "oci://r/%2e%2e/shop:1",
    "oci://user@r/shop:1",
    "oci://user:hunter2@r/shop:1",
    "oci://r:0/shop:1",
    "oci://r:65536/shop:1",
    "oci://r:/shop:1",
    "oci://-r/shop:1",
    "oci://[::1]/shop:1",
    "oci://r/Shop:1",
    "oci://r/shop@sha256:abc",
    "oci://r/shop@sha512:" + "0" * 128,
    f"oci://r/shop@{DIGEST}:1",
    "oci://r/shop:-1",
    "oci://r/shop:+1",
    "oci://r/shop:",
    "oci://r/shop:1@",
    "oci://r/shop:1\n",
    "oci://r/shop:1?x=y",
    "oci://r/shop:1#x",
    "oci://r/sho\u00fe:1",
    "oci://r/shop:" + "1" * 129,
    "oci://r/" + "a" * 600 + ":1",
]


def assert_helpful(refusal: BadInput) -> None:
    """Assert that a hint names the form or a valid reference, and that nothing repeats a password."""
    charts = suggested(refusal.hint)
    assert charts or re.search("HOST|VERSION", refusal.hint)
    assert all(parse_chart(chart) for chart in charts)
    assert "hunter2" not in str(refusal.problem()) + refusal.hint


@pytest.mark.parametrize("text", ["", "shop", "r/shop:1", "./shop", "/charts/shop", "https://r/shop-1.0.0.tgz", *REFUSED])
def test_other_forms_are_not_in_a_registry(text: str) -> None:
    with pytest.raises(BadInput) as caught:
        ChartReference.parse(text)
    assert_helpful(caught.value)


@pytest.mark.parametrize(
    ("text", "repository", "name", "version"),
    [
        ("https://charts.example.com/shop@1.4.2", "https://charts.example.com", "shop", "1.4.2"),
        (
            "https://charts.example.com:8443/team/stable/shop@v1.4.2",
            "https://charts.example.com:8443/team/stable",
            "shop",
            "v1.4.2",
        ),
        ("http://127.0.0.1:8080/shop", "http://127.0.0.1:8080", "shop", None),
        ("https://charts.example.com/a_b/shop@0.1.0+build.5", "https://charts.example.com/a_b", "shop", "0.1.0+build.5"),
    ],
)
def test_a_chart_in_a_repository_has_the_form_of_a_version(text: str, repository: str, name: str, version: str | None) -> None:
    found = parse_chart(text)
    assert found == RepositoryChart(repository, name, version)
    assert str(found) == text


@pytest.mark.parametrize(
    "text",
    [
        *REFUSED,
        "",
        "file:///charts/shop",
        "git+https://example.com/shop",
        "https://user:hunter2@r/shop@1.0.0",
        "https://r",
        "https://r/",
        "https://r/shop@",
        "https://r/shop@~1.2",
        "https://r/shop@>=1.0.0 <2",
        "https://r/../shop@1.0.0",
        "https://r/shop@1.0.0?token=hunter2",
        "https://r/shop#x",
        "https://r/stable/shop-1.4.2.tgz",
        "https://r/stable/index.yaml",
        "https:/r/shop",
        "sh\0op",
    ],
)
def test_invalid_references_are_refused_with_a_hint_and_not_repeated(text: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_chart(text)
    assert_helpful(caught.value)


@pytest.mark.parametrize("text", [".", "charts/web", "./web-1.0.0.tgz", "/abs/web", "stable/web", "--post-renderer=sh", "c:web"])
def test_any_other_text_is_a_path(text: str) -> None:
    assert parse_chart(text) == Path(text)


@given(st.text(max_size=80) | st.text(alphabet="oci:/htps.@-_ar0\\+~", max_size=60))
def test_any_text_is_a_reference_or_refused(text: str) -> None:
    for start in ("", "oci://r/", "https://r/"):
        try:
            found = parse_chart(start + text)
        except BadInput as refusal:
            assert_helpful(refusal)
            continue
        if isinstance(found, ChartReference):
            assert parse_chart(f"oci://{found}") == found
            assert ".." not in found.repository
        if isinstance(found, RepositoryChart):
            assert parse_chart(str(found)) == found
            assert "@" not in found.repository


SEGMENTS = st.from_regex(r"[a-z0-9]{1,9}(?:[._-][a-z0-9]{1,9}){0,3}", fullmatch=True)
VERSIONS = st.from_regex(r"[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}(?:-rc\.[0-9])?(?:\+[0-9A-Za-z.-]{1,9})?", fullmatch=True)


@given(st.lists(SEGMENTS, min_size=1, max_size=4), st.none() | VERSIONS, st.none() | st.just(DIGEST))
def test_a_reference_is_read_as_it_is_written(path: list[str], version: str | None, digest: str | None) -> None:
    tag = None if version is None else version_tag(version)
    reference = ChartReference("/".join(["r.example.com", *path]), tag, digest)
    assert ChartReference.parse(f"oci://{reference}") == reference
    assert tag is None or tag_version(tag) == version


@given(st.text(max_size=60) | st.text(alphabet="./-ab\0\udcff ", max_size=20))
def test_any_path_is_a_chart_or_refused(text: str) -> None:
    unused: Any = None
    for path in (f"nowhere/{text}", f"./{text}.tgz", text.removeprefix("oci:").removeprefix("http")):
        with suppress(BadInput):
            find_chart(path, registry=unused, repositories=unused, helm=lambda: unused)
            pytest.fail(f"{path!r} is not a chart")
