"""The state machine on a cluster and a Helm in memory: kills after any write, orphans, other machines, time that passes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import strategies as st
from support.machine import VARIANTS, Machine, settings_of
from support.machine_in_memory import InMemory


class InMemoryMachine(Machine):
    """A verb is killed at any of its writes."""

    system = InMemory
    kills = st.tuples(st.integers(0, 16), st.booleans())


TestMachine = pytest.mark.slow(InMemoryMachine.TestCase)
TestMachine.settings = settings_of(examples=200, steps=20)


Step = Callable[[InMemoryMachine], None]


def deploys(what: str = VARIANTS[0], **how: Any) -> Step:
    return lambda machine: machine.do("deploy", what=what, **how)


def does(verb: str, **how: Any) -> Step:
    return lambda machine: machine.do(verb, **how)


def leaves(verb: str, **how: Any) -> Step:
    return lambda machine: machine.plain_verb(verb, ends=False, **how)


STUCK = VARIANTS[3]
BROKEN_OFF = (deploys(VARIANTS[1], kill=(2, True)), does("delete", kill=(4, True)))
FOUND: Mapping[str, tuple[int, tuple[Step, ...]]] = {
    "a deploy after a restore of v9": (9, (does("delete"), does("restore"), deploys(VARIANTS[1]))),
    "plain Helm uninstalls what was deployed": (0, (deploys(), leaves("uninstall"), does("delete"))),
    "plain Helm goes back after a deploy": (1, (deploys(VARIANTS[1]), leaves("rollback", revision=1), does("restore"), deploys())),
    "a deploy after one that was late": (
        1,
        (deploys(VARIANTS[1], fails="late"), deploys(VARIANTS[2], kill=(3, True)), deploys(VARIANTS[2], fails="late"), deploys()),
    ),
    "a failed deploy after a delete that was unlocked": (
        0,
        (
            deploys(),
            lambda machine: machine.plain_verb("rollback", revision=1),
            leaves("uninstall"),
            does("unlock"),
            deploys(fails="rolled back"),
        ),
    ),
    "a restore after a failing deploy that was killed": (
        1,
        (deploys(VARIANTS[1], fails="rolled back", kill=(5, True)), leaves("uninstall"), does("restore")),
    ),
    "a deploy that was not seen through": (0, (deploys(kill=(3, True)), deploys())),
    "a record whose recreation broke off": (1, (*BROKEN_OFF, deploys(VARIANTS[2]), does("delete"))),
    "an unlock after a recreation broke off": (1, (*BROKEN_OFF, does("unlock"))),
    "a rollback that was killed goes on": (3, (does("rollback", revision=1, kill=(2, True)), does("rollback"))),
    "every verb after a delete whose hook failed": (
        1,
        (
            deploys(STUCK),
            does("delete"),
            does("restore"),
            deploys(),
            does("rollback", revision=2),
            does("delete"),
            does("unlock"),
            deploys(),
            does("delete"),
        ),
    ),
    "a way out without hooks of each verb": (
        1,
        (
            deploys(STUCK),
            does("delete"),
            deploys(),
            deploys(no_hooks=True),
            deploys(STUCK),
            does("delete"),
            does("restore", no_hooks=True),
            does("delete"),
            does("delete", no_hooks=True),
        ),
    ),
    "an unlock that is killed while it recreates": (
        1,
        (deploys(STUCK), does("delete"), does("restore"), does("unlock", kill=(2, True)), does("unlock"), deploys()),
    ),
    "a killed delete of what plain Helm did not apply": (
        1,
        (does("delete"), leaves("install", what=STUCK), does("unlock"), does("delete", kill=(9, False)), does("unlock")),
    ),
    "an orphan that ends while a record is recreated": (
        1,
        (
            leaves("rollback", revision=1),
            lambda machine: machine.grow_old(),
            does("delete"),
            deploys(VARIANTS[0], kill=(6, False)),
            lambda machine: machine.orphan_ends(),
        ),
    ),
    "a rollback that failed before it made a revision is not repeated after a restore": (
        7,
        (
            deploys(STUCK),
            does("delete"),
            does("rollback"),
            does("restore", no_hooks=True),
            does("delete"),
            does("unlock"),
            does("rollback", fails=True),
        ),
    ),
    "an orphan whose record was replaced": (
        1,
        (deploys(VARIANTS[1], kill=(2, True)), does("delete"), deploys(VARIANTS[2]), lambda machine: machine.orphan_ends()),
    ),
}


@pytest.mark.parametrize("found", FOUND)
def test_regressions(found: str) -> None:
    count, steps = FOUND[found]
    machine = InMemoryMachine()
    machine.start(count)
    for step in steps:
        step(machine)
        machine.matches_the_model()
