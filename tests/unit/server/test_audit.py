"""The audit log: one line per write, without secrets, even when lines cannot be written."""

from __future__ import annotations

import errno
import json
import logging
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from kubernaut.errors import SettingInvalid
from kubernaut.server.audit import FIELDS, Audit, AuditFile, to_stderr
from kubernaut.server.metrics import Metrics

CANARY = "kanarie-0123456789-abcdefghijklmnopqrstuvwxyz"


class Sink:
    """Keeps lines; fails while ``full``."""

    def __init__(self) -> None:
        self.data = b""
        self.full = False

    def write(self, line: bytes) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.data += line

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.data.splitlines()]


@pytest.fixture
def sink() -> Sink:
    return Sink()


def test_a_line_has_the_leading_fields_in_order(sink: Sink) -> None:
    before = datetime.now(UTC)
    Audit(sink.write).write(
        status=202,
        request="r-1",
        event="request",
        caller="ci",
        method="POST",
        route="/api/releases",
        release="demo.shop",
        operation=None,
        outcome=None,
        path="/api/releases",
    )
    (line,) = sink.lines
    logged_at = datetime.fromisoformat(line.pop("time"))
    assert logged_at.tzinfo is not None
    assert abs((logged_at - before).total_seconds()) < 60
    assert line == {
        "event": "request",
        "caller": "ci",
        "method": "POST",
        "route": "/api/releases",
        "release": "demo.shop",
        "status": 202,
        "request": "r-1",
        "path": "/api/releases",
    }
    order = [name for name in json.loads(sink.data) if name in FIELDS]
    assert order == [name for name in FIELDS if name in order]


def test_secrets_and_control_characters_are_removed(sink: Sink) -> None:
    audit = Audit(sink.write, secrets=[CANARY])
    audit.write(
        event="request", caller=f"x{CANARY}x", path=f"/api/\x1b[31m\n\r\x00\u2028{CANARY}", note=f"Authorization: Bearer {CANARY}z"
    )
    audit.write(event="recovery", message="password=hunter22 at https://ada:hunter22@example.com")
    assert CANARY.encode() not in sink.data
    assert b"hunter22" not in sink.data
    assert sink.data.count(b"\n") == 2
    assert all(32 <= byte < 127 for byte in sink.data.replace(b"\n", b""))


def test_long_values_are_truncated(sink: Sink) -> None:
    Audit(sink.write).write(event="request", path="/" + "a" * 100_000)
    assert len(sink.data) < 2000


def test_lost_lines_are_counted_and_logged_once(sink: Sink, caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics()
    audit = Audit(sink.write, on_lost=metrics.count_lost_audit_line)
    sink.full = True
    with caplog.at_level(logging.INFO):
        for number in range(3):
            audit.write(event="request", request=str(number))
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "No space left on device" in caplog.text
    assert b"kubernaut_audit_lines_lost_total 3.0" in metrics.render()
    sink.full = False
    audit.write(event="request", request="4")
    assert [line["request"] for line in sink.lines] == ["4"]
    sink.full = True
    audit.write(event="request")
    assert len(caplog.records) == 2, "a second full disk is logged again"


def test_a_closed_stderr_only_loses_the_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    closed = (tmp_path / "closed").open("w")
    closed.close()
    monkeypatch.setattr("sys.stderr", closed)
    lost: list[bool] = []
    Audit(to_stderr, on_lost=lambda: lost.append(True)).write(event="request")
    assert lost


def test_lines_are_written_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    Audit(to_stderr).write(event="request")
    shown = capsys.readouterr()
    assert json.loads(shown.err)["event"] == "request"
    assert shown.out == ""


def test_the_file_is_private_and_only_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    before = os.umask(0)
    try:
        for number in range(2):
            file = AuditFile(path)
            Audit(file.write).write(event="request", request=str(number))
            file.close()
    finally:
        os.umask(before)
    assert [json.loads(line)["request"] for line in path.read_text().splitlines()] == ["0", "1"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_lines_of_concurrent_threads_are_not_mixed(tmp_path: Path) -> None:
    file = AuditFile(tmp_path / "audit.log")
    audit = Audit(file.write)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: audit.write(event="request", request=str(number), path="a" * 900), range(200)))
    file.close()
    lines = [json.loads(line) for line in (tmp_path / "audit.log").read_text().splitlines()]
    assert {line["request"] for line in lines} == {str(number) for number in range(200)}


def test_a_partial_line_is_terminated_before_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "audit.log"
    file = AuditFile(path)
    audit, write, calls = Audit(file.write), os.write, []

    def short(descriptor: int, data: bytes) -> int:
        calls.append(data)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data[:10] if len(calls) == 1 else data)

    monkeypatch.setattr(os, "write", short)
    audit.write(event="request", request="lost")
    audit.write(event="request", request="whole")
    audit.write(event="request", request="whole too")
    cut, *whole = path.read_text().splitlines()
    assert len(cut) == 10
    assert [json.loads(line)["request"] for line in whole] == ["whole", "whole too"]
    file.close()


@pytest.mark.parametrize("kind", ["link", "open", "pipe", "folder", "missing folder"])
def test_unsafe_files_are_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "audit.log"
    if kind == "link":
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "open":
        path.touch()
        path.chmod(0o644)
    elif kind == "pipe":
        os.mkfifo(path, 0o600)
    elif kind == "folder":
        path.mkdir()
    else:
        path = path / "deeper"
    with pytest.raises(SettingInvalid, match=str(path)):
        AuditFile(path)
    assert not (tmp_path / "elsewhere").exists()
