"""class Kubernaut: checks before any change, actors that share clients, and accepted operations."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.deploy_harness import DeployHarness
from support.records import write_rolled_back
from support.source_tree import make_source_tree

from kubernaut import Kubernaut, KubernautError, load_settings
from kubernaut.ci import CiBuild
from kubernaut.context import Clients
from kubernaut.errors import (
    BadInput,
    EnvironmentNotFound,
    IdempotencyKeyReused,
    Interrupted,
    NameInvalid,
    OperationNotFound,
    ValuesInvalid,
    VersionConflict,
)
from kubernaut.events import Event, Notice
from kubernaut.publish.chart_reference import ChartReference
from kubernaut.publish.version import Artefact, ChartVersion, SourceOfVersion


class Idle(Kubernaut):
    """Fails the test if it publishes."""

    def _publish(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("published")


@pytest.fixture
def idle(tmp_path: Path) -> Idle:
    settings = load_settings({"registry": "127.0.0.1:1/x"}, environment={"PATH": "/nowhere"}, directory=tmp_path)
    return Idle(settings)


def test_unknown_options_are_type_errors(idle: Idle) -> None:
    for call in (
        lambda: idle.ship("app", namespace="demo", dryrun=True),  # type: ignore[call-arg]
        lambda: idle.deploy("app", namespace="demo", dryrun=True),  # type: ignore[call-arg]
        lambda: idle.rollback("app", namespace="demo", dryrun=True),  # type: ignore[call-arg]
        lambda: idle.ship("app", namespace="demo", chart="oci://r/app:1"),  # type: ignore[call-arg]
    ):
        with pytest.raises(TypeError, match=r"'(dryrun|chart)'.*\b[A-Za-z]+Options\b.*\bnote, timeout\b"):
            call()


@pytest.mark.parametrize(
    ("options", "expected", "words"),
    [
        ({"namespace": "Demo"}, NameInvalid, "'Demo'"),
        ({"name": "Canary"}, NameInvalid, "'Canary'"),
        ({"set": ["a[x]=1"]}, ValuesInvalid, "--set a[x]"),
        ({"values": ["nowhere.yaml"]}, ValuesInvalid, "nowhere.yaml"),
        ({"environment": "staging"}, EnvironmentNotFound, "'staging'"),
    ],
)
def test_ship_checks_the_deploy_before_it_publishes(
    idle: Idle, tmp_path: Path, options: dict[str, Any], expected: type[KubernautError], words: str
) -> None:
    tree = make_source_tree(tmp_path / "tree")
    with pytest.raises(expected) as caught:
        idle.ship(tree.app, **{"namespace": "demo", **options})
    assert words in caught.value.message


class OneChart:
    """A registry with one chart."""

    def __init__(self, digest: str) -> None:
        self.digest = digest

    def chart(self, reference: str) -> ChartVersion:
        repository = ChartReference.parse(reference).repository
        artefact = Artefact(ref=reference.removeprefix("oci://"), digest=self.digest)
        return ChartVersion(repository, "hello", "1.0.0", artefact, SourceOfVersion())


@pytest.fixture
def harness(tmp_path: Path) -> DeployHarness:
    return DeployHarness(tmp_path)


@pytest.fixture
def kubernaut(harness: DeployHarness) -> Kubernaut:
    """Return the verbs on a cluster and a Helm in memory, with one chart."""
    service = Kubernaut(harness.context.settings, listener=harness.events.append)
    clients = service.context.clients
    clients.cluster, clients.helm = harness.cluster, harness.helm
    clients.registry = OneChart(harness.request().chart_digest)
    return service


CHART_REF = "oci://r/charts/hello:1.0.0"


def test_deploy_of_a_chart_takes_any_release_name(kubernaut: Kubernaut, harness: DeployHarness) -> None:
    release = kubernaut.deploy("shop", namespace="demo", chart=CHART_REF).release
    assert release is not None
    assert (release.id, release.chart.name, release.chart.version) == ("demo.shop.v1", "hello", "1.0.0")
    assert release.chart.ref == f"oci://r/charts/hello@{harness.request().chart_digest}"
    assert not kubernaut.deploy("shop", namespace="demo", chart=CHART_REF).changed


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"chart": CHART_REF, "version": "1.0.0"}, BadInput),
        ({"chart": CHART_REF, "pre": True}, BadInput),
        ({"chart": "oci://root:hunter2@r/hello:1"}, BadInput),
        ({"chart": CHART_REF, "environment": "production"}, EnvironmentNotFound),
    ],
)
def test_deploy_refuses_invalid_chart_arguments(
    kubernaut: Kubernaut, harness: DeployHarness, options: dict[str, Any], expected: type[KubernautError]
) -> None:
    with pytest.raises(expected):
        kubernaut.deploy("shop", namespace="demo", **options)
    assert harness.cluster.writes == []


def test_acting_records_the_actor_and_shares_the_clients(kubernaut: Kubernaut, harness: DeployHarness) -> None:
    events: list[Event] = []
    before = len(harness.events)
    bob = kubernaut.acting("bob", build=CiBuild(url="http://ci/9"), listener=events.append)
    release = bob.deploy("shop", namespace="demo", chart=CHART_REF).release
    assert release is not None
    assert (release.created_by, release.build.url) == ("bob", "http://ci/9")
    assert events
    assert len(harness.events) == before
    assert bob.show("demo.shop") == kubernaut.show("demo.shop")
    mine = kubernaut.rollback("demo.shop.v1", note="mine").release
    assert mine is not None
    assert mine.created_by == "bob", "the rollback changed nothing"
    assert kubernaut.settings.actor == "ada"


def test_acting_does_not_record_the_build_of_this_process(kubernaut: Kubernaut) -> None:
    release = kubernaut.deploy("shop", namespace="demo", chart=CHART_REF).release
    assert release is not None
    assert release.build == CiBuild(url="http://ci/7")
    bob = kubernaut.acting("bob")
    assert (bob.settings.build, bob.settings.build_url) == (None, None)
    assert kubernaut.acting("bob", build=CiBuild(url="http://ada:canary@ci/9")).settings.build == CiBuild(url="http://ci/9")
    assert bob.deploy("shop", namespace="demo", chart=CHART_REF, set=["a=1"]).release.build == CiBuild()  # type: ignore[union-attr]


def test_deploy_refuses_an_unexpected_chart_digest(kubernaut: Kubernaut, harness: DeployHarness) -> None:
    with pytest.raises(VersionConflict, match=harness.request().chart_digest):
        kubernaut.deploy("shop", namespace="demo", chart=CHART_REF, digest="sha256:0")
    assert harness.cluster.writes == []
    assert kubernaut.deploy("shop", namespace="demo", chart=CHART_REF, digest=harness.request().chart_digest).changed


def test_actors_share_clients_that_reopen_after_close(kubernaut: Kubernaut) -> None:
    fresh = Clients(kubernaut.settings)
    kubernaut.context = replace(kubernaut.context, clients=fresh)
    bob = kubernaut.acting("bob")
    opened = bob.context.clients.cluster
    assert kubernaut.context.clients.cluster is opened
    fresh.close()
    assert bob.context.clients.cluster is opened, "the next call connects again"


def test_stopping_one_actor_does_not_stop_another(kubernaut: Kubernaut) -> None:
    with pytest.raises(Interrupted):
        kubernaut.acting("bob", stopped=lambda: True).deploy("shop", namespace="demo", chart=CHART_REF)
    assert kubernaut.deploy("shop", namespace="demo", chart=CHART_REF).changed


def test_deploy_runs_an_accepted_operation(kubernaut: Kubernaut) -> None:
    bob = kubernaut.acting("bob")
    operation, new = bob.accept("deploy", "shop", namespace="demo", note="please", key="k", fingerprint="f")
    assert new
    assert bob.accepted("k", namespace="demo", fingerprint="f") == operation
    with pytest.raises(IdempotencyKeyReused):
        bob.accepted("k", namespace="demo", fingerprint="g")
    assert kubernaut.accepted("k", namespace="demo") is None, "the key belongs to bob"
    release = bob.deploy("shop", namespace="demo", chart=CHART_REF, operation=operation).release
    assert release is not None
    assert (release.operation, release.note, release.created_by) == (operation.id, "please", "bob")
    assert kubernaut.operation(operation.id).state == "succeeded"
    assert kubernaut.operation(operation.id, namespace="demo").key == operation.key


@pytest.mark.parametrize("verb", ["rollback", "delete", "restore"])
def test_each_verb_runs_an_accepted_operation(kubernaut: Kubernaut, verb: str) -> None:
    kubernaut.deploy("shop", namespace="demo", chart=CHART_REF)
    kubernaut.deploy("shop", namespace="demo", chart=CHART_REF, set=["a=1"])
    if verb == "restore":
        kubernaut.delete("demo.shop")
    operation, _ = kubernaut.accept(verb, "shop", namespace="demo")
    assert getattr(kubernaut, verb)("demo.shop.current", operation=operation).changed
    assert kubernaut.operation(operation.id).state == "succeeded"


def test_invalid_arguments_fail_the_accepted_operation(kubernaut: Kubernaut) -> None:
    for call in (
        lambda operation: kubernaut.deploy("shop", namespace="demo", chart="file:///etc", operation=operation),
        lambda operation: kubernaut.deploy("shop", namespace="demo", chart=CHART_REF, set=["a[x]=1"], operation=operation),
        lambda operation: kubernaut.deploy("shop", namespace="demo", chart=CHART_REF, timeuot=3, operation=operation),  # type: ignore[call-arg]
    ):
        operation, _ = kubernaut.accept("deploy", "shop", namespace="demo")
        with pytest.raises((KubernautError, TypeError)):
            call(operation)
        assert kubernaut.operation(operation.id).state == "failed"


def test_operation_and_dry_run_cannot_be_combined(kubernaut: Kubernaut) -> None:
    operation, _ = kubernaut.accept("delete", "shop", namespace="demo")
    with pytest.raises(TypeError, match="dry_run"):
        kubernaut.delete("demo.shop", operation=operation, dry_run=True)
    assert kubernaut.operation(operation.id).state == "accepted"


@pytest.mark.parametrize("id", ["", "x", "0" * 26, "a,owner=helm", "../secrets", "x" * 5000])
def test_operation_raises_not_found(kubernaut: Kubernaut, id: str) -> None:
    with pytest.raises(OperationNotFound):
        kubernaut.operation(id)


def test_recover_changes_only_unfinished_operations(kubernaut: Kubernaut, harness: DeployHarness) -> None:
    kubernaut.deploy("hello", namespace="demo", chart=CHART_REF)
    assert not kubernaut.recover("hello", namespace="demo").changed
    harness.leave_a_deploy()
    assert kubernaut.recover("hello", namespace="demo").changed
    assert harness.statuses == ["deployed", "failed"]


def test_logs_of_an_earlier_release_are_the_kept_lines_with_a_notice(kubernaut: Kubernaut, harness: DeployHarness) -> None:
    write_rolled_back(harness.cluster)
    lines = list(kubernaut.logs("demo.hello.v2"))
    assert [line.split()[-1] for line in lines] == ["starting", "db:5432"]
    notices = [event.text for event in harness.events if isinstance(event, Notice)]
    assert ["demo.hello.v2" in text for text in notices] == [True]
    assert kubernaut.explain("hello", namespace="demo").cause == "image_not_found"
