"""The texts that redact() masks, and those that it must leave alone."""

from __future__ import annotations

import base64
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubernaut.redact import MASK, environment_secrets, is_secret_key, is_secret_variable, redact, redact_data

SECRET = "hunter22-Sw0rdf1sh"
BASIC = base64.b64encode(b"ada:" + SECRET.encode()).decode()

CARRIERS = [
    "https://ada:{}@r.example.com/v2/",
    "https://{}@github.example.com/x.git",
    "postgres://ada:{}@db:5432/shop",
    "Authorization: Bearer {}",
    "authorization: Basic {}",
    '{{"Authorization": "Bearer {}"}}',
    "{{'X-Registry-Auth': '{}'}}",
    "sent Bearer {} to the server",
    "password={}",
    "PASSWORD = {}",
    "db_password: {}",
    "  password: {} with more words",
    '"password": "{}"',
    '{{"db": {{"password": "{}"}}}}',
    "--password {}",
    "--password={}",
    "helm upgrade --kube-token {} demo",
    "GITHUB_TOKEN={} make",
    "AWS_SECRET_ACCESS_KEY={}",
    "?access_token={}&page=2",
    "    token: {}",
    "    client-key-data: {}",
    '"identitytoken":"{}"',
    '"auth": "{}"',
    "--set db.password={},replicas=2",
    "Set-Cookie: session={}; HttpOnly",
    "api-key: {}",
    "SMTP_PASS={} npm start",
    "    db_pass: {}",
    "SECRET_KEY_BASE={}",
]


@pytest.mark.parametrize("carrier", CARRIERS)
def test_secret_in_a_carrier_is_masked(carrier: str) -> None:
    text = redact(carrier.format(SECRET))
    assert SECRET not in text
    assert "hunter22" not in text
    assert MASK in text


@given(carrier=st.sampled_from(CARRIERS), tail=st.text(string.ascii_letters + string.digits + "_-.~", min_size=4, max_size=40))
def test_no_canary_passes(carrier: str, tail: str) -> None:
    canary = "c4N" + tail
    assert canary not in redact(carrier.format(canary))


@pytest.mark.parametrize(
    "text",
    [
        f"Basic {BASIC}",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\n-----END RSA PRIVATE KEY-----",
        "cut off -----BEGIN PRIVATE KEY-----\nMIIEpAIBAAKCAQEA",
        "eyJhbGciOiJSUzI1NiIsImtpZCI6IkZ.eyJpc3MiOiJrdWJlcm5ldGVzL3.c2lnbmF0dXJl",
        "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
        "AKIAIOSFODNN7EXAMPLE",
    ],
)
def test_secret_is_recognized_by_its_shape(text: str) -> None:
    assert text.split()[-1] not in redact(text)
    assert "MIIEpAIBAAKCAQEA" not in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "oci://127.0.0.1:5000/charts/hello-world@sha256:" + "ab" * 32,
        "127.0.0.1:5000/hello-world:1.4.2@sha256:" + "ab" * 32,
        "https://ci.example.com/job/7/",
        "imagePullSecrets: registry",
        "secretName: hello-world-tls",
        "passwordFile=/run/secrets/db",
        'Www-Authenticate: Bearer realm="https://r.example.com/token",service="r.example.com"',
        "the registry wants Basic authentication",
        "the registry wants bearer authentication",
        "1.4.2 (31fba06) by ada@workshop: new greeting",
        "demo.hello-world.v3 deployed",
        "git@example.com:team/hello.git",
        "Step 2/8 : RUN npm install --omit=dev",
        "a Secret in the namespace, and its tokens",
        "all tests pass: 12 of 12",
        "automountServiceAccountToken: false",
        "      automountServiceAccountToken: true\n      containers: []",
        '{"automountServiceAccountToken": false}',
        "--set automountServiceAccountToken=false,replicas=2",
        "existingSecret: null",
        "existingSecret: db-credentials",
        "auth.existingSecret=db-credentials",
        "imagePullSecret: registry",
    ],
)
def test_harmless_text_stays(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize(
    "text", ["password: trueblue1", "password: true blue", "token=false1234", "password: 'true'", "pwd: nullify7"]
)
def test_text_that_only_begins_like_a_boolean_is_masked(text: str) -> None:
    assert redact(text).partition("=" if "=" in text else ": ")[2].strip("'") == MASK


def test_rest_of_the_line_stays() -> None:
    assert redact(f"GET https://ada:{SECRET}@r.example.com/v2/ said 401") == f"GET https://{MASK}@r.example.com/v2/ said 401"
    assert redact(f"--set db.password={SECRET},replicas=2") == f"--set db.password={MASK},replicas=2"
    assert redact(f'{{"password": "{SECRET}", "user": "ada"}}') == f'{{"password": "{MASK}", "user": "ada"}}'


@given(st.text() | st.sampled_from(CARRIERS).map(lambda carrier: carrier.format(SECRET)))
def test_redaction_is_idempotent(text: str) -> None:
    assert redact(redact(text)) == redact(text)


@given(st.text(max_size=200), st.text(max_size=200))
def test_known_value_is_masked_everywhere(before: str, after: str) -> None:
    assert "q/7 Zz&9" not in redact(f"{before}q/7 Zz&9{after}", ["q/7 Zz&9"])
    assert "q%2F7%20Zz%269" not in redact(f"{before}q%2F7%20Zz%269{after}", ["q/7 Zz&9"])


def test_long_lines_are_redacted_quickly() -> None:
    for text in ("a" * 200_000, "a-" * 100_000, "a=" * 100_000, "://" * 70_000, "password" * 25_000, "'\\" * 100_000):
        redact(text)


def test_environment_secrets_are_the_values_of_secret_variables() -> None:
    environment = {
        "GITHUB_TOKEN": "tok-123456",
        "DB_PASSWORD": "longer-secret",
        "SMTP_PASS": "smtp-99",
        "OLDPWD": "/home/ada/x",
        "API_KEY": "key-99",
        "PASSWORD": "short",
        "TOKEN_FILE": "/run/token",
        "AWS_ACCESS_KEY_ID": "visible",
        "HOME": "/home/ada",
    }
    assert environment_secrets(environment) == ("longer-secret", "tok-123456", "smtp-99", "key-99")


def test_data_is_masked_by_key_and_by_text() -> None:
    data = {
        "db": {"password": SECRET, "user": "ada", "port": 5432},
        "pin": {"token": 12345678, "password": True},
        "lines": [f"token={SECRET}", "fine"],
        "secretName": "hello-tls",
        "ok": True,
        "none": None,
    }
    assert redact_data(data) == {
        "db": {"password": MASK, "user": "ada", "port": 5432},
        "pin": {"token": MASK, "password": True},
        "lines": [f"token={MASK}", "fine"],
        "secretName": "hello-tls",
        "ok": True,
        "none": None,
    }


@pytest.mark.parametrize("key", ["password", "dbPassword", "tls.key", "API_KEY", "_auth", "clientSecret"])
def test_secret_key_is_recognized(key: str) -> None:
    assert is_secret_key(key)


@pytest.mark.parametrize("key", ["secretName", "tokenPath", "imagePullSecrets", "key", "", None, 7])
def test_harmless_key_is_not_secret(key: object) -> None:
    assert not is_secret_key(key)


def test_secret_variable_is_recognized_by_its_name() -> None:
    assert is_secret_variable("STRIPE_SECRET_LIVE")
    assert not is_secret_variable("TOKEN_URL")


def test_masked_yaml_stays_yaml() -> None:
    text = "data:\n  password: '***'\n"
    assert redact(text) == text
    assert "hunter22" not in redact("password: '***' hunter22\n")
