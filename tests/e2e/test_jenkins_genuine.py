"""A genuine Jenkins validates the Jenkinsfiles and its configuration as code.

Collected by `make test-jenkins` only; not run by the authors, for want of a Jenkins.
"""

from __future__ import annotations

import pytest
from support.checkout import REPOSITORY
from support.ci_scenario import CiScenario

FOLDER = REPOSITORY / "jenkins"
JENKINSFILES = sorted(FOLDER.rglob("*Jenkinsfile"))


@pytest.mark.platform
@pytest.mark.parametrize("file", JENKINSFILES, ids=lambda file: str(file.relative_to(FOLDER)))
def test_jenkinsfile_is_valid(ci: CiScenario, file: object) -> None:
    text = FOLDER.joinpath(str(file)).read_text()
    answer = ci.jobs.ask("POST", "/pipeline-model-converter/validate", data={"jenkinsfile": text})
    assert "successfully validated" in answer.text, answer.text


@pytest.mark.platform
def test_configuration_as_code_is_valid(ci: CiScenario) -> None:
    answer = ci.jobs.ask("POST", "/configuration-as-code/check", data=(FOLDER / "casc.yaml").read_bytes(), status=None)
    if answer.status_code == 404:
        pytest.skip("needs the plugin configuration-as-code on the server")
    assert answer.status_code == 200, answer.text
    assert answer.json() == []
