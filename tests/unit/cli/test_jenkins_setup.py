"""``kubernaut jenkins setup``: requests, output, and errors before anything is sent."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import responses
from click.testing import CliRunner, Result
from support.job_server import URL, FakeJobServer
from support.messages import facts

from kubernaut.cli.main import main
from kubernaut.errors import JenkinsDenied
from kubernaut.jenkins.jobs import JobPath

ROOT = Path(__file__).parents[3]
CANARY = "canary-5f3a-" + "x" * 32
RELEASE, DEPLOY = "hello-world-release", "hello-world-deploy"
REPOSITORY = "https://git.example.com/team/hello.git"
Setup = Callable[..., Result]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A clone with the application hello-world and the Jenkinsfiles, whose origin has a password in its URL."""
    for folder in ("examples/hello-world", "charts/hello-world", "jenkins"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("node_modules"))
    git(tmp_path, "init", "--quiet", "--initial-branch=main")
    git(tmp_path, "remote", "add", "origin", REPOSITORY.replace("//", f"//ada:{CANARY}@"))
    git(tmp_path, "add", "examples/hello-world/kubernaut.yaml")
    git(tmp_path, "-c", "user.name=Ada", "-c", "user.email=ada@example.com", "commit", "--quiet", "-m", "first")
    return tmp_path


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=folder, capture_output=True, check=True)


@pytest.fixture
def setup(tree: Path, monkeypatch: pytest.MonkeyPatch) -> Setup:
    """Run the command; no output contains the token."""
    for name in ("JENKINS_URL", "HUDSON_URL", "KUBERNAUT_JENKINS_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("JENKINS_USER", "ada")
    monkeypatch.setenv("KUBERNAUT_JENKINS_TOKEN", CANARY)

    def run(*arguments: str, app: str = "examples/hello-world") -> Result:
        result = CliRunner().invoke(main, ["jenkins", "setup", str(tree / app), *arguments])
        assert CANARY not in result.stdout + result.stderr
        return result

    return run


def on(server: FakeJobServer, monkeypatch: pytest.MonkeyPatch) -> FakeJobServer:
    """Replace the server of the settings."""
    monkeypatch.setattr("kubernaut.jenkins.server.open_server", lambda _settings: server)
    return server


@pytest.fixture
def hudson(monkeypatch: pytest.MonkeyPatch) -> FakeJobServer:
    return on(FakeJobServer(), monkeypatch)


@pytest.fixture
def jenkins(monkeypatch: pytest.MonkeyPatch) -> FakeJobServer:
    return on(FakeJobServer("jenkins", folders=("team",)), monkeypatch)


def test_dry_run_describes_new_jobs(setup: Setup, hudson: FakeJobServer) -> None:
    result = setup("--dry-run", "-n", "demo")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].startswith(f"1. create-job {RELEASE}: ")
    assert lines[1].strip() == f"freestyle job {URL}/job/{RELEASE}/"
    assert any(line.startswith("       NAMESPACE=demo ") for line in lines)
    assert f"       repository={REPOSITORY}" in lines
    assert "       directory=examples/hello-world" in lines
    assert any(line.startswith(f"2. create-job {DEPLOY}: ") for line in lines)
    assert hudson.sent == []


def test_jobs_are_created_once(setup: Setup, hudson: FakeJobServer) -> None:
    first = setup("-n", "demo")
    assert first.stdout == f"{RELEASE} created: {URL}/job/{RELEASE}/\n{DEPLOY} created: {URL}/job/{DEPLOY}/\n"
    assert f"next: kubernaut jenkins run {RELEASE} --follow" in first.stderr
    again = setup("-n", "demo", "-o", "json")
    assert json.loads(again.stdout)["items"] == [
        {"job": RELEASE, "url": f"{URL}/job/{RELEASE}/", "change": "unchanged"},
        {"job": DEPLOY, "url": f"{URL}/job/{DEPLOY}/", "change": "unchanged"},
    ]
    assert again.stderr == ""
    assert hudson.sent == [("create", RELEASE), ("create", DEPLOY)]
    assert not any(CANARY in config for config in hudson.configs.values())
    assert setup("-n", "demo", "--dry-run").stdout.startswith("nothing to do: ")


def test_difference_is_shown(setup: Setup, hudson: FakeJobServer) -> None:
    setup("-n", "demo")
    for arguments in (("--dry-run",), ()):
        shown = setup("-n", "other", *arguments).stdout
        assert "     -          <defaultValue>demo</defaultValue>\n     +          <defaultValue>other</defaultValue>\n" in shown
    assert hudson.sent[2:] == [("reconfigure", RELEASE)]


def test_plan_as_json(setup: Setup, hudson: FakeJobServer) -> None:
    setup("-n", "demo")
    plan = json.loads(setup("-n", "other", "--dry-run", "-o", "json").stdout)
    (action,) = plan["actions"]
    assert (action["kind"], action["subject"]) == ("update-job", RELEASE)
    assert action["reason"].endswith(": parameter NAMESPACE")


def test_pipelines_on_jenkins(setup: Setup, jenkins: FakeJobServer) -> None:
    shown = setup("--dry-run", "--folder", "team", "--credentials-id", "team-git").stdout
    assert f"pipeline job {URL}/job/team/job/{RELEASE}/" in shown
    assert f"runs: jenkins/release/Jenkinsfile of {REPOSITORY}, branch main" in shown
    assert "APP_DIR=examples/hello-world (the application's folder in the repository)" in shown
    done = setup("--folder", "team", "--credentials-id", "team-git")
    assert f"{URL}/github-webhook/" in done.stderr
    assert "<credentialsId>team-git</credentialsId>" in jenkins.configs[f"team/{RELEASE}"]


def test_missing_jenkinsfile_is_an_error(setup: Setup, jenkins: FakeJobServer, tree: Path) -> None:
    (tree / "jenkins" / "deploy" / "Jenkinsfile").unlink()
    result = setup()
    assert result.exit_code == 3
    assert "jenkins/deploy/Jenkinsfile" in result.stderr
    assert "jenkins/release/Jenkinsfile" not in result.stderr.partition("hint: ")[0]
    assert re.search(facts("ci/release/Jenkinsfile", "ci/deploy/Jenkinsfile"), setup("--jenkinsfiles", "ci").stderr)
    assert setup("--flavour", "freestyle").exit_code == 0
    assert len(jenkins.sent) == 2


def test_invalid_options_send_nothing(setup: Setup, hudson: FakeJobServer) -> None:
    for arguments, words in (
        (("--flavour", "pipeline"), "Pipelines"),
        (("--folder", "team"), "team"),
        (("--folder", "../.."), "'../../hello-world-release'"),
        (("--credentials-id", "x"), "freestyle"),
        (("--branch", "-x"), "branch"),
        (("-n", "No Namespace"), "namespace"),
        (("--repository", f"https://ada:{CANARY}@git.example.com/x.git"), "credentials"),
    ):
        result = setup(*arguments)
        assert result.exit_code in (3, 4), arguments
        assert words in result.stderr
    assert hudson.sent == []


def test_foreign_job_is_a_conflict_without_force(setup: Setup, hudson: FakeJobServer) -> None:
    hudson.configs[DEPLOY] = f"<project><description>Ask Ada.</description><authToken>{CANARY}</authToken></project>"
    refused = setup()
    assert refused.exit_code == 5
    assert DEPLOY in refused.stderr
    assert "--force" in refused.stderr
    assert hudson.sent == []
    assert setup("--force").exit_code == 0
    assert f"<authToken>{CANARY}</authToken>" in hudson.configs[DEPLOY]


def test_invalid_second_application_prevents_all_changes(setup: Setup, hudson: FakeJobServer, tree: Path) -> None:
    for name, content in (("broken", "name: [\n"), ("unknown", "name: x\nchart: .\nwhat: 1\n"), ("empty", "")):
        app = tree / name
        app.mkdir()
        (app / "kubernaut.yaml").write_text(content)
        result = setup(str(app))
        assert result.exit_code == 3
        assert "kubernaut.yaml" in result.stderr
    assert setup(str(tree / "nowhere")).exit_code == 3
    assert re.search(facts(RELEASE, DEPLOY), setup(str(tree / "examples" / "hello-world")).stderr)
    assert hudson.sent == []


def test_application_without_git_or_origin(setup: Setup, hudson: FakeJobServer, tree: Path) -> None:
    git(tree, "remote", "remove", "origin")
    assert re.search(facts("origin", "--repository"), setup().stderr)
    assert setup("--repository", "git@git.example.com:team/hello.git").exit_code == 0
    assert "repository=git@git.example.com:team/hello.git\n" in hudson.configs[RELEASE]
    shutil.rmtree(tree / ".git")
    outside = setup("--repository", REPOSITORY)
    assert outside.exit_code == 3
    assert re.search(facts(str(tree), "git"), outside.stderr)


def test_ssh_user_of_the_origin_is_kept(setup: Setup, hudson: FakeJobServer, tree: Path) -> None:
    git(tree, "remote", "set-url", "origin", f"ssh://git:{CANARY}@git.example.com/hello.git")
    assert setup().exit_code == 0
    assert "repository=ssh://git@git.example.com/hello.git\n" in hudson.configs[RELEASE]


def test_denied_user_exits_with_9(setup: Setup, hudson: FakeJobServer) -> None:
    def refuse(_path: JobPath) -> None:
        raise JenkinsDenied("ada may not create jobs.")

    hudson.failing = refuse
    result = setup("-o", "json")
    assert result.exit_code == 9
    assert json.loads(result.stdout)["code"] == "jenkins_denied"


def test_missing_url_names_the_setting(setup: Setup) -> None:
    result = setup()
    assert result.exit_code == 3
    assert "KUBERNAUT_JENKINS_URL" in result.stderr


@pytest.mark.parametrize("url", ["ci.example.com", "ftp://ci.example.com", "https://ada:pw@ci.example.com", "https://"])
def test_invalid_url(setup: Setup, url: str) -> None:
    assert setup("--url", url).exit_code == 3


@pytest.mark.parametrize(
    ("status", "body", "exit_status"),
    [
        (200, "<html><body>Welcome to our proxy</body></html>", 8),
        (404, "<html>Not Found</html>", 8),
        (403, "<html><meta content='1;url=/login?from=%2F'></html>", 9),
        (401, "", 9),
        (503, "<html>Please wait while Jenkins is getting ready to work</html>", 8),
    ],
)
def test_foreign_server_and_denied_user(setup: Setup, status: int, body: str, exit_status: int) -> None:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as http:
        http.add(responses.GET, re.compile(re.escape(URL)), body=body, status=status, content_type="text/html")
        result = setup("--url", URL)
        assert result.exit_code == exit_status, result.stderr
        assert "Traceback" not in result.stderr
        assert {call.request.method for call in http.calls} == {"GET"}
