"""benchmarks/race.py: what is made of the figures, and how they are told. Nothing is really run."""

from __future__ import annotations

import dataclasses
import importlib
import os
import pkgutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from kubernaut.errors import ClusterUnreachable

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """Load modules as a script finds them that is started there, and forget them again."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if name in {"measure", "race", "race_figures", "race_runs"}:
            del sys.modules[name]


@pytest.fixture
def figures(load: Callable[[str], ModuleType]) -> ModuleType:
    return load("race_figures")


def measured(figures: ModuleType, part: str = "", **changed: Any) -> Any:
    """Return figures that meet every target, but for what is changed in a part of them."""
    good = figures.Figures(
        figures.Cost([1.0, 2.0, 3.0], [0.9, 1.95, 2.9], [0.8, 0.8, 0.8]),
        figures.Killed(0.2, again=9.5, undisturbed=9.0, helm="pending-upgrade", helm_again=1),
        figures.Silent(32.5, status=5, code="lock_lost", until_ended=1.0, deployed=1),
        figures.Race(won=1, told=[0.4, 0.9, 0.3], else_said=[], alone=0.1),
    )
    return dataclasses.replace(good, **{part: dataclasses.replace(getattr(good, part), **changed)}) if part else good


def missed(figures: ModuleType, measured: Any) -> list[int]:
    return [number for number, verdict in enumerate(figures.verdicts(measured)) if not verdict.met]


@pytest.mark.parametrize(
    ("part", "changed", "misses"),
    [
        ("", {}, []),
        ("cost", {"safe": [1.15], "bare": [1.0]}, []),
        ("cost", {"safe": [1.16], "bare": [1.0]}, [0]),
        ("cost", {"safe": [1.0, 1.3, 9.0], "bare": [0.9, 1.2, 1.0]}, []),  # the median of the pairs: one odd pair does not count
        ("cost", {"safe": [1.2, 2.2, 1.0], "bare": [1.0, 2.0, 2.2]}, [0]),  # the sides' medians alone would hide it
        ("killed", {"until_failed": 5.0}, []),
        ("killed", {"until_failed": 5.01}, [1]),
        ("silent", {"until_taken": 35.0}, []),
        ("silent", {"until_taken": 35.1}, [2]),
        ("silent", {"status": 0}, [3]),
        ("silent", {"code": "conflict"}, [3]),
        ("silent", {"deployed": 2}, [3]),
        ("silent", {"deployed": 0}, [3]),
        ("race", {"won": 0}, [4]),
        ("race", {"won": 2}, [4]),
        ("race", {"else_said": ["Conflict"]}, [4]),
        ("race", {"told": [0.1, 2.0]}, []),
        ("race", {"told": [0.1, 2.01]}, [5]),
        ("race", {"told": []}, [4, 5]),
    ],
)
def test_verdicts_at_their_limits(figures: ModuleType, part: str, changed: dict[str, Any], misses: list[int]) -> None:
    assert missed(figures, measured(figures, part, **changed)) == misses


def test_each_figure_stands_beside_its_target(figures: ModuleType) -> None:
    assert [verdict.text for verdict in figures.verdicts(measured(figures, "race", else_said=["taken away"]))] == [
        "lock and operation: +100 ms a deploy; target: at most 150 ms",
        "kill -9: failed after 0.20 s; target: at most 5 s "
        "(plain Helm: still pending-upgrade then, the same command again ends with 1)",
        "silent holder: its lock taken after 32.5 s; target: at most 35 s",
        "silent holder: ends with 5 (lock_lost) 1.0 s after it goes on, 1 deployed; target: 5 (lock_lost), 1 deployed",
        "race: 1 of 5 won, 3 told who holds the lock (else said: taken away); target: 1, all others",
        "race: the slowest was told after 0.90 s (one that comes alone: 0.10 s); target: at most 2 s",
    ]


def test_the_table_shows_each_side(figures: ModuleType, load: Callable[[str], ModuleType]) -> None:
    lines = list(load("measure").report(figures.times(measured(figures))))
    assert [line.rsplit(maxsplit=4) for line in lines[1:]] == [
        ["deploy", "2.00", "1.00", "3.00", "3"],
        ["deploy, no lock", "1.95", "0.90", "2.90", "3"],
        ["helm upgrade", "0.80", "0.80", "0.80", "3"],
        ["slow deploy", "9.00", "9.00", "9.00", "1"],
        ["again after kill", "9.50", "9.50", "9.50", "1"],
        ["told in the race", "0.40", "0.30", "0.90", "3"],
        ["told alone", "0.10", "0.10", "0.10", "1"],
    ]
    assert "told in the race" not in figures.times(measured(figures, "race", told=[]))


@pytest.mark.parametrize(("deployed", "status", "word"), [(1, 0, "met"), (2, 1, "MISSED")])
def test_the_whole_bench_prints_figures_and_verdicts(
    load: Callable[[str], ModuleType],
    figures: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    deployed: int,
    status: int,
    word: str,
) -> None:
    race = load("race")
    asked: list[tuple[Any, ...]] = []
    monkeypatch.setattr(race, "platform", lambda name: {"NAME": name})
    monkeypatch.setattr(
        race, "_measure", lambda *arguments: asked.append(arguments) or measured(figures, "silent", deployed=deployed)
    )
    assert race.main(["--pairs", "3", "--deployers", "4", "--name", "other"]) == status
    output = capsys.readouterr().out
    assert asked == [({"NAME": "other"}, 3, 4)]
    assert "median" in output
    assert f"{word:<8}silent holder: ends with 5" in output


@pytest.mark.parametrize("name", ["Failed", "ClusterUnreachable"])
def test_what_fails_is_shown_instead_of_figures(
    load: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    race = load("race")

    def fail(*_: Any) -> None:
        raise race.Failed("not ready") if name == "Failed" else ClusterUnreachable("not ready")

    monkeypatch.setattr(race, "platform", lambda name: {})
    monkeypatch.setattr(race, "_measure", fail)
    assert race.main([]) == 7
    output, talk = capsys.readouterr()
    assert "Failed: not ready" in talk
    assert "median" not in output


@pytest.mark.parametrize("arguments", [["--pairs", "0"], ["--deployers", "1"]])
def test_too_few_to_compare(load: Callable[[str], ModuleType], arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        load("race").main(arguments)
    assert "must be at least" in capsys.readouterr().err


def test_what_is_compared_with_locks_nothing_and_leaves_the_product_as_it_was(load: Callable[[str], ModuleType]) -> None:
    runs = load("race_runs")
    names = (runs.LOCK, *runs.WRITES)
    before = [pkgutil.resolve_name(name) for name in names]
    with runs._nothing_locked():
        replaced = [pkgutil.resolve_name(name) for name in names]
        assert all(one is not real for one, real in zip(replaced, before, strict=True))
        with replaced[0](None, "there", "web", None, timeout=0.0, notify=print) as held:
            held.check()
            assert held.found.holder is None
        replaced[1](None, None)
    assert [pkgutil.resolve_name(name) for name in names] == before


@pytest.fixture
def place(tmp_path: Path) -> Any:
    return SimpleNamespace(folder=tmp_path, environment={"PATH": "/usr/bin:/bin"}, programs=[])


def test_a_program_is_timed_and_what_it_says_is_kept(load: Callable[[str], ModuleType], place: Any) -> None:
    runs = load("race_runs")
    program = runs.Program(["sh", "-c", 'echo \'{"code": "lock_lost"}\'; echo talk >&2'], place)
    assert program.seconds() > 0
    assert runs._code(program) == "lock_lost"
    assert program.said().endswith("talk\n")
    with pytest.raises(runs.Failed, match=r"exit status 3\nno such thing"):
        runs.Program(["sh", "-c", "echo no such thing; exit 3"], place).seconds()


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc, as the local platform does")
def test_a_program_is_signalled_with_all_that_it_started(load: Callable[[str], ModuleType], place: Any) -> None:
    """Silence is silence only if Helm is silent too; and what was silenced is not left behind."""
    runs = load("race_runs")
    program = runs.Program(["sh", "-c", "sh -c 'sleep 60; :'; :"], place)
    children = runs.until(lambda: len(found := runs._descendants(program.process.pid)) == 2 and found, "it has started", 10.0)
    everybody = (program.process.pid, *children)
    program.signal(runs.signal.SIGSTOP)
    runs.until(lambda: {_state(pid) for pid in everybody} == {"T"}, "all stand still", 10.0)
    program.stop()
    assert program.process.returncode == -15
    for pid in children:
        os.kill(pid, 9)


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_what_does_not_happen_ends_the_bench(load: Callable[[str], ModuleType]) -> None:
    runs = load("race_runs")
    with pytest.raises(runs.Failed, match="not happen in 0 s: the sky falls"):
        runs.until(lambda: False, "the sky falls", 0.0)
