"""Signals: the first one stops the work, later ones do not interrupt the cleanup, and closed streams do not matter."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from unit.cli.test_processes import SHIP, STUB, Terminal, environment, start

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
COMPLAINTS = ("Traceback", "Exception ignored")


def start_cleanup(notes: Path, *more: str, before: str = "") -> subprocess.Popen[str]:
    """Start a command that waits for a signal and then cleans up slowly; return when it waits."""
    command = [sys.executable, str(STUB), *SHIP, "-v", *more]
    process = subprocess.Popen(
        ["sh", "-c", f'{before} exec "$@"', "sh", *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment("cleanup", STUB_NOTES=str(notes)),
    )
    until(process, "waiting for a signal")
    return process


def until(process: subprocess.Popen[str], words: str) -> None:
    """Read stderr until the words have appeared."""
    assert process.stderr is not None
    seen = ""
    while words not in seen:
        line = process.stderr.readline()
        assert line, f"ended without {words!r}: {seen}"
        seen += line


def ignored_by_child(notes: str) -> set[signal.Signals]:
    """Return the signals that a program ignored which was started during the cleanup."""
    found = re.search(r"^SigIgn:\t([0-9a-f]+)$", notes, re.MULTILINE)
    assert found, notes
    return {number for number in SIGNALS if int(found[1], 16) >> (number - 1) & 1}


@pytest.mark.parametrize("first", SIGNALS)
def test_later_signals_do_not_interrupt_the_cleanup(tmp_path: Path, first: signal.Signals) -> None:
    process = start_cleanup(tmp_path / "notes")
    process.send_signal(first)
    until(process, "Stopping: Helm")
    for number in (*SIGNALS, *SIGNALS):
        process.send_signal(number)
    out, err = process.communicate("x", timeout=60)
    assert process.returncode == 128 + first
    assert out == ""
    assert "Stopping" not in err, "reported once"
    assert "error: Stopped by " in err
    assert not any(words in err for words in COMPLAINTS)
    notes = (tmp_path / "notes").read_text()
    assert "Terminated cleaned up" in notes
    if sys.platform == "linux":
        assert ignored_by_child(notes) == set(), "SIG_IGN survives exec, and the program could not be stopped"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_ignored_signals_stay_ignored_but_not_in_child_processes(tmp_path: Path) -> None:
    process = start_cleanup(tmp_path / "notes", before="trap '' INT TERM;")
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGHUP)
    process.communicate("x", timeout=60)
    assert process.returncode == 129
    assert ignored_by_child((tmp_path / "notes").read_text()) == set()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_child_processes_inherit_nohup(tmp_path: Path) -> None:
    process = start_cleanup(tmp_path / "notes", before="trap '' HUP;")
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    process.communicate("x", timeout=60)
    assert process.returncode == 143
    assert ignored_by_child((tmp_path / "notes").read_text()) == {signal.SIGHUP}


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("more", [(), ("-o", "json")])
def test_a_signal_with_stdout_and_stderr_closed(tmp_path: Path, number: signal.Signals, more: tuple[str, ...]) -> None:
    process = start_cleanup(tmp_path / "notes", *more)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    process.stderr.close()
    process.send_signal(number)
    process.stdin.close()
    assert process.wait(timeout=60) == 128 + number
    assert "Terminated cleaned up" in (tmp_path / "notes").read_text()


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_with_stdout_closed(tmp_path: Path, number: signal.Signals) -> None:
    process = start_cleanup(tmp_path / "notes", "-o", "json")
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    process.send_signal(number)
    process.stdin.close()
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 128 + number
    assert "error: Stopped by " in err
    assert not any(words in err for words in COMPLAINTS)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_terminal_that_is_closed(tmp_path: Path, number: signal.Signals) -> None:
    terminal = Terminal(SHIP, "cleanup", STUB_NOTES=str(tmp_path / "notes"))
    terminal.until("waiting for a signal")
    terminal.close()
    terminal.process.send_signal(number)
    assert terminal.process.wait(timeout=60) == 128 + number
    assert "Terminated cleaned up" in (tmp_path / "notes").read_text()


def test_a_terminal_shows_that_kubernaut_is_stopping(tmp_path: Path) -> None:
    terminal = Terminal(SHIP, "cleanup", STUB_NOTES=str(tmp_path / "notes"))
    terminal.until("waiting for a signal")
    terminal.process.send_signal(signal.SIGINT)
    terminal.until("Stopping: Helm")
    terminal.process.send_signal(signal.SIGINT)
    terminal.type("\n")
    assert terminal.end() == 130
    assert terminal.text.count("Stopping") == 1
    assert terminal.raw.rindex("\x1b[?25h") > terminal.raw.rindex("\x1b[?25l"), "the cursor must be visible again"


@pytest.mark.parametrize("behaviour", ["finalise", "swallow"])
def test_a_lost_signal_is_raised_again(behaviour: str) -> None:
    process = start(SHIP, behaviour)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143
    assert not any(words in err for words in COMPLAINTS)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_during_the_shutdown_of_python_keeps_the_exit_status(number: signal.Signals) -> None:
    line = [sys.executable, str(STUB), *SHIP, "-v"]
    variables = environment("shutdown", STUB_SIGNAL=str(int(number)))
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=variables)
    until(process, "waiting for a signal")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
def test_a_full_disk_stops_the_messages_and_not_the_work() -> None:
    line = [sys.executable, str(STUB), *SHIP]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(line, stdout=subprocess.PIPE, stderr=full, text=True, env=environment("steps"), check=False)
        assert (done.returncode, done.stdout) == (0, "hello-world 1.4.2 (31fba06) runs in demo as demo.hello-world.v3\n")
        done = subprocess.run(line, stdout=full, stderr=subprocess.PIPE, text=True, env=environment("steps"), check=False)
    assert done.returncode == 1
    assert os.strerror(28) in done.stderr
    assert not any(words in done.stderr for words in COMPLAINTS)
