"""benchmarks/ci.py: what is made of the figures, and how they are told. Nothing is really run."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """Load modules as a script finds them that is started there, and forget them again."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    yield importlib.import_module
    for name in ("measure", "ci", "ci_figures"):
        sys.modules.pop(name, None)


@pytest.fixture
def figures(load: Callable[[str], ModuleType]) -> ModuleType:
    return load("ci_figures")


def measured(figures: ModuleType, part: str = "", **changed: Any) -> Any:
    """Return figures that meet every target, but for what is changed in a part of them."""
    good = figures.Figures(
        deploy=figures.Turns([3.0, 9.0, 4.0], [2.0, 8.5, 3.0]),
        push=figures.Turns([9.0, 8.0], [5.0, 5.0]),
        followed=figures.Followed([0.1, 1.1], requests=15, seconds=15.0),
    )
    return dataclasses.replace(good, **{part: dataclasses.replace(getattr(good, part), **changed)}) if part else good


@pytest.mark.parametrize(
    ("part", "changed", "misses"),
    [
        ("", {}, []),
        ("deploy", {"ci": [3.5], "hand": [2.0]}, []),
        ("deploy", {"ci": [3.51], "hand": [2.0]}, [0]),
        ("deploy", {"ci": [2.0, 2.0, 30.0], "hand": [2.0, 2.0, 2.0]}, []),  # one odd pair does not count
        ("push", {"ci": [10.0], "hand": [5.0]}, []),
        ("push", {"ci": [10.1], "hand": [5.0]}, [1]),
        ("followed", {"behind": [0.1, 2.0]}, []),
        ("followed", {"behind": [0.1, 2.1, 0.1]}, [2]),
        ("followed", {"requests": 16}, [3]),
    ],
)
def test_verdicts_at_their_limits(figures: ModuleType, part: str, changed: dict[str, Any], misses: list[int]) -> None:
    found = [number for number, verdict in enumerate(figures.verdicts(measured(figures, part, **changed))) if not verdict.met]
    assert found == misses


def test_each_figure_stands_beside_its_target(figures: ModuleType) -> None:
    assert [verdict.text for verdict in figures.verdicts(measured(figures))] == [
        "a Deploy build: +1.00 s beside the command by hand; target: at most +1.5",
        "push to greeting: +3.50 s beside `ship` by hand; target: at most +5.0",
        "a line of the console: shown after 1.10 s at most; target: 2.0",
        "following: 15 requests in 15.0 s, 1.00 a second; target: at most 1",
    ]


@pytest.mark.parametrize(("requests", "status", "word"), [(15, 0, "met"), (16, 1, "MISSED")])
def test_the_whole_bench_prints_figures_and_verdicts(
    load: Callable[[str], ModuleType],
    figures: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    requests: int,
    status: int,
    word: str,
) -> None:
    bench = load("ci")
    monkeypatch.setattr(bench, "_measure", lambda name, pairs: measured(figures, "followed", requests=requests))
    assert bench.main([]) == status
    said = capsys.readouterr().out
    assert "push to greeting      8.50" in said
    assert said.splitlines()[-1].startswith(f"{word} ")


def test_what_fails_is_told_and_ends_the_bench(
    load: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bench, failed = load("ci"), load("measure").Failed

    def fail(name: str, pairs: int) -> SimpleNamespace:
        raise failed(f"{name} with {pairs}")

    monkeypatch.setattr(bench, "_measure", fail)
    assert bench.main(["--name", "mine", "--pairs", "2"]) == 7
    assert capsys.readouterr().err == "Failed: mine with 2\n"
