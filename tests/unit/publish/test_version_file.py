"""A published version as a file, and the files that are none."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from unit.cli.stub import release, version

from kubernaut.errors import BadInput
from kubernaut.publish.version_file import LARGEST, read_handover


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "release.json"


def content(**changes: Any) -> dict[str, Any]:
    return {**version().model_dump(mode="json", by_alias=True), **changes}


def test_what_publish_wrote_is_read(file: Path) -> None:
    file.write_text(json.dumps(content()), encoding="utf-8")
    assert read_handover(file) == version()


def test_what_a_newer_kubernaut_tells_besides_is_passed_over(file: Path) -> None:
    told = content(signature="x", chart={**content()["chart"], "size": 7})
    file.write_text(json.dumps(told), encoding="utf-8")
    assert read_handover(file) == version()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "nothing"),
        ("{", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("[]", "JSON that is no version"),
        ("{}", "JSON that is no version"),
        (release().model_dump_json(by_alias=True), "the release 'demo.hello-world.v3', and no version"),
        ('{"actions": [], "reason": "x"}', "the plan of a dry run"),
        ('{"items": [], "count": 0}', "a list"),
        ('{"code": "not_found", "status": 404}', "the problem 'not_found'"),
        (json.dumps(content(name="../x")), "no application's name"),
        (json.dumps(content(name="-n")), "no application's name"),
        (json.dumps(content(version="latest")), "no SemVer"),
        (json.dumps(content(chart={"ref": "r/x:1", "digest": "sha256:1"})), "has the digest"),
        (json.dumps(content(chart=None)), "JSON that is no version"),
        (json.dumps(content(version=7)), "JSON that is no version"),
        (" " * (LARGEST + 1), "more than 1 MiB"),
    ],
)
def test_what_is_no_version_is_refused(file: Path, text: str, said: str) -> None:
    file.write_text(text, encoding="utf-8")
    with pytest.raises(BadInput, match=said) as refused:
        read_handover(file)
    assert str(file) in refused.value.message
    assert len(refused.value.message) < 1000


def test_what_is_no_text_and_no_file_is_refused(file: Path) -> None:
    file.write_bytes(b"\xff\xfe{}")
    with pytest.raises(BadInput, match="no JSON"):
        read_handover(file)
    with pytest.raises(BadInput, match="cannot be read: No such file"):
        read_handover(file.with_name("missing.json"))
    with pytest.raises(BadInput, match="is no file"):
        read_handover(file.parent)
    os.mkfifo(file.with_name("pipe"))
    with pytest.raises(BadInput, match="is no file"):
        read_handover(file.with_name("pipe"))
