"""Explanations of anything that a cluster, Helm or a program may write: without secrets and control characters, at most 32 KiB."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.cluster_objects import NOW, WHAT
from support.failing_releases import FAILING

from kubernaut.errors import HelmFailed
from kubernaut.history.explanation import LARGEST, Evidence, Explanation, clean, sealed
from kubernaut.rollout.diagnose import explain
from kubernaut.rollout.hints import hint_for
from kubernaut.rollout.logs import LogSource, logs_to_read
from kubernaut.rollout.objects import expected_objects, key_of
from kubernaut.rollout.problems import Cause, Problem
from kubernaut.rollout.rules import Rules
from kubernaut.rollout.store import Snapshot
from kubernaut.rollout.verdict import Judgement, Verdict, Watched, judge

CANARY = "hunter2-c4n4ry"
MANY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])

_WORDS = st.sampled_from(
    [
        "",
        "app",
        "web",
        "True",
        "False",
        "Failed",
        "Pending",
        "Running",
        "CrashLoopBackOff",
        "ErrImagePull",
        "CreateContainerConfigError",
        "OOMKilled",
        "Unschedulable",
        "FailedMount",
        "Unhealthy",
        "Killing",
        "FailedCreate",
        "2026-11-28T11:59:00Z",
        f"password={CANARY}",
        f"\x1b[31mtoken: {CANARY}\x1b[0m",
        f"postgres://app:{CANARY}@db/x",
        "\x00\x07\ud800\u202e",
        'exec: "/x": stat /x: no such file or directory',
        'configmap "a" not found',
        'persistentvolumeclaim "a" not found',
    ]
)
_JUNK: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**40) | _WORDS | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_WORDS | st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
_FIELDS = [
    "state", "waiting", "running", "terminated", "lastState", "reason", "message", "exitCode", "restartCount", "name", "image",
    "conditions", "type", "status", "containers", "initContainers", "containerStatuses", "initContainerStatuses", "template",
    "spec",
    "volumes", "persistentVolumeClaim", "claimName", "livenessProbe", "readinessProbe", "httpGet", "exec", "command", "resources",
    "limits", "imagePullSecrets", "selector", "replicas", "phase", "signal", "startedAt", "finishedAt",
]  # fmt: skip
_SHAPED: st.SearchStrategy[Any] = st.recursive(
    _WORDS | st.integers(-1, 300) | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_FIELDS), inner, max_size=6),
    max_leaves=25,
)
_NAMES = st.sampled_from(["web", "web-7f9-x2k4p", "data", "migrate", CANARY[:3]])
_KINDS = ["Pod", "ReplicaSet", "Deployment", "StatefulSet", "DaemonSet", "Job", "PersistentVolumeClaim", "Service", "Thing"]


@st.composite
def objects(draw: st.DrawFn) -> dict[str, Any]:
    name = draw(_NAMES)
    owners = draw(st.just([]) | st.just([{"kind": "ReplicaSet", "name": "web", "uid": "uid-web"}]) | _JUNK)
    metadata = {
        "name": name,
        "namespace": "demo",
        "uid": f"uid-{name}",
        "ownerReferences": owners,
        "creationTimestamp": draw(_WORDS),
    }
    metadata["annotations"] = draw(st.just({"helm.sh/hook": "pre-upgrade"}) | _JUNK)
    return {
        "kind": draw(st.sampled_from(_KINDS)),
        "apiVersion": "v1",
        "metadata": metadata,
        "spec": draw(_SHAPED),
        "status": draw(_SHAPED),
    }


@st.composite
def events(draw: st.DrawFn) -> dict[str, Any]:
    about = draw(st.fixed_dictionaries({"kind": st.sampled_from(_KINDS), "name": _NAMES, "fieldPath": _WORDS}) | _JUNK)
    return {"kind": "Event", "involvedObject": about, "reason": draw(_WORDS), "message": draw(_WORDS | _JUNK), "type": draw(_WORDS),
            "count": draw(_JUNK), "lastTimestamp": draw(_WORDS), "metadata": {"uid": draw(_WORDS)}}  # fmt: skip


_LINES = st.lists(_WORDS | st.text(max_size=40), max_size=8)
_FAILURES = st.builds(lambda words, details: HelmFailed(words, details=details), _WORDS | st.text(max_size=60), _LINES)


def assert_sound(found: Explanation) -> None:
    text = json.dumps(found.model_dump(mode="json", by_alias=True))
    assert len(text) <= LARGEST
    assert CANARY not in text
    shown = [found.sentence, *found.facts.values(), *(one.about for one in found.evidence)]
    shown += [line for one in found.evidence for line in one.text.split("\n")]
    assert all(line.isprintable() for line in shown)
    hints = hint_for(found, "demo", "hello")
    assert CANARY not in hints.hint + hints.http_hint


@MANY
@given(st.lists(objects(), max_size=6), st.lists(events(), max_size=6), _FAILURES, st.booleans(), _LINES, st.data())
def test_junk_is_explained(
    items: list[dict[str, Any]],
    found: list[dict[str, Any]],
    failure: HelmFailed,
    judged: bool,
    lines: list[str],
    data: st.DataObject,
) -> None:
    by_uid: dict[str, list[dict[str, Any]]] = {}
    for one in found:
        by_uid.setdefault(data.draw(st.sampled_from(["uid-web", "uid-data", "gone"])), []).append(one)
    snapshot = Snapshot(NOW, {key_of(item): item for item in items}, by_uid, {"Event": f"secret: {CANARY}"})
    expected = expected_objects(items[:3], "demo", items[3:])
    verdict = judge(Watched(Rules()), expected, snapshot)[0] if judged else None
    if judged and data.draw(st.booleans()) and items:
        cause = data.draw(st.sampled_from(list(Cause)))
        problem = Problem(cause, key_of(data.draw(st.sampled_from(items))), data.draw(_WORDS), data.draw(_WORDS))
        verdict = Verdict(Judgement.FAILED, verdict.states if verdict else (), problem, "after 3 restarts")
    logs = dict.fromkeys((*logs_to_read(verdict, snapshot), LogSource("demo", "gone", "app")), lines)
    assert_sound(explain(WHAT, failure, snapshot, verdict=verdict, expected=expected, logs=logs, secrets=[CANARY]))


@pytest.mark.parametrize("line", ["x" * (1 << 20), "\x00\xff\x1b[2J" * 5000, "ü🙂" * 100_000, '"\\' * 100_000, "\n" * 9000])
def test_huge_logs_are_bounded(line: str) -> None:
    found = replace(FAILING["crash"], logs={("app", True): [line] * 200, ("app", False): [line] * 200}).explain()
    assert_sound(found)


def test_logs_are_cut_from_the_front() -> None:
    lines = [f"{number} {'é' * 490}" for number in range(50)]
    found = replace(FAILING["crash"], logs={("app", True): lines}).explain()
    assert_sound(found)
    (log,) = found.of_kind("log")
    kept = log.text.splitlines()
    assert kept[-1] == lines[-1]
    assert 5 < len(kept) < 50


def test_secrets_in_logs_and_events_are_masked() -> None:
    lines = [
        f"connecting to postgres://app:{CANARY}@db:5432",
        f"DB_PASSWORD={CANARY}",
        f"Authorization: Bearer {CANARY}",
        f"\x1b[1mpassword\x1b[0m=\x1b[31m{CANARY}\x1b[0m",
    ]
    found = replace(FAILING["crash"], logs={("app", True): lines}).explain()
    assert_sound(found)
    assert "connecting to postgres://***@db:5432" in found.of_kind("log")[0].text


def test_known_secret_is_masked_everywhere() -> None:
    lines = ["FATAL: cannot use " + CANARY]
    assert_sound(replace(FAILING["crash"], logs={("app", True): lines}).explain(secrets=[CANARY]))


@pytest.mark.parametrize("begin", [["-----BEGIN RSA PRIVATE KEY-----"], []])
def test_key_is_masked_even_without_its_beginning(begin: list[str]) -> None:
    lines = [*begin, *[f"{CANARY}{number}" for number in range(60)], "-----END RSA PRIVATE KEY-----", "done"]
    found = replace(FAILING["crash"], logs={("app", True): lines}).explain()
    assert_sound(found)
    assert found.of_kind("log")[0].text.splitlines()[-1] == "done"


@pytest.mark.parametrize("text", ["\x1b]0;title\x07x", "\x1b[2Jx", "a\rx", "\u202ex", "\u009b31mx", "\x07x"])
def test_terminal_codes_are_removed(text: str) -> None:
    assert clean(text).isprintable()
    assert clean(text).endswith("x")


def test_everything_at_once_is_bounded() -> None:
    one = Evidence(kind="status", about="ü" * 999, text="ü" * 9999, count=10**12)
    kinds = ["status", "event", "helm", "unreadable", "log"] * 200
    evidence = tuple(one.model_copy(update={"kind": kind}) for kind in kinds)
    facts = {f"fact{number}": "ü" * 999 for number in range(99)}
    found = sealed(Explanation(cause="x", sentence="ü" * 9999, facts=facts, evidence=evidence))
    assert_sound(found)
    assert found.evidence


@st.composite
def damaged(draw: st.DrawFn) -> Any:
    """A failing release in which one or two values of its live objects and events are something else."""
    failing = FAILING[draw(st.sampled_from(sorted(FAILING)))]
    live, found = copy.deepcopy([list(failing.live), list(failing.events)])
    for _ in range(draw(st.integers(1, 2))):
        node: Any = [live, found]
        while True:
            places = list(node) if isinstance(node, dict) else list(range(len(node)))
            if not places:
                break
            place = draw(st.sampled_from(places))
            if not isinstance(node[place], dict | list) or draw(st.integers(0, 5)) == 0:
                if node not in ([live, found], live, found) and place not in ("kind", "metadata"):
                    node[place] = draw(_JUNK)
                break
            node = node[place]
    return replace(failing, live=live, events=found)


@MANY
@given(damaged())
def test_damaged_objects_are_explained(failing: Any) -> None:
    assert_sound(failing.explain(secrets=[CANARY]))
