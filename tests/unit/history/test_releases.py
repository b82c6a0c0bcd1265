"""Tests of releases, their IDs and their manifests."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from support.records import DIGEST, made, operation, own, record

from kubernaut.ci import CiBuild
from kubernaut.errors import NameInvalid
from kubernaut.history.records import OPERATION_LABEL, REVISION_LABEL
from kubernaut.history.releases import (
    Release,
    ReleaseHistoryList,
    ReleaseId,
    ReleaseList,
    describe,
    find_operation,
    serving_revision,
)

MANIFEST = "kind: Pod\nspec: {containers: [{image: 'r/a:1@sha256:aa'}, {image: r/b}]}\n"
ANNOTATIONS = {
    "org.opencontainers.image.revision": "31fba06",
    "org.opencontainers.image.source": "https://git",
    "kubernaut/build-url": "http://b/1",
}


def test_release_has_the_documented_fields() -> None:
    names = [field.alias for field in Release.model_fields.values() if not field.exclude]
    assert names == [
        "id",
        "uid",
        "namespace",
        "name",
        "revision",
        "status",
        "active",
        "serving",
        "managedBy",
        "chart",
        "appVersion",
        "images",
        "source",
        "build",
        "createdBy",
        "note",
        "createdAt",
        "updatedAt",
        "deletedAt",
        "description",
        "outcome",
        "operation",
        "unread",
        "health",
    ]


def test_release_made_by_kubernaut_is_described() -> None:
    found = own(2, "deployed", manifest=MANIFEST, annotations=ANNOTATIONS)
    release = describe(found, [found], [operation(build=None)])
    assert (release.id, release.active, release.serving, release.managed_by) == ("demo.hello.v2", True, 2, "kubernaut")
    assert (release.created_by, release.operation) == ("ada", "op")
    assert release.chart.model_dump() == {"name": "hello", "version": "1.0.0", "ref": f"oci://r/hello@{DIGEST}", "digest": DIGEST}
    assert [(image.ref, image.digest) for image in release.images] == [("r/a:1@sha256:aa", "sha256:aa"), ("r/b", None)]
    assert (release.source.commit, release.source.repository) == ("31fba06", "https://git")
    assert release.build.url == "http://b/1"
    assert release.created_at == datetime(2026, 11, 22, 11, 0, 0, 123456, tzinfo=UTC)
    assert release.outcome is not None
    assert release.outcome.reason == "succeeded"


def test_deploying_build_precedes_the_publishing_build() -> None:
    found = own(2, "deployed", annotations=ANNOTATIONS)
    deployer = CiBuild(url="http://deploy/7", job="shop-deploy", number=7)
    assert describe(found, [found], [operation(build=deployer)]).build == deployer
    assert describe(found, [found], [operation(build=None)]).build == CiBuild(url="http://b/1")


def test_publishing_build_is_read_from_chart_annotations() -> None:
    known = {"url": "https://ci/7", "job": "team/shop-release", "number": "7", "tag": "jenkins-7", "change": "31"}
    found = own(2, "deployed", annotations={f"kubernaut/build-{name}": text for name, text in known.items()})
    build = describe(found, [found], [operation()]).build
    assert build == CiBuild(url="https://ci/7", job="team/shop-release", number=7, tag="jenkins-7", change="31")
    strange = own(2, "deployed", annotations={"kubernaut/build-url": "javascript:alert(1)", "kubernaut/build-number": "seven"})
    assert describe(strange, [strange], [operation()]).build == CiBuild()


def test_foreign_release_has_no_invented_facts() -> None:
    found = record(1, "deployed")
    release = describe(found, [found], [operation()])
    assert release.managed_by == "helm"
    assert (release.created_by, release.operation, release.outcome, release.chart.digest, release.chart.ref) == (None,) * 5


def test_copied_labels_are_ignored() -> None:
    """Plain ``helm upgrade`` and ``helm rollback`` copy our labels onward; the record would name the wrong person."""
    copied = record(3, "deployed", labels={OPERATION_LABEL: "op", REVISION_LABEL: "2"})
    assert describe(copied, [copied], [operation()]).managed_by == "helm"


def test_operation_is_found_by_recorded_uid() -> None:
    """So a rollback of ours is known, though Helm gave its record the target's labels."""
    first = own(1, "superseded")
    back = record(2, "deployed", labels=dict(first.labels))
    mine = operation("back", verb="rollback", made=(made(back),)).model_copy(update={"actor": "grace"})
    operations = [mine, operation()]
    assert describe(back, [back, first], operations).created_by == "grace"
    assert describe(first, [back, first], operations).created_by == "ada"
    purged = record(2, "deployed", namespace="other", labels=dict(first.labels))
    assert find_operation(purged, operations) is None


def test_delete_does_not_replace_the_deployer() -> None:
    found = own(1, "uninstalled")
    deletion = operation("del", verb="delete", made=(made(found),)).model_copy(update={"actor": "grace"})
    release = describe(found, [found], [deletion, operation()])
    assert release.created_by == "ada"
    assert not release.active


def test_automatic_rollback_names_the_failed_release() -> None:
    failed, back = own(2, "failed"), record(3, "deployed")
    attempt = operation(reason="deploy_rolled_back", made=(made(failed), made(back, "sha256:b")))
    described = describe(back, [back, failed], [attempt])
    assert described.outcome is not None
    assert described.outcome.reason == "rolled_back"
    assert "demo.hello.v2 failed" in described.outcome.message
    assert described.chart.digest == "sha256:b"


@pytest.mark.parametrize("kind", [ReleaseList, ReleaseHistoryList])
def test_a_list_iterates_over_its_releases(kind: type[ReleaseList]) -> None:
    records = [own(2, "deployed"), own(1, "superseded")]
    releases = kind(items=tuple(describe(one, records, []) for one in records), count=7)
    assert [release.id for release in releases] == ["demo.hello.v2", "demo.hello.v1"]
    assert (len(releases), releases[0].revision, releases[-1].revision) == (2, 2, 1)
    assert releases[1] in releases
    assert list(kind(items=(), count=0)) == []
    assert releases == releases.model_copy()
    assert releases != releases.model_copy(update={"count": 8})
    assert "count=7" in repr(releases)
    assert list(releases.model_dump(mode="json", by_alias=True)) == ["items", "count", "next"]
    assert kind.model_validate_json(text := releases.model_dump_json(by_alias=True)).model_dump_json(by_alias=True) == text


@pytest.mark.parametrize(
    ("statuses", "number"),
    [
        (["deployed"], 1),
        (["superseded", "deployed"], 2),
        (["deployed", "failed"], 1),
        (["failed"], None),
        (["deployed", "uninstalled"], None),  # Helm before 3.19.5 leaves the older one deployed
        (["deployed", "pending-upgrade"], 1),
        ([], None),
    ],
)
def test_serving_revision(statuses: list[str], number: int | None) -> None:
    assert serving_revision([record(index, status) for index, status in enumerate(statuses, 1)]) == number


def test_outcome_of_an_unreadable_operation_is_unread() -> None:
    found = own(2, "deployed")
    for known in ("ada", None):
        unread = operation().model_copy(update={"actor": known, "unread": "it was written by a newer kubernaut (operation.v2)"})
        release = describe(found, [found], [unread])
        assert (release.managed_by, release.created_by, release.operation) == ("kubernaut", known, "op")
        assert release.outcome is not None
        assert (release.outcome.reason, release.outcome.message) == ("unread", unread.unread)


def test_damaged_record_is_described() -> None:
    broken = record(1, "deployed", payload="!!!")
    release = describe(broken, [broken], [])
    assert release.status == "deployed"
    assert release.description.startswith("damaged: ")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("demo.hello.v12", ReleaseId("demo", "hello", 12)),
        ("demo.hello.current", ReleaseId("demo", "hello")),
        ("demo.hello", ReleaseId("demo", "hello")),
        ("demo.my.app.v2.v3", ReleaseId("demo", "my.app.v2", 3)),
        ("demo.my.app.v2.current", ReleaseId("demo", "my.app.v2")),
        ("demo.my.app", ReleaseId("demo", "my.app")),
        ("demo.current", ReleaseId("demo", "current")),
        ("demo.hello.v0", ReleaseId("demo", "hello", 0)),
        ("demo.hello.vx", ReleaseId("demo", "hello.vx")),
    ],
)
def test_release_id_is_parsed(text: str, expected: ReleaseId) -> None:
    assert ReleaseId.parse(text) == expected


def test_release_id_formats_as_it_parses() -> None:
    for text in ("demo.hello.v12", "demo.my.app.current"):
        assert str(ReleaseId.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "demo",
        "demo.",
        ".hello",
        "demo.v3",
        "demo.hello.v03",
        "demo.hello.v1234567890",
        "Demo.hello.v1",
        "demo.Hello",
        "demo.a/b",
        "demo.a\n",
        "demo..v1",
    ],
)
def test_invalid_release_ids_raise_name_invalid(text: str) -> None:
    with pytest.raises(NameInvalid):
        ReleaseId.parse(text)


def test_resolve_accepts_ids_and_names() -> None:
    assert ReleaseId.resolve("hello", "demo") == ReleaseId("demo", "hello")
    assert ReleaseId.resolve("hello", "demo", 3) == ReleaseId("demo", "hello", 3)
    assert ReleaseId.resolve("my.app", "demo") == ReleaseId("demo", "my.app")
    assert ReleaseId.resolve("demo.v2", "demo") == ReleaseId("demo", "demo.v2")
    assert ReleaseId.resolve("demo.current", "demo") == ReleaseId("demo", "demo.current")
    assert ReleaseId.resolve("demo.my.app.v2", "demo") == ReleaseId("demo", "my.app", 2)
    assert ReleaseId.resolve("demo.hello.v3", "demo") == ReleaseId("demo", "hello", 3)
    assert ReleaseId.resolve("demo.hello.v3", "demo", 3) == ReleaseId("demo", "hello", 3)
    assert ReleaseId.resolve("demo.hello.v3") == ReleaseId("demo", "hello", 3)
    with pytest.raises(NameInvalid):
        ReleaseId.resolve("demo.hello.v3", revision=4)
    with pytest.raises(NameInvalid):
        ReleaseId.resolve("hello")


@pytest.mark.parametrize("order", [1, -1])
def test_operation_that_adopted_a_record_takes_it_over(order: int) -> None:
    adopted = own(2, "deployed", "adopter")
    maker, adopter = operation("maker", made=(made(adopted),), reason="deploy_failed"), operation("adopter", reason=None)
    assert find_operation(adopted, [adopter, maker][::order]) == (adopter, None)
    assert find_operation(own(2, "failed", "maker"), [adopter, maker][::order]) == (maker, made(adopted))
