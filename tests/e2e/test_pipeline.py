"""Hello-world through the whole pipeline, on the real cluster."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from urllib.request import urlopen

import pytest
from support.checkout import PROGRAM, Checkout
from support.waiting import until

from kubernaut.events import Event, LogLine, StepFinished, StepStarted

pytestmark = pytest.mark.platform


def ship(checkout: Checkout, *more: str, status: int = 0) -> dict[str, object]:
    """Ship the example into the checkout's namespace."""
    return checkout.json("ship", str(checkout.app), "-n", checkout.namespace, "--create-namespace", *more, status=status)  # type: ignore[no-any-return]


def answer_of(port: str) -> dict[str, str]:
    """Return the answer at the node port; the node's rules follow the Service's endpoints within a second or so."""
    found: list[dict[str, str]] = []

    def answers() -> bool:
        with suppress(OSError), urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
            found.append(json.load(answer))
        return bool(found)

    until(answers, f"port {port} answers", 30)
    return found[0]


def test_ship_deploys_an_application_that_answers(checkout: Checkout, platform: dict[str, str]) -> None:
    port = platform["KUBERNAUT_NODE_PORT"]
    release = ship(checkout, "--set", f"service.type=NodePort,service.nodePort={port}", "--note", "the first one")
    assert release["id"] == f"{checkout.namespace}.hello-world.v1"
    assert release["status"] == "deployed"
    assert release["active"] is True
    assert release["managedBy"] == "kubernaut"
    answer = answer_of(port)
    commit = checkout.git("rev-parse", "HEAD").strip()
    assert answer["version"] == "1.0.0"
    assert commit.startswith(answer["commit"])
    assert release["source"]["commit"] == commit  # type: ignore[index]
    assert release["images"][0]["digest"].startswith("sha256:")  # type: ignore[index]

    history = json.loads(checkout.helm("history", "hello-world", "-n", checkout.namespace, "-o", "json"))
    assert history[0]["description"].startswith(f"1.0.0 ({commit[:7]}) by ")
    assert '"the first one"' in history[0]["description"]
    assert checkout.git("status", "--porcelain") == ""
    checkout.run("delete", "hello-world", "-n", checkout.namespace, "--yes")


def test_unchanged_ship_then_changed_ship_then_rollback(checkout: Checkout) -> None:
    first = ship(checkout)
    again = ship(checkout)
    assert again["id"] == first["id"]
    assert "unchanged" in checkout.run("ship", str(checkout.app), "-n", checkout.namespace).stderr

    checkout.greet("good morning")
    checkout.commit()
    second = ship(checkout)
    assert second["revision"] == 2
    assert second["images"] != first["images"]
    listed = checkout.json("list", "-n", checkout.namespace)
    assert [item["id"] for item in listed["items"]] == [second["id"]]
    assert [item["status"] for item in checkout.json("history", "hello-world", "-n", checkout.namespace)["items"]] == [
        "deployed",
        "superseded",
    ]
    versions = checkout.json("versions", "hello-world")
    assert [item["version"] for item in versions["items"]][-1] == "1.0.0"
    assert versions["count"] == 2

    back = checkout.json("rollback", "hello-world", "-n", checkout.namespace)
    assert back["revision"] == 3
    assert back["images"] == first["images"]
    assert checkout.git("status", "--porcelain") == ""


def test_history_survives_ten_deploys_and_a_delete(checkout: Checkout) -> None:
    ship(checkout)
    for number in range(2, 11):
        release = checkout.json("deploy", "hello-world", "-n", checkout.namespace, "--set", f"greeting=number {number}")
        assert release["revision"] == number
    gone = checkout.json("delete", "hello-world", "-n", checkout.namespace, "--yes")
    assert gone["status"] == "uninstalled"
    assert gone["active"] is False
    assert gone["deletedAt"]
    assert checkout.json("delete", "hello-world", "-n", checkout.namespace, "--yes")["deletedAt"] == gone["deletedAt"]
    assert checkout.json("list", "-n", checkout.namespace)["items"] == []

    new = checkout.json("deploy", "hello-world@1.0.0", "-n", checkout.namespace)
    assert new["revision"] == 11
    items = checkout.json("history", "hello-world", "-n", checkout.namespace)["items"]
    assert [item["revision"] for item in items] == list(range(11, 0, -1))
    assert items[1]["deletedAt"] == gone["deletedAt"]

    checkout.run("delete", "hello-world", "-n", checkout.namespace, "--yes")
    restored = checkout.json("restore", "hello-world", "-n", checkout.namespace)
    assert (restored["revision"], restored["status"], restored["active"]) == (12, "deployed", True)


def test_foreign_release_is_listed_without_invented_facts(checkout: Checkout) -> None:
    ship(checkout)
    plain = checkout.tree.parent / "plain"
    (plain / "templates").mkdir(parents=True)
    (plain / "Chart.yaml").write_text("apiVersion: v2\nname: plain\nversion: 0.3.0\n")
    (plain / "templates" / "settings.yaml").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: plain}\n")
    checkout.helm("install", "plain.settings", str(plain), "-n", checkout.namespace)
    release = {item["name"]: item for item in checkout.json("list", "-n", checkout.namespace)["items"]}["plain.settings"]
    assert release["managedBy"] == "helm"
    assert release["createdBy"] is None
    assert release["chart"]["version"] == "0.3.0"
    assert release["operation"] is None
    assert checkout.json("show", release["id"])["id"] == release["id"]


def test_environment_is_chosen_by_name(checkout: Checkout) -> None:
    production = ship(checkout, "--environment", "production", "--timeout", "3m")
    pods = checkout.library().logs("hello-world", namespace=checkout.namespace)
    assert len({line.split(" ", 1)[0] for line in pods}) >= 2
    assert production["status"] == "deployed"
    problem = ship(checkout, "--environment", "staging", status=4)
    assert problem["code"] == "environment_not_found"


def test_helm_test_passes(checkout: Checkout, helms: dict[str, str]) -> None:
    ship(checkout)
    assert "Succeeded" in checkout.helm("test", "hello-world", "-n", checkout.namespace, "--timeout", "1m")
    again = [helms["helm3"], "test", "hello-world", "-n", checkout.namespace, "--timeout", "1m"]
    assert subprocess.run(again, env=dict(checkout.environment), capture_output=True, timeout=120, check=False).returncode == 0


def test_logs_are_the_pods_own(checkout: Checkout) -> None:
    ship(checkout)
    assert "listens on port" in checkout.run("logs", "hello-world", "-n", checkout.namespace).stdout


def test_failed_deploy_is_explained_and_rolled_back(checkout: Checkout) -> None:
    first = ship(checkout)
    source = checkout.app / "index.js"
    source.write_text('console.error("cannot open the greeting file");\nprocess.exit(3);\n')
    checkout.commit()
    problem = ship(checkout, "--timeout", "25s", status=6)
    assert problem["code"] == "deploy_rolled_back"
    assert "cannot open the greeting file" in json.dumps(problem)
    items = checkout.json("history", "hello-world", "-n", checkout.namespace)["items"]
    assert [(item["revision"], item["status"]) for item in items] == [(3, "deployed"), (2, "failed"), (1, "superseded")]
    assert items[0]["images"] == first["images"]

    kept = ship(checkout, "--timeout", "15s", "--on-failure", "keep", status=7)
    assert kept["code"] == "deploy_failed"
    assert checkout.json("show", "hello-world", "-n", checkout.namespace)["status"] == "failed"


def test_dry_run_changes_nothing(checkout: Checkout) -> None:
    plan = ship(checkout, "--dry-run")
    kinds = [action["kind"] for action in plan["actions"]]  # type: ignore[attr-defined]
    assert kinds[:3] == ["build-image", "push-image", "push-chart"]
    assert kinds[-1].startswith("helm-")
    assert checkout.json("list", "-n", checkout.namespace)["items"] == []
    assert checkout.json("versions", "hello-world")["items"] == []


def test_library_reports_each_step(checkout: Checkout) -> None:
    events: list[Event] = []
    outcome = checkout.library(events.append).ship(checkout.app, namespace=checkout.namespace, create_namespace=True)
    assert outcome.changed
    assert outcome.release is not None
    started = [event.step for event in events if isinstance(event, StepStarted)]
    assert started == [event.step for event in events if isinstance(event, StepFinished)]
    assert any(isinstance(event, LogLine) and "FROM node" in event.text for event in events)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_signal_during_the_rollout_stops_helm(checkout: Checkout, signum: signal.Signals) -> None:
    ship(checkout)
    (checkout.app / "index.js").write_text("setInterval(() => {}, 1000);\n")  # runs, and is never ready
    checkout.commit()
    running = subprocess.Popen(
        [PROGRAM, "ship", checkout.app, "-n", checkout.namespace],
        cwd=checkout.tree,
        env=dict(checkout.environment),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_for(lambda: "pending-upgrade" in checkout.helm("history", "hello-world", "-n", checkout.namespace))
        running.send_signal(signum)
        _, stderr = running.communicate(timeout=60)
    finally:
        running.kill()
    assert running.returncode == 128 + signum, stderr
    assert not processes_of(checkout)
    checkout.git("reset", "--quiet", "--hard", "v1.0.0")
    assert ship(checkout)["status"] == "deployed"
    statuses = [item["status"] for item in checkout.json("history", "hello-world", "-n", checkout.namespace)["items"]]
    assert statuses.count("deployed") == 1
    assert not any(status.startswith("pending") for status in statuses)


@pytest.mark.parametrize("step", ["build", "push image", "package", "push chart", "deploy"])
def test_ctrl_c_at_any_step_leaves_nothing(checkout: Checkout, tmp_path: Path, step: str) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    running = subprocess.Popen(
        [PROGRAM, "ship", checkout.app, "-n", checkout.namespace, "--create-namespace"],
        cwd=checkout.tree,
        env={**checkout.environment, "TMPDIR": str(temporary)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert running.stderr is not None
        first_line = next(line for line in running.stderr if line.startswith(step))  # its first line: it has begun
        running.send_signal(signal.SIGINT)
        _, rest = running.communicate(timeout=60)
    finally:
        running.kill()
    assert running.returncode == 130, first_line + rest
    assert "Traceback" not in rest
    assert not processes_of(checkout)
    assert list(temporary.iterdir()) == []
    assert checkout.git("status", "--porcelain") == ""
    assert ship(checkout)["status"] == "deployed"


def wait_for(condition: object, seconds: float = 60.0) -> None:
    """Wait until a condition holds."""
    until = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < until, "waited in vain"


def processes_of(checkout: Checkout) -> list[str]:
    """The command lines of the processes that were started for the checkout and still run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if checkout.environment["KUBERNAUT_REGISTRY"] in path.read_text(errors="replace"):
                found.append(path.with_name("cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found
