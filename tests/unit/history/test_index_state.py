"""Tests of the index's state and of its background calls: older data never replaces newer, in any order of events."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from kubernaut.history.index.cache import prefetch, run_in_background
from kubernaut.history.index.state import IndexState, is_newer, name_range
from kubernaut.history.index.summaries import NamespacedName as Name
from kubernaut.history.index.summaries import RecordMetadata

NAME = Name("demo", "a")


def seen(revision: int = 1, version: str = "5", *, uid: str | None = None, name: Name = NAME, **fields: object) -> RecordMetadata:
    secret = f"sh.helm.release.v1.{name.name}.v{revision}"
    metadata = RecordMetadata(name, secret, uid or f"uid-{name}-{revision}", version, revision, "deployed", record_uid="r")
    return replace(metadata, **fields)  # type: ignore[arg-type]


def revisions(known: IndexState, name: Name = NAME) -> list[tuple[int, str]]:
    return [(row.metadata.revision, row.metadata.version) for row in known.get(name).revisions()]


@pytest.mark.parametrize(
    ("version", "than", "newer"), [("10", "9", True), ("9", "10", False), ("9", "9", False), ("a", "b", True), ("a", "a", False)]
)
def test_resource_versions_are_compared_as_numbers_if_possible(version: str, than: str, newer: bool) -> None:
    assert is_newer(version, than) is newer


def test_older_metadata_is_ignored() -> None:
    known = IndexState()
    assert known.update(seen(version="10"))
    assert not known.update(seen(version="9"))
    assert not known.update(seen(version="10"))
    assert known.update(seen(version="11"))
    assert revisions(known) == [(1, "11")]


def test_late_metadata_does_not_restore_a_deleted_secret() -> None:
    known = IndexState()
    known.update(seen(version="5"))
    assert known.delete(seen(version="5"), "8")
    assert not known.update(seen(version="7"))
    assert not known.delete(seen(version="5"), "8")
    assert revisions(known) == []
    assert known.names == []
    assert known.update(seen(version="9", uid="another")), "of the same name, and another"
    assert known.update(seen(2, "9", uid="uid-late"))


def test_deletion_holds_for_versions_that_are_not_numbers() -> None:
    known = IndexState()
    known.update(seen(version="x"))
    known.delete(seen(version="x"), "y")
    assert not known.update(seen(version="z"))


def test_secret_that_matches_the_selector_again_is_restored() -> None:
    known = IndexState()
    known.update(seen(version="5"))
    known.delete(seen(version="5"), "8")
    assert known.update(seen(version="9"))


def test_late_deletion_spares_a_new_secret_of_the_same_name() -> None:
    known = IndexState()
    known.update(seen(version="9", uid="new"))
    assert not known.delete(seen(version="5", uid="old"), "10")
    assert revisions(known) == [(1, "9")]


def test_replace_removes_older_secrets_that_are_not_listed() -> None:
    known = IndexState()
    for metadata in (seen(1, "5"), seen(2, "6"), seen(3, "12"), seen(1, "5", name=Name("prod", "b"))):
        known.update(metadata)
    assert known.replace("demo", [seen(1, "7")], "10") == {NAME}
    assert revisions(known) == [(3, "12"), (1, "7")]
    assert revisions(known, Name("prod", "b")) == [(1, "5")], "which is in another namespace"
    assert known.replace(None, [], "12") == {NAME, Name("prod", "b")}
    assert (known.names, known.active) == ([], [])


def test_late_events_do_not_undo_a_whole_read_of_a_name() -> None:
    known = IndexState()
    known.update(seen(1, "5"))
    assert known.replace_name(NAME, [seen(2, "8")], "10")
    assert not known.update(seen(3, "9")), "made and deleted before it was read"
    assert not known.update(seen(1, "6"))
    assert revisions(known) == [(2, "8")]
    assert known.update(seen(3, "11"))
    assert known.update(seen(1, "9", name=Name("demo", "other"))), "which was not read"
    assert not known.replace_name(NAME, [seen(2, "8"), seen(3, "11")], "12"), "it is as it was"


def test_list_older_than_a_whole_read_does_not_undo_it() -> None:
    known = IndexState()
    known.replace_name(NAME, [seen(2, "8")], "10")
    assert known.replace(None, [seen(1, "5"), seen(2, "8")], "9") == set()
    assert revisions(known) == [(2, "8")]
    known.replace(None, [seen(1, "11")], "12")
    assert revisions(known) == [(1, "11")]


def test_set_aside_copy_stands_in_for_a_missing_record() -> None:
    known = IndexState()
    known.update(seen(2, "5"))
    for revision in (1, 2):
        known.update(seen(revision, "6", copy=True, secret=f"kubernaut.aside.a.v{revision}", uid=f"copy-{revision}"))
    assert [(row.metadata.revision, row.metadata.copy) for row in known.get(NAME).revisions()] == [(2, False), (1, True)]


def test_names_are_sorted() -> None:
    known = IndexState()
    for name in (
        Name("b", "x"),
        Name("a-b", "z"),
        Name("a", "y"),
        Name("a", "b"),
        Name("ab", "a"),
    ):
        known.update(seen(name=name))
    assert known.names == sorted(known.names)
    assert [known.names[index] for index in name_range(known.names, "a")] == [Name("a", "b"), Name("a", "y")]
    assert [name for name, _ in known.items("a-b")] == [Name("a-b", "z")]
    assert list(name_range(known.names, "none")) == []
    assert len(name_range(known.names, None)) == 5


def test_run_in_background_returns_at_once() -> None:
    proceed = threading.Event()
    called = run_in_background(lambda: proceed.wait(10))
    assert not called.done()
    proceed.set()
    assert called.result(10)


def test_run_in_background_raises_from_result() -> None:
    with pytest.raises(ZeroDivisionError):
        run_in_background(lambda: 1 // 0).result(10)


def test_prefetch_computes_the_next_item_early() -> None:
    got = [threading.Event() for _ in range(3)]

    def things() -> Iterator[int]:
        for number, event in enumerate(got):
            event.set()
            yield number

    for number in prefetch(things()):
        assert all(event.wait(10) for event in got[: number + 2])


def test_prefetch_raises_in_place_of_the_item() -> None:
    def things() -> Iterator[int]:
        yield 1
        raise ZeroDivisionError

    found = prefetch(things())
    assert next(found) == 1
    with pytest.raises(ZeroDivisionError):
        next(found)
