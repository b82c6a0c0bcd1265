"""Programs run under control: they leave nothing behind and do not block. The programs are small Python scripts."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kubernaut.adapters import process
from kubernaut.adapters.process import CompletedProcess, find_program, run
from kubernaut.errors import ToolMissing

Script = Callable[[str], list[str]]


@pytest.fixture
def script(tmp_path: Path) -> Iterator[Script]:
    """Write a script; at the end, each process that it recorded must be dead."""
    made = 0

    def write(body: str) -> list[str]:
        nonlocal made
        made += 1
        path = tmp_path / f"script{made}.py"
        prelude = f"import os, signal, subprocess, sys, time\nPIDS = {str(tmp_path / 'pids')!r}\n"
        prelude += "def alive(pid): open(PIDS, 'a').write(f'{pid}\\n')\nalive(os.getpid())\n"
        path.write_text(prelude + textwrap.dedent(body))
        return [sys.executable, "-I", "-S", str(path)]

    yield write
    pids = tmp_path / "pids"
    for pid in pids.read_text().split() if pids.exists() else []:
        assert ended(int(pid)), f"{pid} lives"


def ended(pid: int, seconds: float = 5.0) -> bool:
    """Wait until a process is gone or a zombie."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    return False


def wait_for(path: Path, seconds: float = 10.0) -> str:
    until = time.monotonic() + seconds
    while not (path.exists() and path.read_text().endswith("\n")):
        assert time.monotonic() < until, f"no {path}"
        time.sleep(0.01)
    return path.read_text()


def go(argv: list[str], **options: object) -> CompletedProcess:
    arguments: dict[str, object] = {"environment": {"PATH": os.environ["PATH"]}, "deadline": 20.0, "grace": 5.0}
    return run(argv, **{**arguments, **options})  # type: ignore[arg-type]


def test_input_output_and_status_are_passed(script: Script) -> None:
    lines: list[str] = []
    done = go(
        script("data = sys.stdin.buffer.read(); print(len(data)); print('é\\nzwei', file=sys.stderr); sys.exit(3)"),
        input=b"x" * 300_000,
        log=lines.append,
    )
    assert (done.returncode, done.stdout, done.timed_out, done.truncated) == (3, b"300000\n", False, False)
    assert lines == ["é", "zwei"]
    assert done.stderr == "é\nzwei"


def test_unread_input_does_not_block(script: Script) -> None:
    assert go(script("sys.stdin.close(); print('done')"), input=b"x" * 1_000_000).stdout == b"done\n"


def test_output_is_truncated(script: Script) -> None:
    done = go(script("sys.stdout.write('a' * 500_000 + 'end'); [print(i, file=sys.stderr) for i in range(5000)]"), keep=1000)
    assert done.truncated
    assert len(done.stdout) == 1000
    assert done.stdout.endswith(b"end")
    assert len(done.stderr.splitlines()) == 200


def test_endless_line_is_split(script: Script) -> None:
    lines: list[str] = []
    go(script("sys.stderr.write('a' * 1_000_000)"), log=lines.append)
    assert lines
    assert max(map(len, lines)) <= 8192


def test_program_sees_only_the_given_environment(script: Script) -> None:
    done = go(script("print(sorted(os.environ))"), environment={"PATH": "/bin", "HOME": "/"})
    assert set(ast.literal_eval(done.stdout.decode())) - {"LC_CTYPE"} == {"HOME", "PATH"}


def test_deadline_stops_the_program(script: Script) -> None:
    started = time.monotonic()
    done = go(script("time.sleep(60)"), deadline=0.3)
    assert done.timed_out
    assert done.returncode == -signal.SIGTERM
    assert time.monotonic() - started < 5


def test_program_may_finish_in_its_grace_period(script: Script, tmp_path: Path) -> None:
    done = go(
        script(f"""
            def stop(*_):
                open({str(tmp_path / "record")!r}, "w").write("failed\\n")
                print("cancelled"); sys.exit(1)
            signal.signal(signal.SIGTERM, stop)
            time.sleep(60)
        """),
        deadline=0.5,
    )
    assert (done.timed_out, done.returncode, done.stdout) == (True, 1, b"cancelled\n")
    assert (tmp_path / "record").read_text() == "failed\n"


def test_program_that_ignores_sigterm_is_killed(script: Script) -> None:
    started = time.monotonic()
    done = go(script("signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"), deadline=0.5, grace=0.3)
    assert done.returncode == -signal.SIGKILL
    assert time.monotonic() - started < 5


def test_grandchildren_are_stopped(script: Script) -> None:
    child = script("signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)")
    parent = script(f"""
        child = subprocess.Popen({child!r}, stdout=subprocess.PIPE)
        child.stdout.readline()
        time.sleep(60)
    """)
    done = go(parent, deadline=1.5, grace=0.3)
    assert done.timed_out  # and the fixture finds both dead


def test_grandchild_with_open_pipes_does_not_block(script: Script) -> None:
    child = script("time.sleep(60)")
    started = time.monotonic()
    done = go(script(f"subprocess.Popen({child!r}); print('done')"))
    assert (done.returncode, done.stdout) == (0, b"done\n")
    assert time.monotonic() - started < 5


def test_output_written_just_before_the_end_is_read(script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when this process is paused after it has found nothing in the pipes: the program writes and ends meanwhile."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    argv = script(f"open({str(gate)!r}).close(); print('x' * 50_000); print('y\\n' * 25_000, file=sys.stderr)")
    looked: list[int] = []
    has_ended = process.has_ended

    def ends_meanwhile(child: subprocess.Popen[bytes]) -> bool:
        if not looked:
            looked.append(child.pid)
            gate.write_text("")
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        return has_ended(child)

    monkeypatch.setattr(process, "has_ended", ends_meanwhile)
    lines: list[str] = []
    done = go(argv, log=lines.append)
    assert looked
    assert (done.returncode, len(done.stdout), lines.count("y")) == (0, 50_001, 25_000)


def test_exception_of_the_log_stops_the_program(script: Script) -> None:
    def fail(line: str) -> None:
        raise BrokenPipeError(line)

    with pytest.raises(BrokenPipeError):
        go(script("print('one', file=sys.stderr, flush=True); time.sleep(60)"), log=fail)


class Stopped(Exception):
    """The exception of a check."""


def stops_once(path: Path) -> Callable[[], None]:
    """A check that raises once the program has made a file, and must not be asked again while the program is being stopped."""
    raised: list[bool] = []

    def check() -> None:
        assert not raised, "asked again"
        if path.exists():
            raised.append(True)
            raise Stopped

    return check


@pytest.mark.parametrize("busy", ["time.sleep(60)", "os.close(1); os.close(2); time.sleep(60)", "[print(i) for i in range(10**9)]"])
def test_check_stops_the_program(script: Script, tmp_path: Path, busy: str) -> None:
    up, record = tmp_path / "up", tmp_path / "record"
    argv = script(f"""
        def stop(*_):
            open({str(record)!r}, "w").write("failed\\n")
            os._exit(1)
        signal.signal(signal.SIGTERM, stop)
        open({str(up)!r}, "w").close()
        {busy}
    """)
    started = time.monotonic()
    with pytest.raises(Stopped):
        go(argv, check=stops_once(up))
    assert time.monotonic() - started < 5
    assert record.read_text() == "failed\n"  # by SIGTERM, and it had its grace


def test_program_that_ignores_sigterm_is_killed_after_a_check(script: Script, tmp_path: Path) -> None:
    up = tmp_path / "up"
    argv = script(f"signal.signal(signal.SIGTERM, signal.SIG_IGN); open({str(up)!r}, 'w').close(); time.sleep(60)")
    started = time.monotonic()
    with pytest.raises(Stopped):
        go(argv, check=stops_once(up), grace=0.3)
    assert time.monotonic() - started < 5  # and the fixture finds it dead


def test_check_is_called_at_least_every_fifth_of_a_second(script: Script) -> None:
    times = [time.monotonic()]
    go(script("time.sleep(1.2)"), check=lambda: times.append(time.monotonic()))
    assert len(times) > 6  # 0.2 s apart, and not all the time
    assert len(times) < 100


def test_check_prevents_the_start(script: Script, tmp_path: Path) -> None:
    def check() -> None:
        raise Stopped

    with pytest.raises(Stopped):
        go(script(f"open({str(tmp_path / 'up')!r}, 'w').close()"), check=check)
    assert not (tmp_path / "up").exists()


def test_ctrl_c_stops_the_program(script: Script) -> None:
    timer = threading.Timer(0.6, signal.raise_signal, [signal.SIGINT])
    timer.start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        go(script("time.sleep(60)"))
    timer.join()
    assert time.monotonic() - started < 5


@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux'")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_program_stops_when_this_process_ends(script: Script, tmp_path: Path, number: signal.Signals) -> None:
    """The program, like Helm, prints that it was cancelled and then writes its record. Its output is not read any more."""
    record = tmp_path / "record"
    child = script(f"""
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        def stop(*_):
            time.sleep(0.2)
            print("cancelled", flush=True)
            print("cancelled", file=sys.stderr, flush=True)
            open({str(record)!r}, "w").write("failed\\n")
            sys.exit(1)
        signal.signal(signal.SIGTERM, stop)
        open({str(tmp_path / "up")!r}, "w").write("up\\n")
        time.sleep(60)
    """)
    program = f"from kubernaut.adapters.process import run\nrun({child!r}, environment={{}}, deadline=60)\n"
    ours = subprocess.Popen([sys.executable, "-c", program], cwd=Path(__file__).parents[3])
    wait_for(tmp_path / "up")
    ours.send_signal(number)
    ours.wait(10)
    assert wait_for(record) == "failed\n"


def test_program_runs_in_a_thread(script: Script) -> None:
    done: list[CompletedProcess] = []
    thread = threading.Thread(target=lambda: done.append(go(script("time.sleep(0.3); print('done')"))))
    thread.start()
    thread.join()
    assert done[0].stdout == b"done\n"


def test_program_has_default_signal_handlers_and_its_own_group(script: Script) -> None:
    done = go(script("print(signal.getsignal(signal.SIGINT) is signal.default_int_handler, os.getpgid(0) == os.getpid())"))
    assert done.stdout == b"True True\n"


def test_no_descriptor_leaks(script: Script) -> None:
    argv = script("print(1)")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        go(argv)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_missing_program_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ToolMissing, match="'nothing-like-it'"):
        find_program("nothing-like-it", os.environ["PATH"])
    broken = tmp_path / "helm"
    broken.write_text("not executable")
    with pytest.raises(ToolMissing):
        find_program(str(broken), None)
