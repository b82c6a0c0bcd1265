"""The definitions of the jobs, and invalid settings."""

from __future__ import annotations

from typing import Any

import pytest
from support.job_server import job_settings
from support.messages import facts

from kubernaut.errors import JobInvalid, NameInvalid
from kubernaut.jenkins.jobs import PipelineFromScm, ShellStep, check_credential_free, choose_flavour, define_jobs


def test_freestyle_jobs() -> None:
    release, deploy = define_jobs(job_settings(), "hudson")
    assert (str(release.path), str(deploy.path)) == ("hello-world-release", "hello-world-deploy")
    assert [parameter.name for parameter in release.parameters] == ["NAMESPACE", "GIT_COMMIT", "OP_ID"]
    assert [parameter.name for parameter in deploy.parameters] == ["VERSION", "NAMESPACE", "ENVIRONMENT", "NOTE", "OP_ID"]
    assert [parameter.default for parameter in release.parameters] == ["demo", "", ""]
    assert not any(parameter.default for parameter in deploy.parameters)
    assert (release.artifact, deploy.artifact) == ("release.json", "deployed.json")
    assert isinstance(release.steps, ShellStep)
    assert release.steps.marker in release.steps.script


def test_pipeline_jobs() -> None:
    release, deploy = define_jobs(job_settings(folder="team/shops", credentials_id="team-git", jenkinsfiles="ci"), "jenkins")
    assert (str(release.path), str(deploy.path)) == ("team/shops/hello-world-release", "team/shops/hello-world-deploy")
    assert [parameter.name for parameter in release.parameters] == ["NAMESPACE", "APP_DIR", "OP_ID"]
    assert release.parameters[1].default == "examples/hello-world"
    assert release.steps == PipelineFromScm("https://git.example.com/hello-world.git", "main", "ci/release/Jenkinsfile", "team-git")
    assert isinstance(deploy.steps, PipelineFromScm)
    assert deploy.steps.script_path == "ci/deploy/Jenkinsfile"


def test_jenkinsfiles_at_the_top_of_the_repository() -> None:
    release, _ = define_jobs(job_settings(jenkinsfiles="."), "jenkins")
    assert isinstance(release.steps, PipelineFromScm)
    assert release.steps.script_path == "release/Jenkinsfile"


def test_deploy_job_is_named_with_its_folder() -> None:
    release, _ = define_jobs(job_settings(folder="team", flavour="freestyle"), "jenkins")
    assert isinstance(release.steps, ShellStep)
    assert "\ndeploy_job=team/hello-world-deploy\n" in release.steps.script


@pytest.mark.parametrize("kind", ["jenkins", "hudson"])
def test_freestyle_is_available_on_every_server(kind: Any) -> None:
    assert choose_flavour(kind, "freestyle") == "freestyle"


def test_pipeline_is_refused_for_hudson() -> None:
    with pytest.raises(JobInvalid, match=facts("Pipelines")):
        define_jobs(job_settings(flavour="pipeline"), "hudson")


@pytest.mark.parametrize(
    "facts",
    [
        {"application": "Hello"},
        {"application": "a/../b"},
        {"application": "-x"},
        {"namespace": "de mo"},
        {"namespace": "$(id)"},
    ],
)
def test_invalid_names_are_refused(facts: dict[str, str]) -> None:
    with pytest.raises(NameInvalid):
        define_jobs(job_settings(**facts), "hudson")


@pytest.mark.parametrize(
    "facts",
    [
        {"folder": ".."},
        {"folder": "team/../.."},
        {"folder": "/team"},
        {"folder": "a//b"},
        {"branch": ""},
        {"branch": "-upload-pack=x"},
        {"branch": "a..b"},
        {"branch": "a b"},
        {"branch": "a^{commit}"},
        {"branch": "a.lock"},
        {"branch": "a/"},
        {"branch": "x\ny"},
        {"repository": ""},
        {"repository": "--upload-pack=touch /tmp/x"},
        {"repository": "../hello"},
        {"repository": "https://git.example.com/a b.git"},
        {"repository": "https://[git.example.com/x.git"},
        {"directory": "/srv/app"},
        {"directory": "a/../../b"},
        {"directory": ""},
        {"directory": "a\x1bb"},
        {"directory": "a\nb"},
        {"directory": "a\ud800b"},
        {"jenkinsfiles": "../jenkins"},
        {"flavour": "freestyle", "credentials_id": "team-git"},
    ],
)
def test_invalid_settings_are_refused(facts: dict[str, str]) -> None:
    with pytest.raises(JobInvalid) as refused:
        define_jobs(job_settings(**{"flavour": "freestyle", **facts}), "jenkins")
    assert refused.value.hint


def test_invalid_credentials_id_is_refused() -> None:
    with pytest.raises(JobInvalid, match="credential"):
        define_jobs(job_settings(credentials_id="a b"), "jenkins")


@pytest.mark.parametrize(
    "url",
    [
        "https://ada:canary@git.example.com/shop.git",
        "https://canary@git.example.com/shop.git",
        "https://git.example.com/shop.git?private_token=canary",
        "ssh://git:canary@git.example.com/shop.git",
    ],
)
def test_repository_with_credentials_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(JobInvalid) as refused:
        define_jobs(job_settings(repository=url), "jenkins")
    assert "canary" not in str(refused.value.problem())


@pytest.mark.parametrize("url", ["ssh://git@git.example.com/shop.git", "git@git.example.com:shop.git", "/srv/git/shop.git"])
def test_ssh_user_is_not_a_credential(url: str) -> None:
    check_credential_free(url)
    assert define_jobs(job_settings(repository=url), "jenkins")


@pytest.mark.parametrize("branch", ["main", "release/1.4", "feature/é😀", "a'b", "x;y", "$(id)"])
def test_valid_branches(branch: str) -> None:
    assert define_jobs(job_settings(branch=branch), "hudson")
