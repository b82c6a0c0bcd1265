"""The state machine on the real cluster, with Helm 3 and Helm 4: real processes, really killed."""

from __future__ import annotations

import base64
import gzip
import json
import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test
from support.api_calls import merge_patch
from support.fault_chart import NAME, Published
from support.faults import FaultScenario, Subject
from support.invariants import Snapshot
from support.machine import KILLED, Machine, settings_of
from support.model_steps import BROKEN, DONE, KEPT, NOTHING, ROLLED_BACK
from support.orphan import write_wrapper
from support.processes import Running
from support.states import DEAD, HOOKED, Seen
from support.waiting import until

from kubernaut import errors
from kubernaut.errors import NotFound

pytestmark = pytest.mark.platform

_RECORD, _ASIDE = f"sh.helm.release.v1.{NAME}.v", f"kubernaut.aside.{NAME}.v"
_CODES = {error.code: error.__name__ for error in vars(errors).values() if isinstance(error, type) and hasattr(error, "code")}
_CODES["deploy_failed"] = KEPT
_REFUSED = r"x\, ports: [{containerPort: 99999}]"  # an image, and a port that the API server rejects
_OWN = ("after-lease", "before-operation", "after-operation", "before-end", "before-unlock")
_HELMS = ("before-record", "after-record", "mid-apply", "before-final-write", "after-final-write")
_RECOVERIES = ("after-fence", "after-aside", "before-recreate")
KUBERNAUT, BOTH, ORPHAN = "kubernaut", "kubernaut and Helm", "kubernaut, and Helm lives on"


class OnPlatform:
    """A namespace of the real cluster; kubernaut and Helm are processes behind a proxy."""

    def __init__(self, scenario: FaultScenario, helm: str) -> None:
        self.scenario = scenario
        self.helm = helm
        self.at_work: tuple[Subject, str, int, list[int]] | None = None
        self.sure = False

    def begin(self, *, namespace: bool, keep: int) -> None:
        self.keep = keep
        if namespace:
            self.scenario.cluster.create_namespace(self.scenario.namespace)
        self.users = {helm: self.subject(helm) for helm in (self.helm, *{"helm3", "helm4"} - {self.helm})}

    @property
    def user(self) -> Subject:
        return self.users[self.helm]

    def subject(self, helm: str) -> Subject:
        return self.scenario.subject(helm, KUBERNAUT_HISTORY_MAX=str(self.keep))

    def verb(self, verb: str, *, kill: Any = None, dry_run: bool = False, lock: str = DEAD, **how: Any) -> str:
        arguments, before = self.arguments(verb, dry_run=dry_run, **how), self.everything()
        if kill:
            running = self.killed(arguments, *kill)
            if running is None:
                return KILLED
        else:
            running = self.user.start(*arguments)
        ended = running.wait()
        problem = ended.problem() if ended.stdout else {}
        self.user.settled()
        if ended.status:
            answer = _CODES[problem["code"]]
            self.sure = answer == ROLLED_BACK or (self.sure and answer != KEPT)
            return answer
        if dry_run:
            return DONE if problem["actions"] else NOTHING
        changed = self.everything() != before
        self.sure = self.sure or changed
        return DONE if changed else NOTHING

    def arguments(self, verb: str, *, dry_run: bool, **how: Any) -> list[str]:
        arguments = [verb, NAME, "-n", self.scenario.namespace, "-o", "json"]
        fails, what, revision = how.get("fails"), how.get("what", ""), how.get("revision")
        if verb == "deploy":
            arguments += ["--set", f"text={what.replace(' ', '-')}"]
            arguments += ["--set", "hook=pre-delete"] if what.startswith(HOOKED) else []
            arguments += ["--set", f"image={_REFUSED}"] if fails else []
            arguments += ["--on-failure", "keep" if fails == "kept" else "rollback", "--on-conflict", "take"]
        arguments += ["--no-hooks"] if how.get("no_hooks") else []
        arguments += ["--create-namespace"] if how.get("create") else []
        if revision is not None and verb == "delete":
            arguments[1:4] = [f"{self.scenario.namespace}.{NAME}.v{revision}"]
        elif revision is not None:
            arguments += ["--revision", str(revision)]
        arguments += ["--yes"] if verb in ("delete", "unlock") else []
        return arguments + ["--dry-run"] * dry_run

    def killed(self, arguments: list[str], point: str, who: str) -> Running | None:
        """Start kubernaut and kill it at a point; return it where it does not come there."""
        user = self.user
        if who == ORPHAN and self.at_work is None:
            folder = self.scenario.folder / uuid4().hex
            folder.mkdir()
            user = self.subject(str(write_wrapper(folder, self.scenario.helms[self.helm]).helm))
        user.proxy.hold(point)
        running = user.start(*arguments)
        until(lambda: user.proxy.reached(point) or running.process.poll() is not None, f"{point}, or the end")
        if not user.proxy.reached(point):
            user.proxy.release(point)
            self.user.settled()
            return running
        if user is not self.user:
            running.kill()
            self.leave(user, point)
            return None
        helms = running.helms() if who == BOTH else []
        running.signal(signal.SIGSTOP)
        for pid in helms:
            os.kill(pid, signal.SIGKILL)
        running.kill()
        user.let_go(point, forward=who != BOTH)
        user.settled()
        self.sure = False
        return None

    def leave(self, user: Subject, point: str) -> None:
        """Leave a Helm at work that has made its record; another is let go at once."""
        records = self.seen().records
        deployed = [revision for revision, status, *_ in records if status == "deployed"]
        if user.processes() and records and records[-1][1].startswith("pending-"):
            self.at_work = user, point, records[-1][0], deployed
        else:
            for pid in user.processes():
                os.kill(pid, signal.SIGKILL)
            user.proxy.release(point, forward=False)
            user.settled()
        self.sure = False

    def plain(self, verb: str, what: str, revision: int, *, ends: bool) -> None:
        chart = [f"oci://{self.scenario.published.registry}/charts/{NAME}@{self.scenario.published.digest}", "--plain-http"]
        values = ["--set", f"text={what.replace(' ', '-')}", *(["--set", "hook=pre-delete"] if what.startswith(HOOKED) else [])]
        arguments = {
            "install": ["install", NAME, *chart, *values, "--replace"],
            "upgrade": ["upgrade", NAME, *chart, *values, "--history-max", "0"],
            "rollback": ["rollback", NAME, str(revision), "--history-max", "0"],
            "uninstall": ["uninstall", NAME, "--keep-history", "--no-hooks"],
        }[verb]
        on_server = self.helm == "helm4" and verb != "uninstall"  # also over what Helm 3 made
        forced = ["--server-side=true", "--force-conflicts"] if on_server else []
        command = [self.scenario.helms[self.helm], *arguments, *forced, "-n", self.scenario.namespace]
        self.sure = False
        if not ends:
            self.user.proxy.hold("after-record")
        with subprocess.Popen(command, env=self.user.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
            if ends:
                _, stderr = process.communicate(timeout=60)
                assert process.returncode == 0, stderr
                return
            self.user.proxy.wait_for("after-record")
            process.kill()
        self.user.proxy.release("after-record", forward=False)
        self.user.settled()

    def outlived(self) -> tuple[int, list[int]] | None:
        return self.at_work[2:] if self.at_work else None

    def end_outlived(self) -> None:
        assert self.at_work is not None
        (user, point, *_), self.at_work = self.at_work, None
        user.proxy.release(point)
        user.settled()
        self.sure = False

    def other_helm(self) -> bool:
        self.helm = "helm3" if self.helm == "helm4" else "helm4"
        return self.helm == "helm4"

    def others_change(self) -> bool:
        address = f"/api/v1/namespaces/{self.scenario.namespace}/configmaps/{NAME}"
        try:
            merge_patch(self.scenario.cluster, address, {"data": {"text": "theirs"}}, manager="kubectl-edit")
        except NotFound:
            return False
        self.sure = False
        return True

    def grow_old(self) -> None:
        raise NotImplementedError

    def secrets(self) -> dict[str, dict[str, Any]]:
        found = self.scenario.cluster.list_secrets(self.scenario.namespace, {"name": NAME, "owner": ("helm", "kubernaut")})
        return {str(secret["metadata"]["name"]): secret for secret in found}

    def seen(self) -> Seen:
        secrets = self.secrets()
        operations = (_decoded(secret["data"]["operation"]) for secret in secrets.values() if "operation" in secret["data"])
        return Seen(
            tuple(sorted(_record(secret) for name, secret in secrets.items() if name.startswith(_RECORD))),
            tuple(sorted(int(name.removeprefix(_ASIDE)) for name in secrets if name.startswith(_ASIDE))),
            self.scenario.cluster.get_lease(self.scenario.namespace, f"kubernaut.{NAME}") is not None,
            sum(operation.get("finishedAt") is None for operation in operations),
            self.scenario.cluster.namespace_exists(self.scenario.namespace),
        )

    def snapshot(self) -> Snapshot:
        return self.scenario.look()

    def everything(self) -> object:
        return self.secrets(), self.scenario.cluster.get_lease(self.scenario.namespace, f"kubernaut.{NAME}")

    def runs(self) -> str | None:
        if not self.sure:
            return ""
        text = self.scenario.text()
        return text and text.replace("-", " ")

    def close(self) -> None:
        self.scenario.close()


def _record(secret: Mapping[str, Any]) -> tuple[int, str, str, bool]:
    content = _decoded(base64.b64decode(secret["data"]["release"]))
    what = str(content["config"]["text"]).replace("-", " ")
    return int(content["version"]), content["info"]["status"], what, secret.get("immutable", False)


def _decoded(encoded: str | bytes) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(encoded)))
    return content


class RealMachine(Machine):
    """Kills kubernaut alone, so that Helm gets the parent-death signal; with Helm; or so that Helm outlives it."""

    counts = (0, 0, 1, 8)
    in_memory, broken = False, BROKEN
    kills = st.tuples(st.sampled_from((*_OWN, *_HELMS, *_RECOVERIES)), st.sampled_from([KUBERNAUT, BOTH, ORPHAN]))


@pytest.mark.parametrize("helm", ["helm3", "helm4"])
def test_machine(helm: str, platform: Mapping[str, str], helms: Mapping[str, str], published: Published, tmp_path: Path) -> None:
    class OfThisHelm(RealMachine):
        newer = helm == "helm4"
        numbers = iter(range(1_000_000))

        @classmethod
        def system(cls) -> OnPlatform:
            folder = tmp_path / str(next(cls.numbers))
            folder.mkdir()
            return OnPlatform(FaultScenario(folder, platform, published, helms), helm)

    run_state_machine_as_test(OfThisHelm, settings=settings_of(examples=6, steps=12, shrink=False))
