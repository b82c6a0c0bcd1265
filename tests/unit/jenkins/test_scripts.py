"""The freestyle jobs' shell steps, run by bash: a git repository that is real, and a kubernaut that only says what it was asked."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.examples import examples
from support.job_server import job_settings
from support.messages import facts

from kubernaut.jenkins.jobs import ShellStep, define_jobs, shell_step

HOSTILE = "a\"b'c $(touch pwned) `touch pwned` ]]> <b> é 😀\n\tx; touch pwned & -- -x ${HOME} \\"
STUB = """\
#!{python}
import json, os, sys
from pathlib import Path
with open(os.environ["CALLS"], "a") as calls:
    print(json.dumps(sys.argv[1:]), file=calls)
seen = {{name: os.environ.get(name) for name in ("GIT_COMMIT", "GIT_URL")}}
Path(os.environ["CALLS"] + ".seen").write_text(json.dumps(seen | {{"pid": os.getppid()}}))
if os.environ.get("FAIL") == sys.argv[1]:
    sys.exit(8)
if "--to" in sys.argv:
    file = Path(sys.argv[2]) / "text"
    Path(sys.argv[sys.argv.index("--to") + 1]).write_text(file.read_text() if file.exists() else "?")
"""


@dataclass
class Agent:
    """A workspace with a repository to clone and a kubernaut to call."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def workspace(self) -> Path:
        return self.folder / "workspace"

    @property
    def origin(self) -> Path:
        return self.folder / "origin $(touch pwned).git"

    def make(self) -> None:
        for name in ("bin", "workspace", "work"):
            (self.folder / name).mkdir()
        stub = self.folder / "bin" / "kubernaut"
        stub.write_text(STUB.format(python=sys.executable))
        stub.chmod(0o755)
        self.environment = {
            "PATH": f"{stub.parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(self.folder),
            "CALLS": str(self.folder / "calls"),
            "GIT_CONFIG_NOSYSTEM": "1",
            "BUILD_TAG": "hudson-shop-release-7",
        }
        self.git("init", "--quiet", "--bare", "--initial-branch=main", str(self.origin))
        self.git("init", "--quiet", "--initial-branch=main", ".")
        self.git("remote", "add", "origin", str(self.origin))

    def git(self, *arguments: str) -> str:
        identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com")
        return subprocess.run(
            ["git", *identity, *arguments],
            cwd=self.folder / "work",
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()

    def push(self, text: str, *, branch: str = "main") -> str:
        """Commit and push a text; return the commit."""
        app = self.folder / "work" / "my app"
        app.mkdir(exist_ok=True)
        (app / "text").write_text(text)
        self.git("add", ".")
        self.git("commit", "--quiet", "-m", text)
        self.git("push", "--quiet", "--force", "origin", f"HEAD:{branch}")
        return self.git("rev-parse", "HEAD")

    def run(self, script: str, **parameters: str) -> subprocess.CompletedProcess[str]:
        (self.folder / "calls").unlink(missing_ok=True)
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.workspace,
            env={**self.environment, **parameters},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert not list(self.folder.rglob("pwned"))
        return done

    def release(self, **parameters: str) -> subprocess.CompletedProcess[str]:
        values = {"repository": str(self.origin), "branch": "main", "directory": "my app", "deploy_job": "team/shop-deploy"}
        return self.run(shell_step("release", **values).script, **parameters)

    def deploy(self, **parameters: str) -> subprocess.CompletedProcess[str]:
        return self.run(shell_step("deploy", application="shop").script, **parameters)

    @property
    def calls(self) -> list[list[str]]:
        file = self.folder / "calls"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    @property
    def seen(self) -> dict[str, str]:
        """The environment of kubernaut."""
        seen: dict[str, str] = json.loads((self.folder / "calls.seen").read_text())
        return seen

    @property
    def released(self) -> str:
        """The source of release.json."""
        return (self.workspace / "release.json").read_text()


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    agent = Agent(tmp_path)
    agent.make()
    return agent


PUBLISH = ["publish", "source/my app", "--to", "release.json"]


def test_newest_commit_is_published(agent: Agent) -> None:
    agent.push("one")
    done = agent.release()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert agent.calls == [PUBLISH]
    assert agent.released == "one"
    commit = agent.push("two")
    assert agent.release(GIT_COMMIT="", NAMESPACE="").returncode == 0
    assert agent.released == "two"
    assert (agent.seen["GIT_COMMIT"], agent.seen["GIT_URL"]) == (commit, str(agent.origin))


def test_named_commit_is_published(agent: Agent) -> None:
    first = agent.push("one")
    agent.push("two")
    assert agent.release(GIT_COMMIT=first).returncode == 0
    assert agent.released == "one"
    assert agent.seen["GIT_COMMIT"] == first


def test_commit_of_another_branch_and_a_force_pushed_branch(agent: Agent) -> None:
    agent.push("one")
    agent.release()
    other = agent.push("other", branch="feature")
    assert agent.release(GIT_COMMIT=other).returncode == 0
    agent.git("commit", "--quiet", "--amend", "-m", "rewritten")
    agent.git("push", "--quiet", "--force", "origin", "HEAD:main")
    assert agent.release().returncode == 0
    assert agent.released == "other"


def test_all_current_tags_are_fetched(agent: Agent) -> None:
    agent.push("one")
    agent.git("tag", "v1.0.0")
    agent.git("tag", "v2.0.0")
    agent.git("push", "--quiet", "--tags", "origin")
    agent.release()
    agent.push("two")
    agent.git("tag", "--force", "v1.0.0")
    agent.git("push", "--quiet", "--force", "origin", "v1.0.0", ":v2.0.0")
    assert agent.release().returncode == 0
    source = agent.workspace / "source"
    tags = subprocess.run(["git", "tag", "--points-at=HEAD"], cwd=source, capture_output=True, text=True, check=True).stdout
    assert tags.split() == ["v1.0.0"]
    assert not (source / ".git" / "shallow").exists()
    assert not (source / ".git" / "refs" / "tags" / "v2.0.0").exists()


def test_leftovers_of_a_build_are_ignored(agent: Agent) -> None:
    agent.push("one")
    agent.release()
    app = agent.workspace / "source" / "my app"
    (app / "text").write_text("changed")
    (app / "node_modules").mkdir()
    (app / "node_modules" / "x").write_text("left")
    (agent.workspace / "source" / ".git" / "index.lock").write_text("")
    (agent.workspace / "release.json").write_text("old")
    assert agent.release().returncode == 0
    assert agent.released == "one"
    assert not (app / "node_modules").exists()


def test_missing_commit(agent: Agent) -> None:
    agent.push("one")
    for commit in ("0" * 40, "nowhere", "--help", HOSTILE):
        done = agent.release(GIT_COMMIT=commit)
        assert done.returncode == 4
        assert commit in done.stderr
        assert agent.calls == []


def test_missing_repository(agent: Agent) -> None:
    agent.push("one")
    agent.release()
    agent.origin.rename(agent.folder / "moved")
    assert agent.release().returncode != 0
    assert agent.calls == []


def test_version_is_passed_to_deploy_if_a_namespace_is_given(agent: Agent) -> None:
    agent.push("one")
    assert agent.release(NAMESPACE=HOSTILE).returncode == 0
    hand_over = ["--from", "release.json", "--param", f"NAMESPACE={HOSTILE}", "--op-id", "hudson-shop-release-7"]
    assert agent.calls == [PUBLISH, ["jenkins", "run", "team/shop-deploy", *hand_over]]


def test_failed_publish_runs_no_deploy(agent: Agent) -> None:
    agent.push("one")
    agent.release()
    assert agent.release(NAMESPACE="demo", FAIL="publish").returncode == 8
    assert agent.calls == [PUBLISH]
    assert not (agent.workspace / "release.json").exists(), "the last build's would be archived"


def test_failed_trigger_of_deploy_fails_the_build(agent: Agent) -> None:
    agent.push("one")
    assert agent.release(NAMESPACE="demo", FAIL="jenkins").returncode == 8


def test_deploy_gets_the_parameters(agent: Agent) -> None:
    done = agent.deploy(VERSION=HOSTILE, NAMESPACE=HOSTILE, ENVIRONMENT=HOSTILE, NOTE=HOSTILE)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert agent.calls == [
        [
            "deploy",
            f"shop@{HOSTILE}",
            f"--namespace={HOSTILE}",
            "--lock-timeout=10m",
            "--to=deployed.json",
            f"--environment={HOSTILE}",
            f"--note={HOSTILE}",
        ]
    ]


@pytest.mark.parametrize("empty", [{}, {"ENVIRONMENT": "", "NOTE": ""}])
def test_empty_parameters_are_omitted(agent: Agent, empty: dict[str, str]) -> None:
    assert agent.deploy(VERSION="1.4.2", NAMESPACE="demo", **empty).returncode == 0
    assert agent.calls == [["deploy", "shop@1.4.2", "--namespace=demo", "--lock-timeout=10m", "--to=deployed.json"]]


@pytest.mark.parametrize("given", [{}, {"VERSION": "1.4.2"}, {"NAMESPACE": "demo"}, {"VERSION": "", "NAMESPACE": "demo"}])
def test_deploy_needs_version_and_namespace(agent: Agent, given: dict[str, str]) -> None:
    done = agent.deploy(**given)
    assert done.returncode == 3
    assert re.search(facts("VERSION", "NAMESPACE"), done.stderr)
    assert agent.calls == []


def test_failed_deploy_fails_the_build_and_removes_the_old_file(agent: Agent) -> None:
    (agent.workspace / "deployed.json").write_text("old")
    assert agent.deploy(VERSION="1.4.2", NAMESPACE="demo", FAIL="deploy").returncode == 8
    assert not (agent.workspace / "deployed.json").exists()


def test_deploy_replaces_the_shell(agent: Agent) -> None:
    agent.deploy(VERSION="1.4.2", NAMESPACE="demo")
    assert agent.seen["pid"] == os.getpid(), "the signal of an abort reaches kubernaut, and nothing outlives it"


@settings(max_examples=examples(30), deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30).filter(lambda text: "\n\n" not in text))
def test_quoted_values_are_unchanged_in_bash(text: str) -> None:
    names = ("repository", "branch", "directory", "deploy_job")
    script = shell_step("release", **dict.fromkeys(names, text)).script
    shown = " ".join(f'"${name}"' for name in names)
    done = subprocess.run(
        ["bash", "-c", f"{script.split(chr(10) * 2)[1]}\nprintf '%s\\0' {shown}"], capture_output=True, check=True
    )
    assert done.stdout.decode().split("\0")[:-1] == [text] * len(names)


def test_scripts_are_valid_bash_and_echo_nothing() -> None:
    for job in define_jobs(job_settings(), "hudson"):
        assert isinstance(job.steps, ShellStep)
        assert job.steps.script.startswith(f"#!/bin/bash\n{job.steps.marker} ")
        checked = subprocess.run(["bash", "-n"], input=job.steps.script, capture_output=True, text=True, check=True)
        assert checked.stderr == ""
        assert "set -x" not in job.steps.script
