"""The requests to GitHub, and the answers of the tests' stand-in, against the OpenAPI file that GitHub publishes.

npm fetches it once, its hash is checked, and the part about statuses stays in the user's cache.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import jsonschema_rs
import pytest
from support.github import FakeGitHub
from support.programs import program

from kubernaut.adapters.github import State, Status, StatusClient
from kubernaut.adapters.http import RequestError
from kubernaut.adapters.secret_files import static_token

pytestmark = pytest.mark.slow

PACKAGE = "@octokit/openapi@23.0.2"
INTEGRITY = "pV8M7L9GY23AybNvTmo2nyjmpmnt6+2sRE/tqr0ZLQcPS4lnw7u5eZGNmwRNkBC3D7gZXbFx5AHzLUVRBXGDhg=="
"""SHA-512, as npm has it in `dist.integrity`."""
APIS = ("api.github.com", "ghes-3.17")
"""GitHub's own, and the oldest Enterprise server's that is described."""
PATH = "/repos/{owner}/{repo}/statuses/{sha}"
SHA = "6dcb09b5b57875f334f61aebed695e2e4193db5e"


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Return the part of each API about statuses: the operation, and the schemas that it needs."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kubernaut-tests"
    kept = home / f"github-statuses-{hashlib.sha256(INTEGRITY.encode()).hexdigest()[:16]}.json"
    if not kept.is_file():
        parts = _fetch(tmp_path_factory.mktemp("npm"))
        home.mkdir(parents=True, exist_ok=True)
        written = kept.with_suffix(f".{os.getpid()}")
        written.write_text(json.dumps(parts))
        written.replace(kept)
    found: dict[str, dict[str, Any]] = json.loads(kept.read_text())
    return found


def _fetch(folder: Path) -> dict[str, dict[str, Any]]:
    pack = [program("npm"), "pack", "--silent", "--ignore-scripts", PACKAGE]
    done = subprocess.run(pack, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    packed = list(folder.glob("*.tgz"))
    if done.returncode != 0 or len(packed) != 1:
        _missing(f"GitHub's OpenAPI ({PACKAGE}): {done.stderr.strip()[:200]}")
    content = packed[0].read_bytes()
    assert base64.b64encode(hashlib.sha512(content).digest()).decode() == INTEGRITY, f"{PACKAGE} has changed"
    with tarfile.open(packed[0]) as tar:
        files = {api: tar.extractfile(f"package/generated/{api}.json") for api in APIS}
        return {api: _part(json.load(file)) for api, file in files.items() if file is not None}


def _missing(part: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(f"{part} is missing, and with CI=true every real part must be there")
    pytest.skip(f"needs {part}")


def _part(api: Mapping[str, Any]) -> dict[str, Any]:
    """Return the operation that sets a status, with all schemas that it refers to."""
    operation = api["paths"][PATH]["post"]
    known = api["components"]["schemas"]
    pending, found = [*_references(operation), "basic-error", "validation-error"], {}
    while pending:
        name = pending.pop()
        if name in known and name not in found:
            found[name] = known[name]
            pending += _references(known[name])
    return {"operation": operation, "schemas": found}


def _references(content: Any) -> Iterator[str]:
    if isinstance(content, dict):
        if isinstance(content.get("$ref"), str) and "/schemas/" in content["$ref"]:
            yield content["$ref"].rpartition("/")[2]
        for value in content.values():
            yield from _references(value)
    elif isinstance(content, list):
        for value in content:
            yield from _references(value)


def _plain(schema: Any) -> Any:
    """Turn OpenAPI 3.0 into JSON Schema: `nullable` values may be null."""
    if isinstance(schema, list):
        return [_plain(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {key: _plain(value) for key, value in schema.items() if key not in ("nullable", "example")}
    return {"anyOf": [{"type": "null"}, plain]} if schema.get("nullable") is True else plain


def _validator(part: Mapping[str, Any], schema: Mapping[str, Any]) -> Any:
    whole = {**_plain(schema), "components": {"schemas": _plain(part["schemas"])}}
    return jsonschema_rs.Draft4Validator(whole)


def _request(part: Mapping[str, Any]) -> Any:
    body = part["operation"]["requestBody"]["content"]["application/json"]["schema"]
    return _validator(part, {**body, "additionalProperties": False})  # GitHub ignores unknown keys


@pytest.fixture(params=APIS)
def part(request: pytest.FixtureRequest, described: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return described[request.param]


@pytest.fixture
def github() -> Iterator[FakeGitHub]:
    with FakeGitHub() as github:
        yield github


def set_status(github: FakeGitHub, state: State = "success", url: str | None = None) -> None:
    client = StatusClient(github.url, token=static_token(github.token), plain_http=lambda _: True)
    client.set_status(Status("team/shop", SHA, "kubernaut/release", state, "1.4.2 is published", url))


@pytest.mark.parametrize("state", ["pending", "success", "failure"])
@pytest.mark.parametrize("url", [None, "https://ci.example.com/job/shop/7/"])
def test_request_is_valid(part: dict[str, Any], github: FakeGitHub, state: State, url: str | None) -> None:
    set_status(github, state, url)
    (asked,) = github.requests
    _request(part).validate(json.loads(asked.body))
    assert (asked.method, asked.path) == ("POST", PATH.format(owner="team", repo="shop", sha=SHA))
    assert asked.headers["content-type"] == "application/json"


def test_schema_finds_a_wrong_request(part: dict[str, Any]) -> None:
    right = {"state": "success", "context": "c", "description": "d"}
    _request(part).validate(right)
    for wrong in ({**right, "state": "ok"}, {**right, "targetUrl": "https://x"}, {"context": "c"}, {**right, "description": 7}):
        with pytest.raises(jsonschema_rs.ValidationError):
            _request(part).validate(wrong)


def test_stand_in_answers_are_valid(part: dict[str, Any], github: FakeGitHub) -> None:
    set_status(github)
    set_status(github, "pending", "https://ci.example.com/job/shop/7/")
    responses = part["operation"]["responses"]
    for answer in github.answers:
        described = responses[str(answer.status)]
        _validator(part, described["content"]["application/json"]["schema"]).validate(answer.content)
        assert set(described.get("headers", {})) <= set(answer.headers)


def test_stand_in_refusals_are_valid(part: dict[str, Any]) -> None:
    with FakeGitHub(repositories=["team/other"]) as unknown, FakeGitHub(commits=[]) as empty, FakeGitHub("another") as denied:
        for github, status in ((unknown, 404), (empty, 422), (denied, 401)):
            client = StatusClient(
                github.url, token=static_token("another" if github is denied else github.token), plain_http=lambda _: True
            )
            denied.token = "changed meanwhile"
            with pytest.raises(RequestError):
                client.set_status(Status("team/shop", SHA, "c", "success", "d"))
            (answer,) = github.answers
            assert answer.status == status
            schema = "validation-error" if status == 422 else "basic-error"
            _validator(part, part["schemas"][schema]).validate(answer.content)
