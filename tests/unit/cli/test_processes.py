"""The command as a process: signals, closed pipes, and the display on a terminal."""

from __future__ import annotations

import os
import pty
import re
import signal
import struct
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from fcntl import ioctl
from pathlib import Path
from termios import TIOCSWINSZ

import pytest

from kubernaut.cli.progress import STOPPING_HELM

STUB = Path(__file__).parent / "stub.py"
ROOT = STUB.parents[3]
SHIP = ("ship", "app", "-n", "demo")
WATCH = ("watch", "hello-world", "-n", "demo")
ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")


def environment(behaviour: str, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "USER", "LANG")}
    paths = os.pathsep.join((str(ROOT), str(ROOT / "tests")))
    return {**kept, "STUB": behaviour, "TERM": "xterm-256color", "PYTHONPATH": paths, "PYTHONIOENCODING": "utf-8", **more}


def start(arguments: Sequence[str], behaviour: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(STUB), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(behaviour))


class Terminal:
    """The command on a terminal."""

    def __init__(self, arguments: Sequence[str], behaviour: str = "", *, columns: int = 80, **variables: str) -> None:
        self._master, slave = pty.openpty()
        ioctl(slave, TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        command = [sys.executable, str(STUB), *arguments]
        self.process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment(behaviour, **variables))
        os.close(slave)
        self.raw = ""

    def until(self, words: str) -> None:
        """Read until the words have appeared."""
        while words not in self.raw:
            assert self._read(), f"ended without {words!r}: {self.raw}"

    def type(self, text: str) -> None:
        """Type on the keyboard."""
        os.write(self._master, text.encode())

    def interrupt(self, number: signal.Signals = signal.SIGINT) -> None:
        """Send a signal until the process ends: one that arrives just before a read is lost, on any terminal."""
        for _ in range(20):
            self.process.send_signal(number)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=2)
                return

    def close(self) -> None:
        """Close the terminal."""
        os.close(self._master)

    def end(self) -> int:
        """Read to the end and return the exit status."""
        while self._read():
            pass
        self.close()
        return self.process.wait()

    @property
    def text(self) -> str:
        """The output without control codes."""
        return ESCAPES.sub("", self.raw).replace("\r", "")

    def _read(self) -> bool:
        try:
            data = os.read(self._master, 4096)
        except OSError:  # Linux: the other side is closed
            return False
        self.raw += data.decode(errors="replace")
        return bool(data)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_a_signal_stops_the_work_and_cleans_up(number: signal.Signals, status: int) -> None:
    process = start((*SHIP, "-v"), "wait")
    assert process.stderr is not None
    assert process.stderr.readline().startswith("build      started")
    assert process.stderr.readline().endswith("waiting for a signal\n")
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == status
    assert out == ""
    assert "cleaned up\n" in err
    assert "stopped" in err
    assert "error: Stopped by " in err
    assert "Traceback" not in err


def test_a_signal_is_reported_as_a_problem() -> None:
    process = start((*SHIP, "-o", "json"), "wait")
    assert process.stderr is not None
    process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate()
    assert '"code": "interrupted"' in out
    assert '"detail": "Stopped by SIGTERM."' in out


@pytest.mark.parametrize("line", [("logs", "demo.hello-world.v3"), ("--help",), ("list",), ("list", "-o", "json")])
def test_a_closed_stdout_is_not_reported(line: Sequence[str]) -> None:
    process = start(line, "endless")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait() == 141
    process.stderr.close()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_follow_without_a_message(number: signal.Signals, status: int) -> None:
    process = start(("logs", "demo.hello-world.v3", "--follow"), "endless")
    assert process.stdout is not None
    assert process.stdout.readline() == "hello-0 listening\n"
    process.send_signal(number)
    _, err = process.communicate()
    assert (process.returncode, err) == (status, "")


def test_a_closed_stderr_does_not_stop_the_work() -> None:
    process = start(SHIP, "steps")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stderr.close()
    assert process.stdout.read().endswith("runs in demo as demo.hello-world.v3\n")
    process.stdout.close()
    assert process.wait() == 0


def test_steps_outside_a_terminal_are_plain_lines() -> None:
    process = start(SHIP, "steps")
    out, err = process.communicate()
    assert out == "hello-world 1.4.2 (31fba06) runs in demo as demo.hello-world.v3\n"
    lines = [re.sub(r"\d+\.\ds", "N", line) for line in err.splitlines()]
    assert lines == [
        "build      started    examples/hello-world",
        "build      done         N  hello-world:1.4.2",
        "push       started    127.0.0.1:5000/hello-world:1.4.2",
        "push       unchanged    N  the registry has it",
        "deploy     started    demo/hello-world",
        "deploy     done         N  revision 3",
        "next: kubernaut history hello-world -n demo",
        "      kubernaut logs hello-world -n demo",
        "      kubernaut rollback hello-world -n demo",
    ]


def test_verbose_shows_the_output_of_tools_without_secrets() -> None:
    _, err = start((*SHIP, "-v"), "steps").communicate()
    assert "build      | Step 1/2 : FROM node\n" in err
    assert "build      | GREETING password=***\n" in err
    assert "hunter22" not in err


def test_a_traceback_contains_no_secret() -> None:
    _, err = start((*SHIP, "-v"), "defect").communicate()
    assert "Traceback" in err
    assert "hunter22" not in err


def test_steps_on_a_terminal_are_live() -> None:
    terminal = Terminal(SHIP, "steps")
    assert terminal.end() == 0
    assert re.search(r"✓ build +\d\.\ds +hello-world:1\.4\.2", terminal.text)
    assert re.search(r"= push +\d\.\ds +the registry has it", terminal.text)
    assert "\x1b[?25l" in terminal.raw
    assert terminal.raw.rindex("\x1b[?25h") > terminal.raw.rindex("\x1b[?25l"), "the cursor must be visible again"
    assert "hunter22" not in terminal.raw


def test_a_dry_run_is_planned_not_unchanged() -> None:
    out, err = start((*SHIP, "--dry-run"), "plan").communicate()
    assert re.search(r"deploy +planned +\d\.\ds +dry run: push-chart hello-world:1\.4\.2, helm-upgrade demo/hello-world", err)
    terminal = Terminal((*SHIP, "--dry-run"), "plan")
    assert terminal.end() == 0
    assert re.search(r"~ deploy +\d\.\ds +dry run: push-chart", terminal.text)
    assert "unchanged" not in out + err + terminal.text


def test_ctrl_c_on_a_terminal_shows_the_cursor_again() -> None:
    terminal = Terminal(SHIP, "wait")
    terminal.until("waiting for a signal")
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.end() == 130
    assert "✗ build" in terminal.text
    assert terminal.raw.rindex("\x1b[?25h") > terminal.raw.rindex("\x1b[?25l")


def test_no_color_disables_colours() -> None:
    colours = re.compile(r"\x1b\[[0-9;]*m")
    plain = Terminal(("list",), NO_COLOR="1")
    assert plain.end() == 0
    assert not [code for code in colours.findall(plain.raw) if code not in ("\x1b[0m", "\x1b[1m", "\x1b[m")]
    bright = Terminal(("list",))
    assert bright.end() == 0
    assert colours.findall(bright.raw)


def test_a_dumb_terminal_gets_plain_lines() -> None:
    terminal = Terminal(SHIP, "steps", TERM="dumb")
    assert terminal.end() == 0
    assert "\x1b" not in terminal.raw


@pytest.mark.parametrize(
    "line", [("list",), ("history", "demo.hello-world.v3"), ("versions", "hello-world"), ("--help",), ("ship", "--help")]
)
def test_output_fits_80_columns(line: Sequence[str]) -> None:
    terminal = Terminal(line)
    assert terminal.end() == 0
    assert all(len(text) <= 80 for text in terminal.text.splitlines())


@pytest.mark.parametrize("columns", [60, 160])
def test_watch_on_a_terminal_shows_a_live_line_for_each_workload(columns: int) -> None:
    terminal = Terminal(WATCH, "watch", columns=columns)
    terminal.until("Deployment web: 2 of 3 ready · web-7f9-x2")
    terminal.type("\n")
    assert terminal.end() == 6
    failed = re.search(r"✗ deploy +\d\.\ds +hello-world 1\.4\.2.*", terminal.text)
    assert failed
    assert len(failed[0].rstrip()) <= columns
    assert "v3 runs again as v5" in terminal.text.rpartition("error:")[2]
    assert "pod web-7f9-x2: crashed" in terminal.text.rpartition("error:")[2]


def test_watch_outside_a_terminal_prints_each_line_once() -> None:
    process = start(WATCH, "watch")
    out, err = process.communicate()
    assert process.returncode == 6
    lines = err.splitlines()
    assert len(set(lines)) == len(lines)
    assert [line for line in lines if "Deployment web" in line] == [
        "deploy     Deployment web: 2 of 3 ready · web-7f9-x2 pulling image",
        "deploy     Deployment web: 3 of 3 ready",
    ]
    assert out == ""


def test_ctrl_c_ends_only_the_watching(tmp_path: Path) -> None:
    terminal = Terminal(WATCH, "watching", STUB_NOTES=str(tmp_path / "notes"))
    terminal.until("waiting for a signal")
    terminal.process.send_signal(signal.SIGINT)
    terminal.type("x\n")
    assert terminal.end() == 130
    assert STOPPING_HELM not in terminal.text
    assert "KeyboardInterrupt" not in terminal.text


def test_delete_asks_and_yes_deletes() -> None:
    terminal = Terminal(("delete", "hello-world", "-n", "demo"))
    terminal.until("[y/N]")
    terminal.type("y\n")
    assert terminal.end() == 0
    assert "helm-upgrade demo/hello-world: the chart's digest differs" in terminal.text
    assert "demo.hello-world.v3" in terminal.text


def test_delete_asks_and_no_does_not() -> None:
    terminal = Terminal(("delete", "hello-world", "-n", "demo"))
    terminal.until("[y/N]")
    terminal.type("\n")
    assert terminal.end() == 130
    assert "can be restored" not in terminal.text


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("verb", ["delete", "unlock"])
def test_a_signal_at_the_question_changes_nothing(verb: str, number: signal.Signals, status: int) -> None:
    terminal = Terminal((verb, "hello-world", "-n", "demo"))
    terminal.until("[y/N]")
    terminal.interrupt(number)
    assert terminal.end() == status
    assert "is unlocked" not in terminal.text
    assert "can be restored" not in terminal.text
