"""The two CI servers of the jobs' scenario: a Hudson that is started for it, and a genuine Jenkins."""

from __future__ import annotations

import base64
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from kubernaut.adapters.kube import Cluster
from kubernaut.errors import Conflict
from support.checkout import REPOSITORY as CHECKOUT
from support.checkout import Checkout, make_checkout
from support.ci_jobs import Jobs
from support.ci_scenario import DEPLOY, RELEASE, REPOSITORY, CiScenario, path_with_kubernaut
from support.ci_server import running
from support.github import FakeGitHub
from support.hudson import HudsonHome, make_repository

DEPLOY_SECONDS = 40
"""The timeout of a deploy; one that never becomes ready takes as long."""
GENUINE = ("JENKINS_URL", "JENKINS_USER", "JENKINS_TOKEN", "KUBECONFIG", "KUBERNAUT_REGISTRY")
GENUINE_SECONDS = 900.0
"""How long to wait there for a build's end: an agent may have to start first, and a deploy's deadline is the server's."""
_OTHERS = ("JENKINS_", "HUDSON_", "BUILD_", "GITHUB_", "JOB_", "CHANGE_")
_GIT = ("GIT_COMMIT", "GIT_URL", "GIT_BRANCH")


@contextmanager
def on_hudson(platform: Mapping[str, str], folder: Path) -> Iterator[CiScenario]:
    """Start a Hudson whose builds deploy to the local platform, with their secrets in files."""
    with FakeGitHub() as github:
        made = _isolated(make_checkout(platform, folder / "checkout"))
        secrets = _Secrets(folder / "secrets", platform, github.token)
        home = HudsonHome(folder / "ci", executors=3)
        jenkins = {"KUBERNAUT_JENKINS_USER": home.admin.name, "KUBERNAUT_JENKINS_TOKEN_FILE": str(home.admin.token_file)}
        for name in ("tmp", "home"):
            (folder / name).mkdir()
        builds = {
            "PATH": f"{path_with_kubernaut()}{os.pathsep}{platform['PATH']}",
            "HOME": str(folder / "home"),
            "TMPDIR": str(folder / "tmp"),
            "GIT_CONFIG_GLOBAL": os.devnull,
            "DOCKER_HOST": platform["DOCKER_HOST"],
            "KUBERNAUT_REGISTRY": made.environment["KUBERNAUT_REGISTRY"],
            "KUBERNAUT_TIMEOUT": f"{DEPLOY_SECONDS}s",
            "KUBERNAUT_GITHUB_URL": github.url,
            "KUBERNAUT_GITHUB_REPOSITORY": REPOSITORY,
            **jenkins,
            **secrets.environment(),
        }
        with running(home, builds) as server:
            jenkins["KUBERNAUT_JENKINS_URL"] = server.url
            made.environment = {**made.environment, **jenkins}
            ci = CiScenario(
                jobs=Jobs(server.url, server.user, server.token_file),
                checkout=made,
                repository=_origin(folder, made, jenkins),
                cluster=Cluster(platform["KUBECONFIG"]),
                flavour="freestyle",
                hudson=server,
                github=github,
                secrets=(*secrets.values, home.admin.password(), home.reader.password()),
                places=[home.log, home.root, folder / "tmp", folder / "home", folder / "hub.git"],
            )
            yield from _with_namespace(ci)


@contextmanager
def on_jenkins(folder: Path) -> Iterator[CiScenario]:
    """Use an existing Jenkins, and the cluster and registry of KUBECONFIG and KUBERNAUT_REGISTRY, which its agents must reach.

    The README for administrators lists its requirements. Not run by the authors, for want of a Jenkins.
    """
    environment = dict(os.environ)
    if missing := [name for name in GENUINE if not environment.get(name)]:
        pytest.fail(f"set {', '.join(missing)}: the scenario needs a Jenkins, and a cluster and a registry that its agents reach")
    token_file = folder / "token"
    token_file.touch(mode=0o600)
    token_file.write_text(environment.pop("JENKINS_TOKEN"))
    url, user = environment["JENKINS_URL"].rstrip("/"), environment["JENKINS_USER"]
    jenkins = {
        "KUBERNAUT_JENKINS_URL": url,
        "KUBERNAUT_JENKINS_USER": user,
        "KUBERNAUT_JENKINS_TOKEN_FILE": str(token_file),
    }
    made = _isolated(make_checkout(environment, folder / "checkout"))
    # The server's credentials are called after the namespace, and its agents know the registry as it is given.
    made.namespace = environment.get("JENKINS_NAMESPACE") or "kubernaut-test"
    made.environment = {**made.environment, "KUBERNAUT_REGISTRY": environment["KUBERNAUT_REGISTRY"], **jenkins}
    shutil.copytree(CHECKOUT / "jenkins", made.tree / "jenkins")
    made.commit("the jobs")
    made.git("tag", "--force", "v1.0.0")
    repository = environment.get("JENKINS_GIT_URL", "")
    if repository:
        made.git("remote", "add", "origin", repository)
    else:
        repository = _origin(folder, made, jenkins, parameter=False)
    ci = CiScenario(
        jobs=Jobs(url, user, token_file, folder=environment.get("JENKINS_FOLDER", ""), patience=GENUINE_SECONDS),
        checkout=made,
        repository=repository,
        cluster=Cluster(environment["KUBECONFIG"]),
        flavour="pipeline",
        secrets=(token_file.read_text(),),
    )
    yield from _with_jobs(ci)


def _origin(folder: Path, checkout: Checkout, jenkins: Mapping[str, str], *, parameter: bool = True) -> str:
    """Create the repository that the checkout pushes to; its hook knows only the server."""
    environment = {"PATH": path_with_kubernaut(), "HOME": checkout.environment["HOME"], **jenkins}
    repository = str(make_repository(folder / "hub.git", RELEASE, environment, parameter=parameter))
    checkout.git("remote", "add", "origin", repository)
    return repository


def _with_jobs(ci: CiScenario) -> Iterator[CiScenario]:
    """Require that the jobs do not exist, and delete them at the end."""
    if there := [job for job in (RELEASE, DEPLOY) if ci.jobs.exists(job)]:
        pytest.fail(f"{' and '.join(there)} exist already on {ci.jobs.url}; JENKINS_FOLDER names a folder without them")
    try:
        yield from _with_namespace(ci)
    finally:
        for job in (RELEASE, DEPLOY):
            if ci.jobs.exists(job):
                ci.jobs.delete(job)


def _with_namespace(ci: CiScenario) -> Iterator[CiScenario]:
    """Create the namespace, which Deploy does not, and delete it at the end."""
    try:
        ci.cluster.create_namespace(ci.namespace)
    except Conflict:
        pytest.fail(f"The namespace {ci.namespace} exists already, and this would delete it at its end.")
    try:
        yield ci
    finally:
        ci.close()


def _isolated(made: Checkout) -> Checkout:
    """Remove the variables of a CI build that runs the tests."""
    known = made.environment.items()
    made.environment = {name: value for name, value in known if name not in _GIT and not name.startswith(_OTHERS)}
    return made


class _Secrets:
    """The secrets of the builds, in files of mode 0600."""

    def __init__(self, folder: Path, platform: Mapping[str, str], github: str) -> None:
        folder.mkdir(mode=0o700)
        self._folder = folder
        kubeconfig = Path(platform["KUBECONFIG"]).read_text()
        key = yaml.safe_load(kubeconfig)["users"][0]["user"]["client-key-data"]
        password = f"registry-{uuid.uuid4().hex}"
        basic = base64.b64encode(f"ci:{password}".encode()).decode()
        host = platform["KUBERNAUT_REGISTRY"].partition("/")[0]
        self._write("kubeconfig", kubeconfig)
        self._write("config.json", json.dumps({"auths": {host: {"auth": basic}}}))
        self._write("github", github)
        # A key's beginning is every key's; a piece from its midst, as it stands in the file and as it is used.
        self.values = (github, password, basic, key[100:150], base64.b64decode(key).decode().splitlines()[2])

    def environment(self) -> dict[str, str]:
        """The variables that name the files."""
        return {
            "KUBECONFIG": str(self._folder / "kubeconfig"),
            "DOCKER_CONFIG": str(self._folder),
            "KUBERNAUT_GITHUB_TOKEN_FILE": str(self._folder / "github"),
        }

    def _write(self, name: str, text: str) -> None:
        file = self._folder / name
        file.touch(mode=0o600)
        file.write_text(text)
