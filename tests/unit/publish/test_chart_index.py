"""The index of a chart repository: which version a reference chooses."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from support.messages import facts

from kubernaut.errors import ChartInvalid, VersionNotFound
from kubernaut.publish.chart_index import IndexEntry, find_entry
from kubernaut.publish.chart_reference import RepositoryChart

URL = "https://charts.example.com/stable"
SHA = "ab" * 32


def entry(version: str, name: str = "web", **more: Any) -> dict[str, Any]:
    return {"apiVersion": "v2", "name": name, "version": version, "urls": [f"{name}-{version}.tgz"], **more}


ENTRIES = {
    "other": [entry("9.0.0", "other")],
    "web": [
        entry("2.0.0-rc.1"),
        entry("1.10.0", digest=SHA, description="line one\n  web:\n  - x: line two\n"),
        entry("1.9.0", urls=["https://cdn.example.com/web-1.9.0.tgz?signature=x"], digest="nonsense"),
        entry("v1.2.0"),
        entry("0.1.0+build.5"),
    ],
    "web-more": [entry("8.0.0", "web-more")],
}
INDEX = {"apiVersion": "v1", "entries": ENTRIES, "generated": "2026-01-02T03:04:05Z"}


class Indented(yaml.SafeDumper):
    """Writes lists indented below their keys, unlike Helm."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        return super().increase_indent(flow, False)


FORMS = {
    "helm": yaml.safe_dump(INDEX).encode(),
    "indented": yaml.dump(INDEX, Dumper=Indented, indent=4).encode(),
    "flow": yaml.safe_dump(INDEX, default_flow_style=True).encode(),
    "json": json.dumps(INDEX).encode(),
    "crlf": yaml.safe_dump(INDEX).replace("\n", "\r\n").encode(),
}


def find(index: bytes, version: str | None = None, name: str = "web") -> IndexEntry:
    return find_entry(index, RepositoryChart(URL, name, version))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("version", "found", "url", "sha256"),
    [
        (None, "1.10.0", f"{URL}/web-1.10.0.tgz", SHA),
        ("1.10.0", "1.10.0", f"{URL}/web-1.10.0.tgz", SHA),
        ("1.9.0", "1.9.0", "https://cdn.example.com/web-1.9.0.tgz?signature=x", None),
        ("2.0.0-rc.1", "2.0.0-rc.1", f"{URL}/web-2.0.0-rc.1.tgz", None),
        ("1.2.0", "v1.2.0", f"{URL}/web-v1.2.0.tgz", None),
        ("v1.9.0", "1.9.0", "https://cdn.example.com/web-1.9.0.tgz?signature=x", None),
        ("0.1.0+build.5", "0.1.0+build.5", f"{URL}/web-0.1.0+build.5.tgz", None),
    ],
)
def test_a_version_is_found_in_every_form(form: str, version: str | None, found: str, url: str, sha256: str | None) -> None:
    assert find(FORMS[form], version) == IndexEntry(found, url, sha256)


@pytest.mark.parametrize("form", FORMS)
def test_what_an_index_lacks_is_named(form: str) -> None:
    with pytest.raises(VersionNotFound, match=facts("3.0.0", "web", URL)) as caught:
        find(FORMS[form], "3.0.0")
    assert f"{URL}/web@" in caught.value.hint
    with pytest.raises(VersionNotFound, match=facts("webb", URL)) as caught:
        find(FORMS[form], name="webb")
    assert "web" in caught.value.hint


def test_a_chart_with_only_pre_releases_is_not_chosen() -> None:
    index = yaml.safe_dump({"entries": {"web": [entry("1.0.0-rc.1")]}}).encode()
    with pytest.raises(VersionNotFound, match="stable") as caught:
        find(index)
    assert "web@1.0.0-rc.1" in caught.value.hint


def test_only_the_lines_of_the_chart_are_parsed() -> None:
    text = "entries:\n  bad:\n  - [\n  web:\n  - version: 1.0.0\n    urls: [web.tgz]\n  worse:\n  - {\n"
    assert find(text.encode()).version == "1.0.0"


@pytest.mark.parametrize(
    "index",
    [
        b"",
        b"<html></html>",
        b"entries: 7",
        b"entries: {web: {a: b}}",
        b"entries: {web: [{version: 1.0.0}]}",
        b"entries: {web: [{version: 1.0.0, urls: []}]}",
        b"entries: {web: [{version: 1.0.0, urls: [7]}]}",
        b"{",
        b"[1]",
        b"\xff\xfe",
        b"entries:\n  web:\n  - version: 1.0.0\n    urls: [\n",
    ],
)
def test_what_is_not_an_index_is_refused(index: bytes) -> None:
    with pytest.raises(ChartInvalid, match=facts(f"{URL}/index.yaml")):
        find(index, "1.0.0")


@given(st.binary(max_size=100), st.text("entris:web-{}[]&*\n 0.1", max_size=80))
def test_any_bytes_are_an_index_or_refused(data: bytes, text: str) -> None:
    for index in (data, text.encode(), f"entries:\n  web:\n  - {text}".encode()):
        with suppress(ChartInvalid, VersionNotFound):
            find(index)
