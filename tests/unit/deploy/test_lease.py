"""The codec of the Lease: written, read again, and read with any content."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubernaut.ci import CiBuild
from kubernaut.deploy.lock.lease import Holder, decode_lease, lease_manifest, new_holder

NOW = datetime(2026, 3, 1, 12, 3, 11, 250_000, tzinfo=UTC)
ADA = new_holder("01op", "deploy", "ada", host="ci-7", process="boot/4242", build=CiBuild(url="http://ci/7"), since=NOW)


def written(holder: Holder = ADA, *, seconds: float = 30.0, renewed: datetime = NOW, transitions: int = 0) -> dict[str, Any]:
    return lease_manifest("demo", "web", holder, seconds=seconds, acquired=NOW, renewed=renewed, transitions=transitions)


def edited(**spec: Any) -> dict[str, Any]:
    made = written()
    return {**made, "spec": {**made["spec"], **spec}}


def test_lease_manifest() -> None:
    assert written(renewed=NOW + timedelta(seconds=5), transitions=3) == {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": "kubernaut.web",
            "namespace": "demo",
            "labels": {"owner": "kubernaut", "name": "web"},
            "annotations": {
                "kubernaut/actor": "ada",
                "kubernaut/host": "ci-7",
                "kubernaut/process": "boot/4242",
                "kubernaut/build-url": "http://ci/7",
                "kubernaut/verb": "deploy",
                "kubernaut/operation": "01op",
            },
        },
        "spec": {
            "holderIdentity": "ada@ci-7/01op",
            "leaseDurationSeconds": 30,
            "acquireTime": "2026-03-01T12:03:11.250000Z",
            "renewTime": "2026-03-01T12:03:16.250000Z",
            "leaseTransitions": 3,
        },
    }


def test_lease_times_are_utc_with_six_digits() -> None:
    elsewhere = NOW.replace(microsecond=0).astimezone(datetime.strptime("+0530", "%z").tzinfo)
    assert written(renewed=elsewhere)["spec"]["renewTime"] == "2026-03-01T12:03:11.000000Z"


@pytest.mark.parametrize(("seconds", "there"), [(30.0, 30), (0.2, 1), (1.5, 2)])
def test_lease_duration_is_whole_seconds(seconds: float, there: int) -> None:
    assert written(seconds=seconds)["spec"]["leaseDurationSeconds"] == there


def test_holder_is_decoded_as_encoded() -> None:
    assert decode_lease(written()).holder == ADA
    plain = replace(ADA, build=None)
    assert decode_lease(written(plain)).holder == plain


@given(st.text(), st.text(), st.text())
def test_holder_recognizes_itself_with_any_name(actor: str, host: str, operation: str) -> None:
    holder = new_holder(operation, "deploy", actor, host=host, process="p", since=NOW)
    made = written(holder)
    assert decode_lease(made).is_held_by(holder)
    found = decode_lease(made).holder
    assert found is not None
    assert (str(found) + found.identity).isprintable()
    assert not decode_lease(made).is_held_by(ADA)


def test_two_operations_of_one_actor_are_two_holders() -> None:
    again = new_holder("02op", "deploy", "ada", host="ci-7", process="boot/4242", build=CiBuild(url="http://ci/7"), since=NOW)
    assert not decode_lease(written()).is_held_by(again)


@pytest.mark.parametrize(
    "lease",
    [
        {},
        {"spec": None},
        {"spec": {}},
        {"spec": []},
        edited(holderIdentity=""),
        edited(holderIdentity=" "),
        edited(holderIdentity=None),
        edited(holderIdentity=7),
    ],
)
def test_lease_without_a_holder(lease: dict[str, Any]) -> None:
    assert decode_lease(lease).holder is None
    assert not decode_lease(lease).is_held_by(ADA)


def test_holder_of_another_tool() -> None:
    found = decode_lease({"spec": {"holderIdentity": "other-tool_1"}}).holder
    assert found == Holder("other-tool_1")
    assert str(found) == "the holder 'other-tool_1'"


@pytest.mark.parametrize(
    "annotations", [None, [], "x", {"kubernaut/actor": None, "kubernaut/host": 3, "kubernaut/verb": {}}, {"else": "x"}]
)
def test_invalid_annotations_are_ignored(annotations: Any) -> None:
    found = decode_lease(
        {"metadata": {"annotations": annotations}, "spec": {"holderIdentity": "x", "acquireTime": "yesterday"}}
    ).holder
    assert found == Holder("x")


def test_holder_is_printable() -> None:
    found = decode_lease(
        {"metadata": {"annotations": {"kubernaut/actor": "ada\x1b[2J\nbob"}}, "spec": {"holderIdentity": "x"}}
    ).holder
    assert found is not None
    assert str(found) == "ada?[2J?bob"


@pytest.mark.parametrize(
    ("seconds", "holds"),
    [(30, 30), (1, 1), (29, 29), (31, 30), (0, 30), (-5, 30), (2**31 - 1, 30), (None, 30), ("5", 30), (True, 30), (2.5, 30)],
)
def test_absurd_duration_is_thirty_seconds(seconds: Any, holds: int) -> None:
    assert decode_lease(edited(leaseDurationSeconds=seconds)).seconds == holds
    assert decode_lease({}).seconds == 30


@pytest.mark.parametrize(("transitions", "known"), [(4, 4), (0, 0), (None, 0), (-1, 0), ("4", 0), (True, 0), (2**31 - 1, 0)])
def test_transitions_of_a_lease(transitions: Any, known: int) -> None:
    assert decode_lease(edited(leaseTransitions=transitions)).transitions == known


@pytest.mark.parametrize(
    ("age", "fresh", "stale"),
    [
        (0.0, True, False),
        (30.0, True, False),
        (30.1, False, True),
        (3600.0, False, True),
        (-0.1, False, False),
        (-3600.0, False, False),
    ],
)
def test_freshness_by_the_wall_clock(age: float, fresh: bool, stale: bool) -> None:
    now = NOW + timedelta(seconds=age)
    assert (decode_lease(written()).seems_fresh(now), decode_lease(written()).seems_stale(now)) == (fresh, stale)


def test_freshness_uses_the_leases_duration() -> None:
    assert not decode_lease(written(seconds=5)).seems_fresh(NOW + timedelta(seconds=6))
    assert decode_lease(written(seconds=5)).seems_stale(NOW + timedelta(seconds=6))


@pytest.mark.parametrize("time", [None, "", "soon", 7, {}, "0001-01-01T00:00:00+23:00", "2026-13-01T00:00:00Z"])
def test_invalid_renew_time_is_stale(time: Any) -> None:
    assert not decode_lease(edited(renewTime=time)).seems_fresh(NOW)
    assert decode_lease(edited(renewTime=time)).seems_stale(NOW)


def test_renew_time_of_other_tools_is_parsed() -> None:
    for text in ("2026-03-01T12:03:11Z", "2026-03-01T13:03:11+01:00", "2026-03-01T12:03:11.123456789Z", "2026-03-01T12:03:11"):
        assert decode_lease(edited(renewTime=text)).seems_fresh(NOW)


@pytest.mark.parametrize(
    ("holder", "words"),
    [
        (ADA, "ada on ci-7 (deploy since 12:03:11 UTC, http://ci/7)"),
        (replace(ADA, build=None), "ada on ci-7 (deploy since 12:03:11 UTC)"),
        (replace(ADA, since=None), "ada on ci-7 (deploy, http://ci/7)"),
        (replace(ADA, since=None, build=None, verb=""), "ada on ci-7"),
        (Holder("x", since=NOW), "the holder 'x' (since 12:03:11 UTC)"),
        (Holder("x", actor="ada"), "ada"),
    ],
)
def test_description_of_a_holder(holder: Holder, words: str) -> None:
    assert str(holder) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7199, "119 min"),
        (7200, "2 h"),
        (172_799, "47 h"),
        (172_800, "2 days"),
        (-1, ""),
    ],
)
def test_held_for(seconds: int, words: str) -> None:
    assert ADA.held_for(NOW + timedelta(seconds=seconds)) == words
    assert Holder("x").held_for(NOW) == ""


def test_replacement_names_the_lease_that_was_read() -> None:
    old = {"metadata": {"name": "kubernaut.web", "uid": "u", "resourceVersion": "7", "labels": {"old": "x"}}}
    new = lease_manifest("demo", "web", ADA, seconds=30, acquired=NOW, renewed=NOW, replaces=decode_lease(old))
    assert decode_lease(new).version == ("u", "7")
    assert new["metadata"]["labels"] == {"owner": "kubernaut", "name": "web"}
    assert new["spec"] == written()["spec"]
