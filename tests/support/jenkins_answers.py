"""Made-up answers of a Jenkins, for cases that the real server of the tests does not produce on demand."""

from __future__ import annotations

import json
import re
import traceback
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
import responses

from kubernaut.errors import KubernautError
from kubernaut.jenkins.jobs import JobPath
from kubernaut.jenkins.server import JenkinsServer
from kubernaut.redact import redact

URL = "https://ci.example.com/jenkins"
CANARY = "canary-7c1e-" + "y" * 32
CRUMB = "crumb-90d4-" + "z" * 32
SHOP = JobPath.parse("team/shop deploy")
JOB = f"{URL}/job/team/job/shop%20deploy"
ANY = re.compile(re.escape(URL) + r"/(?!crumbIssuer)")
JENKINS = {"X-Jenkins": "2.555.1", "X-Hudson": "1.395"}

NO_CRUMB = f"<html>HTTP ERROR 403 No valid crumb was included in the request {CRUMB}</html>"
LOGIN = "<html><head><meta http-equiv='refresh' content='1;url=/jenkins/login?from=%2Fjenkins%2F'/></head></html>"
LACKING = f'<html data-crumb-value="{CRUMB}">ada is missing the Job/Build permission {CANARY}</html>'
PLAIN = f'<html data-crumb-value="{CRUMB}">Access denied {CANARY}</html>'
STARTING = "<html>Please wait while Jenkins is getting ready to work ...</html>"

Error = TypeVar("Error", bound=BaseException)


def server(**how: Any) -> JenkinsServer:
    return JenkinsServer(**{"url": URL, "user": "ada", "token": lambda: CANARY, **how})


def crumbs(http: responses.RequestsMock, *values: str) -> None:
    """Let the server give these crumbs, one after the other."""
    for value in values or (CRUMB,):
        http.get(f"{URL}/crumbIssuer/api/json", json={"crumb": value, "crumbRequestField": "Jenkins-Crumb"})


def failing(call: Callable[[], object], kind: type[Error], words: str | None = None) -> Error:
    """Return how a call fails, and find neither token nor crumb in any of it."""
    with pytest.raises(kind, match=words) as caught:
        call()
    error = caught.value
    assert type(error) is kind
    shown = "".join(traceback.format_exception(error)) + repr(error)
    if isinstance(error, KubernautError):
        shown += json.dumps(error.problem())
        assert redact(error.hint) == error.hint, "a hint that looks like a secret would be shown without its words"
    assert CANARY not in shown
    assert CRUMB not in shown
    return error


def posts(http: responses.RequestsMock) -> list[Any]:
    return [call.request for call in http.calls if call.request.method == "POST"]
