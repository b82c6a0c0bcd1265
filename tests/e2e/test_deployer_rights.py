"""A deployer with only the rights of jenkins/agent/rbac.yaml, and the Jenkinsfiles' scripts run with them."""

from __future__ import annotations

import base64
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.api_calls import call_api
from support.checkout import PROGRAM, REPOSITORY, Checkout
from support.jenkinsfile import scripts
from support.server_process import serving
from support.waiting import until

from kubernaut.adapters.kube import Cluster

pytestmark = pytest.mark.platform

RIGHTS = REPOSITORY / "jenkins" / "agent" / "rbac.yaml"
NOTE = 'it\'s "new" $(touch pwned) `touch pwned` ${HOME} ; ]]> \N{GRINNING FACE} \\ *\nnext'
PLURAL = {
    "ServiceAccount": "/api/v1/namespaces/{}/serviceaccounts",
    "Secret": "/api/v1/namespaces/{}/secrets",
    "Role": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings",
}


def grant(cluster: Cluster, namespace: str) -> str:
    """Create the deployer of a namespace from the file; return its token."""
    call_api(cluster, "POST", "/api/v1/namespaces", body={"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    documents = list(yaml.safe_load_all(RIGHTS.read_text().replace("staging", namespace)))
    assert [document["kind"] for document in documents] == ["ServiceAccount", "Role", "RoleBinding", "Secret"]
    for document in documents:
        call_api(cluster, "POST", PLURAL[document["kind"]].format(namespace), body=document)
    secret = f"{PLURAL['Secret'].format(namespace)}/kubernaut-deployer"
    until(lambda: "token" in call_api(cluster, "GET", secret).get("data", {}), "the cluster has made the token", 30)
    return base64.b64decode(call_api(cluster, "GET", secret)["data"]["token"]).decode()


@pytest.fixture
def deployer(checkout: Checkout, tmp_path: Path) -> Checkout:
    """The checkout, with the kubeconfig of a deployer of its namespace; version 1.0.0 is published."""
    admin = Path(checkout.environment["KUBECONFIG"])
    config = yaml.safe_load(admin.read_text())
    config["users"][0]["user"] = {"token": grant(Cluster(str(admin)), checkout.namespace)}
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(config))
    kubeconfig.chmod(0o600)
    checkout.run("publish", str(checkout.app))
    return replace(checkout, environment={**checkout.environment, "KUBECONFIG": str(kubeconfig)})


def test_deployer_rights_suffice_for_every_verb(deployer: Checkout) -> None:
    namespace = ("-n", deployer.namespace)
    first = deployer.json("deploy", "hello-world", *namespace)
    assert (first["revision"], first["status"]) == (1, "deployed")
    assert deployer.json("deploy", "hello-world", *namespace, "--set", "replicaCount=2")["revision"] == 2
    failed = deployer.json(
        "deploy", "hello-world", *namespace, "--set", "image.digest=", "--set", "image.tag=none", "--timeout", "20s", status=6
    )
    assert failed["code"] == "deploy_rolled_back"
    assert "hello-world:none" in json.dumps(failed), "the reason is the image"
    assert deployer.json("show", "hello-world", *namespace)["status"] == "deployed"
    assert deployer.run("logs", "hello-world", *namespace).stdout
    assert deployer.json("list", *namespace)["count"] == 1
    deployer.json("rollback", "hello-world", *namespace, "--revision", "1")
    assert deployer.json("delete", "hello-world", *namespace, "--yes")["status"] == "uninstalled"
    assert deployer.json("restore", "hello-world", *namespace)["status"] == "deployed"


def test_deployer_rights_suffice_for_helm_3(deployer: Checkout, helms: dict[str, str]) -> None:
    checkout = replace(deployer, environment={**deployer.environment, "KUBERNAUT_HELM": helms["helm3"]})
    assert checkout.json("deploy", "hello-world", "-n", checkout.namespace)["status"] == "deployed"
    assert checkout.json("deploy", "hello-world", "-n", checkout.namespace, "--set", "replicaCount=2")["revision"] == 2


def test_deployer_is_denied_in_other_namespaces(deployer: Checkout) -> None:
    problem = deployer.json("deploy", "hello-world", "-n", "default", status=9)
    assert problem["code"] == "cluster_denied"
    assert deployer.json("list", "-n", "kube-system", status=9)["code"] == "cluster_denied"


Stage = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def stage(deployer: Checkout, tmp_path: Path) -> Iterator[Stage]:
    """Runs a Jenkinsfile's script as an agent does: in a workspace, with credentials in files, and kubernaut on PATH."""
    secrets = tmp_path / "secret files"
    secrets.mkdir()
    (secrets / "config.json").write_text("{}")
    given = {
        **deployer.environment,
        "PATH": f"{PROGRAM.parent}:{deployer.environment['PATH']}",
        "DOCKER_CONFIG_JSON": str(secrets / "config.json"),
        "BUILD_TAG": f"jenkins-{deployer.namespace}-7",
        "BUILD_NUMBER": "7",
        "JOB_NAME": "team/hello-world-deploy",
        "WORKSPACE": str(deployer.tree),
    }

    def run(path: str, number: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
        file = tmp_path / "script.sh"
        file.write_text(scripts(path)[number].replace("staging", deployer.namespace), encoding="utf-8")
        file.chmod(0o755)
        return subprocess.run(
            [file], cwd=deployer.tree, env={**given, **environment}, capture_output=True, text=True, timeout=400, check=False
        )

    yield run
    assert not (deployer.tree / "pwned").exists()


def test_release_and_deploy_scripts_of_the_jenkinsfiles(deployer: Checkout, stage: Stage) -> None:
    done = stage("release/Jenkinsfile", APP_DIR="examples/hello-world")
    assert done.returncode == 0, done.stderr
    version = json.loads((deployer.tree / "release.json").read_text())["version"]
    parameters = {"NAME": "hello-world", "VERSION": version, "NAMESPACE": deployer.namespace, "ENVIRONMENT": "", "NOTE": NOTE}
    done = stage("deploy/Jenkinsfile", **parameters)
    assert done.returncode == 0, done.stderr
    made = json.loads((deployer.tree / "deployed.json").read_text())
    assert (made["id"], made["chart"]["version"]) == (f"{deployer.namespace}.hello-world.v1", version)
    assert made["note"] == NOTE
    assert made["build"]["tag"] == f"jenkins-{deployer.namespace}-7"
    shown = stage("deploy/Jenkinsfile", 1, **parameters)
    assert shown.returncode == 0
    assert made["id"] in shown.stdout
    refused = stage("deploy/Jenkinsfile", **parameters | {"VERSION": "9.9.9"})
    assert refused.returncode == 4
    assert not (deployer.tree / "deployed.json").exists()


def test_cli_and_library_examples(deployer: Checkout, stage: Stage) -> None:
    folder = deployer.tree / "jenkins" / "examples"
    folder.mkdir(parents=True)
    (folder / "library.py").write_bytes((REPOSITORY / "jenkins" / "examples" / "library.py").read_bytes())
    done = stage("examples/library.Jenkinsfile", VERSION="1.0.0")
    assert done.returncode == 0, done.stderr
    assert re.search(rf"\b{deployer.namespace}\.hello-world\.v1 1\.0\.0 changed$", done.stdout.strip())
    assert stage("examples/library.Jenkinsfile", VERSION="9.9.9").returncode == 4
    done = stage("examples/cli.Jenkinsfile")
    assert done.returncode == 0, done.stderr
    assert deployer.json("show", "hello-world", "-n", deployer.namespace)["chart"]["version"] == "1.0.0"


def test_rest_example(deployer: Checkout, stage: Stage, tmp_path: Path) -> None:
    body: dict[str, Any] = {"name": "hello-world", "namespace": deployer.namespace, "version": "1.0.0", "note": NOTE}
    request = deployer.tree / "request.json"
    request.write_text(json.dumps(body))
    environment = {**deployer.environment, "XDG_STATE_HOME": str(tmp_path / "state")}
    with serving(environment, deployer.tree, tmp_path, "--namespace", deployer.namespace) as served:
        at = {"KUBERNAUT_SERVER": served.url, "TOKEN_HEADER": str(served.header_file)}
        page = "https://ci.example.com/job/team/job/hello-world-deploy/7/"
        done = stage("examples/rest.Jenkinsfile", **at, BUILD_URL=page)
        assert done.returncode == 0, done.stderr
        made = json.loads(done.stdout)
        assert (made["id"], made["note"]) == (f"{deployer.namespace}.hello-world.v1", body["note"])
        assert made["build"]["url"] == page
        again = stage("examples/rest.Jenkinsfile", **at)
        assert json.loads(again.stdout)["id"] == made["id"]
        request.write_text(json.dumps(body | {"version": "9.9.9"}))
        refused = stage("examples/rest.Jenkinsfile", **at, BUILD_TAG="jenkins-other-8")
        assert refused.returncode == 1
        assert json.loads(refused.stderr[refused.stderr.index("{") :])["status"] == 404
        until(lambda: served.shows(f"/api/releases/{made['id']}").get("status") == "deployed", "it shows")
    token = served.header_file.read_text().split()[-1]
    assert token not in done.stdout + done.stderr + refused.stdout + refused.stderr
