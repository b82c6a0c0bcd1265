"""Version files: a file of publish is read back, anything else is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from unit.cli.stub import release, version

from kubernaut.errors import BadInput
from kubernaut.publish.version import MAX_FILE_SIZE, read_version_file


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "release.json"


def content(**changes: Any) -> dict[str, Any]:
    return {**version().model_dump(mode="json", by_alias=True), **changes}


def test_a_version_file_is_read_back(file: Path) -> None:
    file.write_text(json.dumps(content()), encoding="utf-8")
    assert read_version_file(file) == version()


def test_fields_of_a_newer_kubernaut_are_ignored(file: Path) -> None:
    newer = content(signature="x", chart={**content()["chart"], "size": 7})
    file.write_text(json.dumps(newer), encoding="utf-8")
    assert read_version_file(file) == version()


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("", "empty"),
        ("{", "JSON"),
        ("[" * 100_000, "JSON"),
        ("[]", "JSON"),
        ("{}", "JSON"),
        (release().model_dump_json(by_alias=True), "'demo.hello-world.v3'"),
        ('{"actions": [], "reason": "x"}', "plan"),
        ('{"items": [], "count": 0}', "list"),
        ('{"code": "not_found", "status": 404}', "'not_found'"),
        (json.dumps(content(name="../x")), "'../x'"),
        (json.dumps(content(name="-n")), "'-n'"),
        (json.dumps(content(version="latest")), "'latest'"),
        (json.dumps(content(chart={"ref": "r/x:1", "digest": "sha256:1"})), "'sha256:1'"),
        (json.dumps(content(chart=None)), "chart"),
        (json.dumps(content(version=7)), "version"),
        (" " * (MAX_FILE_SIZE + 1), "1 MiB"),
    ],
)
def test_a_file_without_a_version_is_refused(file: Path, text: str, fact: str) -> None:
    file.write_text(text, encoding="utf-8")
    with pytest.raises(BadInput) as refused:
        read_version_file(file)
    assert str(file) in refused.value.message
    assert fact in refused.value.message.replace(str(file), "")
    assert len(refused.value.message) < 1000


def test_a_file_that_is_not_a_readable_text_file_is_refused(file: Path) -> None:
    file.write_bytes(b"\xff\xfe{}")
    os.mkfifo(file.with_name("pipe"))
    for path, fact in (
        (file, "JSON"),
        (file.with_name("missing.json"), "No such file"),
        (file.parent, ""),
        (file.with_name("pipe"), ""),
    ):
        with pytest.raises(BadInput) as refused:
            read_version_file(path)
        assert str(path) in refused.value.message
        assert fact in refused.value.message
