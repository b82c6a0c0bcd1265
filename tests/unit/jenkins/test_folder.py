"""The repository's folder for Jenkins: files that it must not have, and the agreement of its parts."""

from __future__ import annotations

import importlib.metadata
import itertools
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "jenkins"
JENKINSFILES = sorted([*FOLDER.glob("*/Jenkinsfile"), *FOLDER.glob("examples/*.Jenkinsfile")])
README = FOLDER / "README.md"
PINNED = {"docker-config", "kubernaut-token", "github-token"}


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def credentials(path: Path) -> set[str]:
    return set(re.findall(r"credentialsId: ['\"]([a-z-]+)", text_of(path)))


def test_folder_is_not_a_package() -> None:
    assert not list(FOLDER.rglob("__init__.py"))
    assert len(JENKINSFILES) == 5


def test_import_jenkins_is_python_jenkins_in_the_repository_root() -> None:
    code = "import jenkins, importlib.metadata; print(jenkins.__file__); print(jenkins.Jenkins.__name__)"
    printed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    file = next(file for file in importlib.metadata.files("python-jenkins") or () if str(file) == "jenkins/__init__.py")
    assert Path(printed[0]) == Path(str(file.locate()))
    assert printed[1] == "Jenkins"


@pytest.mark.parametrize("path", JENKINSFILES, ids=[str(path.relative_to(FOLDER)) for path in JENKINSFILES])
def test_jenkinsfile_has_a_header_and_documented_credentials(path: Path) -> None:
    assert text_of(path).startswith("// ")
    assert max(map(len, text_of(path).splitlines())) <= 132
    assert credentials(path)
    for name in credentials(path):
        assert f"`{name}" in text_of(README), name


def casc() -> dict[str, object]:
    document = yaml.safe_load(text_of(FOLDER / "casc.yaml"))
    assert isinstance(document, dict)
    return document


def given() -> dict[str, dict[str, str]]:
    """The credentials that the example of Configuration as Code holds, by id."""
    [domain] = casc()["credentials"]["system"]["domainCredentials"]  # type: ignore[index]
    return {next(iter(entry.values()))["id"]: entry for entry in domain["credentials"]}


def test_configuration_as_code_has_the_credentials_of_the_jobs() -> None:
    asked = set.union(*map(credentials, JENKINSFILES))
    assert asked - {"kubeconfig-"} <= set(given())
    assert {name for name in given() if not name.startswith("kubeconfig-")} == PINNED
    assert "kubeconfig-" in asked
    assert {name.removeprefix("kubeconfig-") for name in set(given()) - PINNED} == {"staging", "production"}


def test_configuration_as_code_has_credentials_of_the_right_kind() -> None:
    for path in JENKINSFILES:
        for kind, name in re.findall(r"(\w+)\(credentialsId: ['\"]([a-z-]+)", text_of(path)):
            of = "kubeconfig-staging" if name == "kubeconfig-" else name
            assert list(given()[of]) == [kind], name
    assert given()["docker-config"]["file"]["fileName"] == "config.json"  # type: ignore[index]


def test_configuration_as_code_has_references_instead_of_secrets() -> None:
    for name, entry in given().items():
        [secret] = [value for fields in entry.values() for key, value in fields.items() if "secret" in key]  # type: ignore[attr-defined]
        assert re.fullmatch(r"\$\{[\w:/.-]+\}", secret), name


def test_configuration_as_code_sets_the_variables_of_the_jenkinsfiles() -> None:
    [properties] = casc()["jenkins"]["globalNodeProperties"]  # type: ignore[index]
    shown = {entry["key"] for entry in properties["envVars"]["env"]} | set(
        re.findall(r"# - \{key: (\w+)", text_of(FOLDER / "casc.yaml"))
    )
    read = {name for path in JENKINSFILES for name in re.findall(r"env\.(KUBERNAUT_\w+)", text_of(path))}
    assert read
    assert read <= shown
    for name in shown:
        assert f"`{name}`" in text_of(README), name


@pytest.mark.parametrize("name", ["casc.yaml", "jobs.groovy"])
def test_untested_examples_state_it_first(name: str) -> None:
    assert "was not run by a Jenkins" in text_of(FOLDER / name).split("\n\n")[0]


def test_agent_image_copies_existing_files() -> None:
    dockerfile = text_of(FOLDER / "agent" / "Dockerfile")
    copied = [line.split()[1:-1] for line in dockerfile.splitlines() if line.startswith("COPY ") and "--from" not in line]
    assert copied
    for source in itertools.chain.from_iterable(copied):
        assert (ROOT / source).exists(), source
    assert dockerfile.count("--require-hashes") == 2
    assert "\nhelm-binary==" in text_of(ROOT / "requirements.txt")
    assert dockerfile.rstrip().splitlines()[-3] == "USER 1000"


def rules(document: str) -> list[dict[str, list[str]]]:
    parsed = [part for part in yaml.safe_load_all(document) if part and part["kind"] == "Role"]
    assert len(parsed) == 1
    return parsed[0]["rules"]  # type: ignore[no-any-return]


def allowed(of: list[dict[str, list[str]]]) -> set[tuple[str, str, str]]:
    return {
        (group, resource, verb)
        for rule in of
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def test_rights_of_a_deployer_match_the_documentation() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", text_of(ROOT / "docs" / "reliability.md"), re.DOTALL)
    (documented,) = (block for block in blocks if "kind: Role\n" in block)
    more = {("apps", "replicasets", verb) for verb in ("get", "list")}  # described below the rules of the documentation
    assert allowed(rules(text_of(FOLDER / "agent" / "rbac.yaml"))) == allowed(rules(documented)) | more


def test_readme_names_each_file() -> None:
    for path in FOLDER.rglob("*"):
        if path.is_file() and path != README:
            assert f"({path.relative_to(FOLDER)})" in text_of(README), path
