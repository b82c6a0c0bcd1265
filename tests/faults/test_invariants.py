"""The checker of histories fails on each history that is broken, and on none that is sound."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from support.invariants import Attempted, Seen, Snapshot, Watched, snapshot
from support.records import DIGEST, made, operation, record, record_secret

from kubernaut.history.operation_codec import operation_secret
from kubernaut.history.records import decode, encode


def seen(revision: int, status: str, **more: Any) -> Seen:
    known = {"label": status, "uid": f"u{revision}", "identity": f"i{revision}", "operation": f"op{revision}", "own": True, **more}
    return Seen(revision=revision, status=status, **known)


def attempted(revision: int, outcome: str = "succeeded", verb: str = "deploy", **more: Any) -> Attempted:
    return Attempted(**{"id": f"op{revision}", "verb": verb, "outcome": outcome, "digest": "d", "made": made_by(revision), **more})


def made_by(revision: int, digest: str = "d") -> tuple[tuple[str, int, str], ...]:
    return ((f"u{revision}", revision, digest),)


SOUND = Snapshot(
    records=(seen(1, "superseded"), seen(2, "failed"), seen(3, "deployed")),
    operations=(attempted(1), attempted(2, "helm_failed"), attempted(3)),
)
HELD = {"spec": {"holderIdentity": "another"}}


def names(broken: Sequence[str]) -> set[str]:
    return {line.partition(":")[0] for line in broken}


def watched(snapshot: Snapshot = SOUND) -> Watched:
    made = Watched()
    made.remember(snapshot)
    return made


def test_sound_history_passes() -> None:
    assert Watched().broken(SOUND, recovered=True) == []
    assert watched().broken(SOUND, recovered=True) == []
    assert Watched().broken(Snapshot(()), recovered=True) == []


def test_sound_successors_pass() -> None:
    grown = replace(SOUND, records=(*SOUND.records[:2], seen(3, "superseded"), seen(4, "deployed")))
    assert watched().broken(grown, recovered=True) == []
    deleted = replace(SOUND, records=(*SOUND.records[:2], seen(3, "uninstalled")))
    assert watched().broken(deleted, recovered=True) == []
    recreated = replace(SOUND, records=(*SOUND.records[:2], seen(3, "deployed", uid="another")))
    assert watched().broken(recreated, recovered=True) == []
    pruned = replace(SOUND, records=(*SOUND.records[1:2], seen(3, "superseded"), seen(4, "deployed")))
    assert watched().broken(pruned, history_max=3) == []


def test_rollback_carries_the_labels_of_its_target() -> None:
    back = seen(4, "deployed", operation="op1", own=False)
    grown = Snapshot(
        (*SOUND.records[:2], seen(3, "superseded"), back), (*SOUND.operations, attempted(4, verb="rollback", made=made_by(4)))
    )
    assert watched().broken(grown, recovered=True) == []


@pytest.mark.parametrize(
    ("name", "now"),
    [
        ("I1", replace(SOUND, records=(seen(1, "deployed"), *SOUND.records[1:]))),
        ("I1", replace(SOUND, records=(seen(1, "superseded", label="deployed"), *SOUND.records[1:]))),
        ("I1", replace(SOUND, records=(seen(1, "deployed", label="superseded"), *SOUND.records[1:]))),
        ("I2", replace(SOUND, records=(*SOUND.records[:2], seen(3, "deployed", identity="another")))),
        ("I2", replace(SOUND, records=(seen(0, "failed"), *SOUND.records))),
        ("I2", replace(SOUND, records=(*SOUND.records, seen(3, "failed", operation="")))),
        ("I3", replace(SOUND, operations=(attempted(3, made=()),))),
        ("I3", replace(SOUND, operations=(attempted(4),))),
        ("I3", replace(SOUND, operations=(attempted(2),))),
        ("I3", replace(SOUND, operations=(attempted(3, id="other"),))),
        ("I3", replace(SOUND, operations=(attempted(3, made=made_by(3, "e")),))),
        ("I3", replace(SOUND, operations=(attempted(3, digest="", made=made_by(3, "")),))),
        ("I3", replace(SOUND, records=(*SOUND.records[:2], seen(3, "deployed", own=False)))),
        ("I5", replace(SOUND, records=(seen(1, "superseded"), seen(2, "failed", operation="op1"), seen(3, "deployed")))),
        ("I6", replace(SOUND, records=SOUND.records[1:])),
        ("I6", replace(SOUND, records=(SOUND.records[0], SOUND.records[2]))),
        ("I6", Snapshot(())),
        ("I7", replace(SOUND, records=(*SOUND.records[:2], seen(3, "deployed", label="failed")))),
    ],
)
def test_broken_history_is_reported(name: str, now: Snapshot) -> None:
    assert name in names(watched().broken(now))


@pytest.mark.parametrize(
    ("name", "now"),
    [
        ("I4", replace(SOUND, records=(*SOUND.records, seen(4, "pending-upgrade")))),
        ("I4", replace(SOUND, records=(*SOUND.records, seen(4, "failed", label="pending-rollback")))),
        ("I4", replace(SOUND, records=(*SOUND.records[:2], seen(3, "uninstalling")))),
        ("I4", replace(SOUND, lease=HELD)),
        ("I4", replace(SOUND, aside=(2,))),
        ("I8", replace(SOUND, operations=(*SOUND.operations, attempted(4, "", made=())))),
    ],
)
def test_unfinished_history_is_reported_after_a_recovery_only(name: str, now: Snapshot) -> None:
    assert name in names(watched().broken(now, recovered=True))
    assert name not in names(watched().broken(now))


def test_pruning_does_not_excuse_a_gap() -> None:
    now = replace(SOUND, records=(seen(1, "superseded"), seen(3, "superseded"), seen(4, "deployed")))
    assert names(watched().broken(now, history_max=3)) == {"I6"}


def test_copy_set_aside_counts_as_the_record() -> None:
    assert "I6" not in names(watched().broken(replace(SOUND, records=SOUND.records[:2], aside=(3,))))


def test_forgotten_record_is_not_missed() -> None:
    remembers = watched()
    remembers.forget(1)
    assert remembers.broken(replace(SOUND, records=SOUND.records[1:])) == []


def test_snapshot_reads_secrets() -> None:
    first, second = record(1, "superseded"), record(2, "deployed")
    mine = operation("op", made=(made(second),))
    labels = {"kubernaut/operation": "op", "kubernaut/revision": "2"}
    secrets = [record_secret(2, "deployed", labels=labels), record_secret(1, "superseded", label="failed")]
    found = snapshot([*secrets, operation_secret(mine)], HELD)
    assert [(one.revision, one.label, one.status, one.operation, one.own) for one in found.records] == [
        (1, "failed", "superseded", "", False),
        (2, "deployed", "deployed", "op", True),
    ]
    assert found.operations == (Attempted("op", "deploy", "succeeded", DIGEST, ((second.uid, 2, DIGEST),)),)
    assert found.lease == HELD
    assert found.records[0].uid == first.uid
    assert names(Watched().broken(found, recovered=True)) == {"I4", "I7"}


def test_identity_covers_the_immutable_fields() -> None:
    def identity(**changed: Any) -> str:
        secret = record_secret(1, "deployed")
        decoded = decode(secret)
        assert decoded is not None
        content = json.loads(json.dumps(decoded.content))
        for path, value in changed.items():
            *parts, last = path.split("__")
            inner = content
            for part in parts:
                inner = inner[part]
            inner[last] = value
        secret["data"]["release"] = encode(content)
        return snapshot([secret]).records[0].identity

    assert identity(info__status="failed", info__description="x", info__deleted="now") == identity()
    for changed in ({"config": {"a": 1}}, {"manifest": "x"}, {"info__last_deployed": "y"}, {"chart__metadata__version": "9"}):
        assert identity(**changed) != identity()


def test_unreadable_record_goes_by_its_label() -> None:
    broken = snapshot([record_secret(1, "deployed", payload="bm9uc2Vuc2U=")])
    assert (broken.records[0].status, broken.records[0].identity) == ("deployed", "")
    assert Watched().broken(broken) == []
