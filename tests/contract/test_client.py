"""The contract of the verbs, for the library and for the client of a server: the same results, the same errors."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.backend import Backend
from support.backend import backend as backend
from support.clients import client, library, listening
from support.deploy_harness import LATE, WORKLOAD
from support.kube_objects import crashed
from support.live_releases import running_release
from support.messages import facts, suggested

from kubernaut import Kubernaut
from kubernaut.cli.remote import RemoteBackend
from kubernaut.client import Client
from kubernaut.errors import (
    DeployKept,
    DeployRolledBack,
    KubernautError,
    NameInvalid,
    NamespaceNotFound,
    ReleaseChanged,
    ReleaseNotCurrent,
    ReleaseNotFound,
    ValuesInvalid,
    VersionNotFound,
)
from kubernaut.events import Event, LogLine, StepFinished, StepOutcome, StepStarted
from kubernaut.history.detail import Preview
from kubernaut.history.records import Status
from kubernaut.history.releases import HealthStatus, ReleaseHealth
from kubernaut.history.repair import manifest_patch
from kubernaut.history.store import HistoryStore
from kubernaut.interface import ReleaseVerbs
from kubernaut.models import Model


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture(params=["library", "client"])
def verbs(request: pytest.FixtureRequest, backend: Backend, events: list[Event]) -> Iterator[ReleaseVerbs]:
    if request.param == "library":
        yield library(backend, events.append)
        return
    with listening(backend.server(watching=False)) as url, closing(client(url, events.append)) as made:
        yield made


def refused(verb: object, *args: object, **options: object) -> KubernautError:
    with pytest.raises(KubernautError) as caught:
        verb(*args, **options)  # type: ignore[operator]
    return caught.value


# deploys


def test_deploy_returns_the_release_and_reports_steps(verbs: ReleaseVerbs, backend: Backend, events: list[Event]) -> None:
    backend.helm.says = ["creating 1 resource(s)"]
    done = verbs.deploy("hello", namespace="demo", version="1.0.0", note="first", values=[{"text": "hi"}], set=["a.b=c"])
    assert done.changed
    assert [action.kind for action in done.plan.actions] == ["helm-install"]
    assert done.release is not None
    assert (done.release.id, done.release.status, done.release.active) == ("demo.hello.v1", "deployed", True)
    assert (done.release.created_by, done.release.note) == ("ada", "first")
    assert verbs.values("demo.hello.v1") == {"text": "hi", "a": {"b": "c"}}
    assert isinstance(events[0], StepStarted)
    assert events[0].step == "deploy"
    assert {"hello", "1.0.0", "demo"} <= set(events[0].subject.split())
    assert LogLine("deploy", "creating 1 resource(s)") in events
    assert isinstance(events[-1], StepFinished)
    assert (events[-1].step, events[-1].outcome) == ("deploy", StepOutcome.DONE)
    assert "demo.hello.v1" in events[-1].detail


def test_deploy_without_version_takes_the_newest(verbs: ReleaseVerbs) -> None:
    done = verbs.deploy("hello", namespace="demo")
    assert done.release is not None
    assert done.release.chart.version == "1.1.0"


def test_errors_about_a_chart_suggest_the_same_one(verbs: ReleaseVerbs, backend: Backend) -> None:
    reference = f"oci://{backend.publisher.prefix}/charts/hello"
    for chart, words in ((f"{reference}:9.9.9", ("9.9.9", "1.1.0")), (f"{reference}@1.1.0", ("`@`",))):
        error = refused(verbs.deploy, "hello", namespace="demo", chart=chart)
        assert all(word in error.message for word in words)
        assert suggested(error.hint) == [f"{reference}:1.1.0"]
        assert error.members["suggestedChart"] == f"{reference}:1.1.0"
    missing = refused(verbs.deploy, "hello", namespace="demo", chart=f"{reference}-more:1.0.0")
    assert f"{reference}-more/CHART:VERSION" in missing.hint


def test_deploy_of_the_same_request_changes_nothing(verbs: ReleaseVerbs, events: list[Event]) -> None:
    verbs.deploy("hello", namespace="demo", version="1.0.0")
    again = verbs.deploy("hello", namespace="demo", version="1.0.0")
    assert not again.changed
    assert not again.plan.changes
    assert {"v1", "1.0.0"} <= set(again.plan.reason.split())
    assert again.release is not None
    assert again.release.id == "demo.hello.v1"
    assert isinstance(events[-1], StepFinished)
    assert events[-1].outcome is StepOutcome.UNCHANGED


def test_dry_run_shows_what_would_change(verbs: ReleaseVerbs, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("two, {2}")
    verbs.deploy("hello", namespace="demo", version="1.0.0", values=[{"text": "one"}])
    how: dict[str, Any] = {"set_file": [f"text={tmp_path / 'text'}"], "set_json": ['password="hunter22"']}
    plan = verbs.deploy("hello", namespace="demo", version="1.1.0", dry_run=True, diff=True, **how).plan
    assert isinstance(plan, Preview)
    assert plan.difference is not None
    assert [(one.path, one.to) for one in plan.difference.values] == [("password", "***"), ("text", "two, {2}")]
    assert "+  text: " in plan.difference.manifest
    assert "hunter22" not in plan.model_dump_json()


def test_dry_run_returns_the_plan_and_the_current_release(verbs: ReleaseVerbs, backend: Backend) -> None:
    first = verbs.deploy("hello", namespace="demo", version="1.0.0", dry_run=True)
    assert ([action.kind for action in first.plan.actions], first.changed, first.release) == (["helm-install"], False, None)
    verbs.deploy("hello", namespace="demo", version="1.0.0")
    for outcome, kind in (
        (verbs.deploy("hello", namespace="demo", version="1.1.0", dry_run=True), "helm-upgrade"),
        (verbs.delete("hello", namespace="demo", dry_run=True), "helm-uninstall"),
    ):
        assert ([action.kind for action in outcome.plan.actions], outcome.changed) == ([kind], False)
        assert outcome.release is not None
        assert outcome.release.id == "demo.hello.v1"
    assert len(verbs.history("hello", namespace="demo").items) == 1


def test_create_namespace_creates_the_namespace(verbs: ReleaseVerbs) -> None:
    assert isinstance(refused(verbs.deploy, "hello", namespace="new"), NamespaceNotFound)
    done = verbs.deploy("hello", namespace="new", create_namespace=True)
    assert done.release is not None
    assert done.release.id == "new.hello.v1"


def test_health_is_read_with_one_release_and_on_request_with_a_list(verbs: ReleaseVerbs, backend: Backend) -> None:
    running_release(backend.cluster, status=crashed(5))
    for server in backend.servers:
        server.context.index.refresh("demo", "web")
    degraded = verbs.show("web", namespace="demo").health
    assert degraded is not None
    assert degraded.status == "degraded"
    assert [release.health for release in verbs.list()] == [None]
    assert [release.health for release in verbs.list(health=True)] == [degraded]
    done = verbs.deploy("hello", namespace="demo")
    assert done.release is not None
    assert done.release.health is None
    assert verbs.show("hello", namespace="demo").health == ReleaseHealth(status=HealthStatus.HEALTHY)


# back and forth


def test_rollback_takes_ownership_on_request(verbs: ReleaseVerbs, backend: Backend) -> None:
    verbs.deploy("hello", namespace="demo", version="1.0.0")
    verbs.deploy("hello", namespace="demo", version="1.1.0")
    current = HistoryStore(backend.cluster).get("demo", "hello").records[0]  # type: ignore[arg-type]
    backend.cluster.patch_secret("demo", current.secret, manifest_patch(current, ""))
    backend.cluster.put({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "hello"}}, "demo")
    failure = refused(verbs.rollback, "hello", namespace="demo", revision=1)
    assert (failure.code, failure.members["cause"]) == ("conflict", "owned_by_another_release")
    planned = verbs.rollback("hello", namespace="demo", revision=1, take_ownership=True, dry_run=True).plan
    assert [action.kind for action in planned.actions] == ["adopt-object", "helm-rollback"]
    back = verbs.rollback("hello", namespace="demo", revision=1, take_ownership=True)
    assert back.release is not None
    assert (back.release.revision, back.release.status) == (3, "deployed")


def test_rollback_creates_a_release_from_the_previous_one(verbs: ReleaseVerbs) -> None:
    verbs.deploy("hello", namespace="demo", version="1.0.0")
    verbs.deploy("hello", namespace="demo", version="1.1.0")
    back = verbs.rollback("hello", namespace="demo", note="greeting was wrong")
    assert back.changed
    assert back.release is not None
    assert (back.release.id, back.release.chart.version, back.release.note) == ("demo.hello.v3", "1.0.0", "greeting was wrong")
    forth = verbs.rollback("hello", namespace="demo", revision=2)
    assert forth.release is not None
    assert (forth.release.revision, forth.release.chart.version) == (4, "1.1.0")


def test_delete_keeps_history_and_restore_undoes_it(verbs: ReleaseVerbs) -> None:
    verbs.deploy("hello", namespace="demo", version="1.0.0")
    running = verbs.restore("hello", namespace="demo")
    assert not running.changed
    assert "v1" in running.plan.reason
    gone = verbs.delete("hello", namespace="demo")
    assert gone.changed
    assert gone.release is not None
    assert (gone.release.id, gone.release.status) == ("demo.hello.v1", "uninstalled")
    assert gone.release.deleted_at is not None
    assert not verbs.delete("hello", namespace="demo").changed
    assert verbs.list().items == ()
    assert [release.id for release in verbs.list(all=True).items] == ["demo.hello.v1"]
    planned = verbs.restore("demo.hello.current", dry_run=True)
    assert [action.kind for action in planned.plan.actions] == ["helm-rollback"]
    back = verbs.restore("hello", namespace="demo")
    assert back.changed
    assert back.release is not None
    assert (back.release.id, back.release.status) == ("demo.hello.v2", "deployed")


def test_rollback_of_a_deleted_release_goes_to_the_revision_before(verbs: ReleaseVerbs) -> None:
    verbs.deploy("hello", namespace="demo", version="1.0.0")
    verbs.deploy("hello", namespace="demo", version="1.1.0")
    verbs.delete("hello", namespace="demo")
    back = verbs.rollback("hello", namespace="demo")
    assert back.release is not None
    assert back.release.chart.version == "1.0.0"


def test_lists_iterate_over_releases(verbs: ReleaseVerbs) -> None:
    verbs.deploy("hello", namespace="demo", version="1.0.0")
    verbs.deploy("hello", namespace="demo", version="1.1.0")
    for releases, ids in (
        (verbs.list(), ["demo.hello.v2"]),
        (verbs.list(all=True), ["demo.hello.v2", "demo.hello.v1"]),
        (verbs.history("hello", namespace="demo"), ["demo.hello.v2", "demo.hello.v1"]),
        (verbs.list(namespace="other"), []),
    ):
        assert [release.id for release in releases] == ids
        assert len(releases) == len(ids)
        assert [releases[at].id for at in range(len(releases))] == ids
    assert [version.version for version in verbs.versions("hello")] == ["1.1.0", "1.0.0"]


# failures


def test_failed_deploy_is_rolled_back_and_explained(verbs: ReleaseVerbs, backend: Backend, events: list[Event]) -> None:
    verbs.deploy("hello", namespace="demo", version="1.0.0")
    backend.publisher.publish("2.0.0", template=WORKLOAD)
    backend.helm.end_with(Status.FAILED, LATE)
    failure = refused(verbs.deploy, "hello", namespace="demo", version="2.0.0")
    assert isinstance(failure, DeployRolledBack)
    assert failure.members["cause"] == "deadline_exceeded"
    assert re.search(facts("hello", "2.0.0", "demo", "1.0.0", "v3"), failure.message)
    assert failure.release == "demo.hello.v2"
    assert "`kubernaut explain " in failure.hint
    ends = [event for event in events if isinstance(event, StepFinished)]
    assert StepOutcome.FAILED in {end.outcome for end in ends}
    assert verbs.show("hello", namespace="demo").chart.version == "1.0.0"


def test_failed_deploy_is_kept_on_request(verbs: ReleaseVerbs, backend: Backend) -> None:
    backend.publisher.publish("2.0.0", template=WORKLOAD)
    backend.helm.end_with(Status.FAILED, LATE)
    failure = refused(verbs.deploy, "hello", namespace="demo", version="2.0.0", on_failure="keep")
    assert isinstance(failure, DeployKept)
    assert failure.release == "demo.hello.v1"
    assert verbs.show("demo.hello.v1").status == "failed"


def test_refusals_have_the_same_class_and_facts(verbs: ReleaseVerbs, backend: Backend, tmp_path: Path) -> None:
    verbs.deploy("hello", namespace="demo", version="1.0.0")
    verbs.deploy("hello", namespace="demo", version="1.1.0")
    shown = verbs.show("hello", namespace="demo")
    writes = len(backend.helm.starts)
    for expected, words, failure in (
        (NameInvalid, "'Demo'", refused(verbs.deploy, "hello", namespace="Demo")),
        (NameInvalid, "'-x'", refused(verbs.show, "-x", namespace="demo")),
        (NameInvalid, "'hello'", refused(verbs.show, "hello")),
        (VersionNotFound, "9.9.9", refused(verbs.deploy, "hello", namespace="demo", version="9.9.9")),
        (VersionNotFound, "other", refused(verbs.deploy, "other", namespace="demo")),
        (ReleaseNotFound, "nothing", refused(verbs.show, "nothing", namespace="demo")),
        (ReleaseNotFound, "nothing", refused(verbs.delete, "nothing", namespace="demo")),
        (ReleaseNotFound, "nothing", refused(verbs.restore, "nothing", namespace="demo")),
        (ReleaseNotFound, "nothing", refused(verbs.rollback, "nothing", namespace="demo")),
        (ReleaseNotFound, "7", refused(verbs.rollback, "hello", namespace="demo", revision=7)),
        (ReleaseNotCurrent, "demo.hello.v2", refused(verbs.delete, "demo.hello.v1")),
        (ReleaseNotCurrent, "demo.hello.v2", refused(verbs.restore, "demo.hello.v1")),
        (ValuesInvalid, "--set a[x]", refused(verbs.deploy, "hello", namespace="demo", set=["a[x]=1"])),
        (ValuesInvalid, "nowhere.yaml", refused(verbs.deploy, "hello", namespace="demo", values=[tmp_path / "nowhere.yaml"])),
        (ReleaseChanged, "demo.hello", refused(verbs.delete, "hello", namespace="demo", if_match="other-1")),
    ):
        assert type(failure) is expected, failure.message
        assert words in failure.message
    assert len(backend.helm.starts) == writes
    assert verbs.delete("hello", namespace="demo", if_match=shown.etag).changed


def test_unknown_option_raises_type_error(verbs: ReleaseVerbs) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'dryrun'"):
        verbs.deploy("hello", namespace="demo", dryrun=True)  # type: ignore[call-arg]


# the same to the letter


def text(model: Model) -> str:
    return model.model_dump_json(by_alias=True, indent=1)


def test_reads_return_the_same(backend: Backend) -> None:
    here = library(backend)
    here.deploy("hello", namespace="demo", version="1.0.0", values=[{"text": "a", "password": "hunter22hunter22"}])
    here.deploy("hello", namespace="demo", version="1.1.0", note="new greeting")
    here.deploy("hello", namespace="prod", version="1.0.0")
    here.delete("hello", namespace="prod")
    with listening(backend.server(watching=False)) as url, closing(client(url)) as there:
        there.ready()
        assert text(there.list()) == text(here.list())
        assert text(there.list(all=True)) == text(here.list(all=True))
        assert text(there.list(namespace="demo")) == text(here.list(namespace="demo"))
        assert [one.id for one in there.list(all=True, status="uninstalled", name="hello").items] == ["prod.hello.v1"]
        assert [one.id for one in there.list(version="1.1.0").items] == ["demo.hello.v2"]
        assert there.show("hello", namespace="demo") == here.show("hello", namespace="demo")
        assert there.show("demo.hello.v1").etag == here.show("demo.hello.v1").etag
        assert text(there.history("hello", namespace="demo")) == text(here.history("hello", namespace="demo"))
        assert [text(one) for one in there.versions("hello")] == [text(one) for one in here.versions("hello")]
        assert there.manifest("demo.hello.v1") == here.manifest("demo.hello.v1")
        assert there.values("demo.hello.v1") == here.values("demo.hello.v1")
        assert there.values("demo.hello.v1", all=True) == here.values("demo.hello.v1", all=True)
        assert there.diff("hello", namespace="demo") == here.diff("hello", namespace="demo")
        assert there.diff("demo.hello.v2", "1") == here.diff("demo.hello.v2", "1")
        assert text(there.report("demo.hello.v2")) == text(here.report("demo.hello.v2"))
        for id in ("demo.hello", "demo.hello.v1", "demo.hello.v2"):
            assert there.explain(id) == here.explain(id)
        operation = there.report("demo.hello.v2").operation
        assert operation is not None
        shown = there.operation(operation.id)
        assert (shown.state, shown.plan, shown.made, shown.outcome) == (
            "succeeded",
            operation.plan,
            operation.made,
            operation.outcome,
        )
        assert [event.text for event in there.events(operation.id)] == [event.text for event in operation.events]


def test_list_reads_all_pages(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubernaut.client.client.PAGE_SIZE", 2)
    here = library(backend)
    for _ in range(2):
        for version in ("1.0.0", "1.1.0"):
            here.deploy("hello", namespace="demo", version=version)
    here.deploy("hello", namespace="prod")
    with listening(backend.server(watching=False)) as url, closing(client(url)) as there:
        assert text(there.list(all=True)) == text(here.list(all=True))


# one signature


def members(kind: type) -> dict[str, inspect.Signature]:
    found = inspect.getmembers(kind, inspect.isfunction)
    return {name: inspect.signature(member) for name, member in found if not name.startswith("_")}


@pytest.mark.parametrize("kind", [Kubernaut, Client, RemoteBackend])
@pytest.mark.parametrize("name", sorted(members(ReleaseVerbs)))
def test_each_implementation_takes_the_same_arguments(name: str, kind: type) -> None:
    expected, offered = members(ReleaseVerbs)[name], members(kind)[name]
    more = {one: parameter for one, parameter in offered.parameters.items() if one not in expected.parameters}
    assert [str(offered.parameters[one]) for one in expected.parameters] == [str(one) for one in expected.parameters.values()]
    assert all(parameter.default is not parameter.empty for parameter in more.values())
    assert inspect.getdoc(getattr(kind, name)), "documented, or inherits its documentation"


@pytest.mark.parametrize("name", ["ship", "logs", "unlock"])
def test_the_commands_take_the_same_arguments_with_a_server(name: str) -> None:
    keywords = {one: None for one in members(Kubernaut)[name].parameters if one not in ("self", "release", "app_dir", "options")}
    members(RemoteBackend)[name].bind(None, "hello", **keywords)
