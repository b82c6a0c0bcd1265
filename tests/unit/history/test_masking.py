"""Tests that manifests and values never show secrets."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from support.records import record

from kubernaut.history.masking import join_objects, known_secrets, mask_objects, mask_record, mask_values
from kubernaut.redact import redact

CANARY = "c4nary-7f3e9d21"

SECRET = f"""
# Source: shop/templates/secret.yaml
apiVersion: v1
kind: Secret
metadata:
  name: shop
  annotations:
    kubectl.kubernetes.io/last-applied-configuration: |
      {{"kind":"Secret","data":{{"a":"x"}}}}
    copy: "it is {CANARY}"
    team: payments
type: Opaque
data:
  zeta: {base64.b64encode(CANARY.encode()).decode()}
  empty: ""
stringData:
  alpha: {CANARY}
  number: 12345678
"""

DEPLOYMENT = f"""
# Source: shop/templates/deployment.yaml
apiVersion: apps/v1
kind: Deployment
metadata: {{name: shop}}
spec:
  replicas: 2
  template:
    spec:
      automountServiceAccountToken: true
      containers:
      - name: shop
        image: "r/shop@sha256:{"a" * 64}"
        args: ["--verbose", "--db-password", "{CANARY}", --listen, 80]
        env:
        - name: DB_PASSWORD
          value: {CANARY}
        - value: {CANARY}
          name: API_TOKEN
        - {{name: GREETING, value: hello}}
        - name: KEY
          valueFrom: {{secretKeyRef: {{name: shop, key: password}}}}
      volumes:
      - name: files
        secret: {{secretName: shop, defaultMode: 0440}}
"""


def mask_manifest(text: str) -> str:
    return join_objects(mask_objects(text))


def masked(text: str) -> Any:
    return list(yaml.safe_load_all(mask_manifest(text)))


def test_secret_values_are_masked_and_keys_keep_their_order() -> None:
    shown = mask_manifest(f"---{SECRET}")
    [secret] = yaml.safe_load_all(shown)
    assert list(secret["data"].items()) == [("zeta", "***"), ("empty", "***")]
    assert list(secret["stringData"].items()) == [("alpha", "***"), ("number", "***")]
    assert secret["metadata"]["name"] == "shop"
    assert shown.startswith("---\n# Source: shop/templates/secret.yaml\napiVersion: v1\nkind: Secret\n")


def test_annotations_that_repeat_secret_data_are_masked() -> None:
    [secret] = masked(SECRET)
    assert secret["metadata"]["annotations"] == {
        "kubectl.kubernetes.io/last-applied-configuration": "***",
        "copy": "***",
        "team": "payments",
    }


def test_secret_variables_and_flags_are_masked_and_the_rest_is_unchanged() -> None:
    shown = mask_manifest(f"---{DEPLOYMENT}")
    assert CANARY not in shown
    [deployment] = yaml.safe_load_all(shown)
    expected = yaml.safe_load(DEPLOYMENT.replace(f'"{CANARY}"', CANARY).replace(CANARY, "'***'"))
    assert deployment == expected
    assert "defaultMode: 0440" in shown


@pytest.mark.parametrize(
    "wrapped",
    [
        "kind: List\nitems:\n- kind: Secret\n  data: {a: %s}\n",
        "kind: SecretList\nitems:\n- data: {a: %s}\n",
        "kind: Job\nspec: {template: {kind: Secret, stringData: {a: %s}}}\n",
        "kind: Object\nspec: {stringData: {a: [{b: %s}]}}\n",
        "kind: Secret\ndata: [%s]\n",
        "kind: Secret\ndata: {a: &x %s}\n---\nkind: ConfigMap\ndata: {b: ok}\n",
        "kind: Secret\ndata: {a: &x %s}\nother: *x\n",
        "other: &x %s\nkind: Secret\ndata: {a: *x}\n",
        "kind: &k Secret\ndata: {a: %s}\ndata: {a: %s}\n",
        "kind: 'Secret'\ndata: {? [a] : %s}\n",
        "kind: Secret\ndata: {<<: &b {a: %s}}\n",
        "kind: Secret\ndata:\n  a: !!binary %s\n",
        "x: &x {kind: Secret}\n<<: *x\ndata: {a: %s}\n",
        "x: &x [{kind: Secret}]\n<<: *x\ndata: {a: %s}\n",
        "x: &x {data: {a: %s}}\n<<: *x\nkind: Secret\n",
        "x: &x {data: {a: %s}}\n<<: [*x, {<<: &y {<<: *y}}]\nkind: Secret\n",
        "kind: Secret\nkind: ConfigMap\ndata: {a: %s}\n",
        "kind: ConfigMap\ndata: {STRIPE_SECRET_LIVE: %s}\n",
        "kind: Pod\nspec: {args: [--db-password=%s]}\n",
        "kind: ConfigMap\ndata: {db-password: %s}\n",
        "kind: ConfigMap\ndata:\n  app.properties: |\n    name=shop\n    db.password=%s\n",
        "kind: ConfigMap\ndata:\n  url: postgres://shop:%s@db/shop\n",
        'kind: ConfigMap\ndata:\n  a.json: \'{"kind": "Secret", "data": {"a": "%s"}}\'\n',
        'kind: ConfigMap\ndata:\n  a.json: "{\\"kind\\": \\"Secret\\", \\"data\\": {\\"a\\": \\"%s\\"}}"\n',
        "kind: ConfigMap\ndata:\n  a.yaml: |\n    kind: Secret\n    data:\n      a: %s\n",
        "kind: Secret\nstringData: {password: %s}\n---\nkind: ConfigMap\ndata: {harmless: the %s again}\n",
        "kind: Secret\nstringData: {password: %s}\n---\nkind: ConfigMap\nmetadata: {annotations: {copy: %s}}\n",
        "# password: %s\nkind: ConfigMap\n",
        "%%YAML 1.1\n# %s\n---\nkind: ConfigMap\n",
        "kind: Secret\ndata: {a: %s\n",
        "kind: Secret\ndata:\n\ta: %s\n",
        "%s",
        "--- %s",
        "kind: Secret\ndata: *nothing %s",
        "kind: Secret\n...\n%s\n",
        "kind: Secret\nmetadata: {annotations: {objectset.rio.cattle.io/applied: packed %s}}\ndata: {a: b}\n",
    ],
)
def test_secret_is_masked_wherever_it_is_nested(wrapped: str) -> None:
    text = wrapped.replace("%s", CANARY).replace("%%", "%")
    shown = mask_manifest(text)
    assert CANARY not in shown
    assert list(yaml.compose_all(shown, Loader=yaml.SafeLoader))


def test_aliases_of_secrets_are_masked_even_in_cycles() -> None:
    shown = mask_manifest(f"kind: Secret\ndata: &d\n  a: {CANARY}\n  b: *d\n")
    assert CANARY not in shown
    assert "a: '***'" in shown


def test_unreadable_document_is_masked_whole_and_others_stay() -> None:
    broken = f"\n# Source: shop/templates/broken.yaml\nkind: Secret\ndata: {{a: {CANARY}\n"
    shown = mask_manifest(f"---{broken}---\nkind: ConfigMap\ndata: {{a: b}}\n")
    assert shown == (
        "---\n# Source: shop/templates/broken.yaml\n# A document that is not YAML is masked whole: ***\n"
        "---\nkind: ConfigMap\ndata: {a: b}\n"
    )


def test_too_deep_document_is_masked_whole() -> None:
    assert "masked whole" in mask_manifest("a: " + "[" * 20_000 + CANARY)


def test_document_too_deep_by_aliases_is_masked_whole() -> None:
    chain = "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 3000))
    shown = mask_manifest(f"kind: Secret\na0: &a0 {CANARY}\n{chain}stringData: *a2999\n---\nkind: ConfigMap\n")
    assert CANARY not in shown
    assert shown.endswith("masked whole: ***\n---\nkind: ConfigMap\n")


def test_deep_document_never_shows_a_secret() -> None:
    for depth in range(300, 500, 20):
        text = "kind: Secret\nstringData: " + "{a: " * depth + CANARY + "}" * depth
        assert CANARY not in mask_manifest(text)


def test_comment_only_documents_are_dropped() -> None:
    assert mask_manifest("---\n# Source: a/b.yaml\n---\n# nothing\n---\nkind: ConfigMap\n") == "---\nkind: ConfigMap\n"


def test_unreadable_documents_do_not_unmask_later_ones() -> None:
    broken = "[" + ", ".join(f"a{n}" for n in range(50)) + "]\n"
    secrets = "".join(f"---\nkind: Secret\ndata: {{a{n}: {CANARY}}}\n" for n in range(50))
    assert CANARY not in mask_manifest("".join(f"---\n{broken}{secrets}" for _ in range(20)))


def test_plain_scalars_keep_their_spelling() -> None:
    text = '---\nkind: ConfigMap\ndata:\n  mode: 0644\n  on: yes\n  port: "5432"\n  day: 2026-11-22\n  text: |\n    one\n    two\n'
    assert mask_manifest(text) == text


def test_short_password_is_not_masked_elsewhere() -> None:
    shown = mask_manifest(
        "kind: Secret\nstringData: {password: shop, user: postgres}\n---\nkind: Pod\nspec: {image: postgres, a: shop}\n"
    )
    assert "image: postgres, a: shop" in shown


def test_hooks_come_last() -> None:
    found = record(1, "deployed", manifest="---\nkind: ConfigMap\n")
    hook = {"name": "migrate", "path": "shop/templates/job.yaml", "manifest": f"kind: Secret\ndata: {{a: {CANARY}}}\n"}
    found.content["hooks"] = [hook, None, {"manifest": 7}]  # type: ignore[index]
    source = "# Source: shop/templates/job.yaml\n"
    assert join_objects(mask_record(found)) == f"---\nkind: ConfigMap\n---\n{source}kind: Secret\ndata: {{a: '***'}}\n"


def test_values_under_secret_keys_are_masked() -> None:
    values = {
        "password": CANARY,
        "credentials": {"github": CANARY, "list": [CANARY, {"deep": 12345}], "enabled": True, "none": None},
        "extraEnv": [{"name": "DB_PASSWORD", "value": CANARY}, {"name": "GREETING", "value": "hello"}],
        "args": ["--token", CANARY, "--port", "80"],
        "url": f"https://ada:{CANARY}@example.com",
        "env": {"STRIPE_SECRET_LIVE": CANARY, "TOKEN_URL": "https://example.com"},
        "secretName": "shop",
        "replicas": 3,
    }
    shown = mask_values(values)
    assert CANARY not in json.dumps(shown)
    assert shown == {
        "password": "***",
        "credentials": {"github": "***", "list": ["***", {"deep": "***"}], "enabled": True, "none": None},
        "extraEnv": [{"name": "DB_PASSWORD", "value": "***"}, {"name": "GREETING", "value": "hello"}],
        "args": ["--token", "***", "--port", "80"],
        "url": "https://***@example.com",
        "env": {"STRIPE_SECRET_LIVE": "***", "TOKEN_URL": "https://example.com"},
        "secretName": "shop",
        "replicas": 3,
    }


def test_masked_manifest_is_unchanged_by_redact() -> None:
    deployment = DEPLOYMENT.replace("automountServiceAccountToken: true", "restartPolicy: Always")
    shown = mask_manifest(f"---{SECRET}---{deployment}---\nkind: ConfigMap\ndata:\n  password: x\n  a.env: |\n    TOKEN={CANARY}\n")
    assert redact(shown) == shown


NAMES = st.text("abcdefghijklmnopqrstuvwxyz.-_", min_size=1, max_size=12)
# Texts that do not occur in the manifest itself.
CANARIES = st.text(min_size=6, max_size=40).map(lambda text: f"⟦{text}⟧")


@given(st.dictionaries(NAMES, CANARIES, min_size=1, max_size=4), st.booleans(), st.booleans(), st.booleans())
def test_masked_manifest_never_contains_secret_data(data: dict[str, str], encoded: bool, listed: bool, json_text: bool) -> None:
    held = {
        key: base64.b64encode(text.encode("utf-8", "surrogatepass")).decode() if encoded else text for key, text in data.items()
    }
    secret: Any = {"apiVersion": "v1", "kind": "Secret", "data" if encoded else "stringData": held}
    applied = {"kubectl.kubernetes.io/last-applied-configuration": json.dumps(secret)}
    secret["metadata"] = {"name": "shop", "annotations": {**applied, "copies": " ".join(held.values())}}
    document = {"kind": "List", "items": [secret]} if listed else secret
    text = json.dumps(document) if json_text else yaml.safe_dump(document, allow_unicode=True)
    shown = mask_manifest(text)
    for value in (*data.values(), *held.values()):
        assert value not in shown
        assert json.dumps(value)[1:-1] not in shown
    assert re.search(r"\*\*\*", shown)


@given(st.dictionaries(NAMES.map(lambda name: f"{name}Password"), CANARIES, min_size=1), st.integers(0, 3))
def test_masked_values_never_contain_values_of_secret_keys(values: dict[str, str], depth: int) -> None:
    wrapped: Any = values
    for _ in range(depth):
        wrapped = {"shop": [wrapped]}
    shown = json.dumps(mask_values(wrapped), ensure_ascii=False)
    assert not any(value in shown for value in values.values())


def known(manifest: str = "", **config: Any) -> tuple[str, ...]:
    return known_secrets(record(1, "failed", manifest=manifest, config=config))


def secret(**data: str) -> str:
    encoded = "".join(f"  {key}: {base64.b64encode(value.encode()).decode()}\n" for key, value in data.items())
    return f"kind: Secret\nmetadata: {{name: shop-db}}\ndata:\n{encoded}---\n"


@pytest.mark.parametrize(
    "found",
    [
        known(secret(password=CANARY)),
        known(secret(dsn=CANARY)),
        known(f"kind: Secret\nstringData: {{dsn: {CANARY}}}\n"),
        known(DEPLOYMENT),
        known(f"kind: Pod\nspec: {{args: [--db-password, {CANARY}]}}\n"),
        known(db={"password": CANARY}),
        known(tokens=[{"name": "ci", "token": CANARY}]),
        known(oauth={"clientSecret": CANARY}),
        known(password="pin 81"),
    ],
)
def test_secrets_of_a_release_are_known(found: tuple[str, ...]) -> None:
    assert set(found) & {CANARY, "pin 81"}


@pytest.mark.parametrize(
    "found",
    [
        known(secret(host="db.example.com") + "kind: ConfigMap\ndata: {url: 'http://db.example.com'}\n"),
        known("kind: Pod\nspec: {volumes: [{secret: {secretName: shop-database}}]}\n", existingSecret="shop-database"),
        known(secret(mode="true", port="5432"), password="secret"),
        known("kind: [", greeting="hello world"),
        known("", nested="x" * 20),
    ],
)
def test_names_and_words_are_not_taken_for_secrets(found: tuple[str, ...]) -> None:
    assert not set(found) & {"db.example.com", "shop-database", "true", "5432", "secret", "hello world", "x" * 20}


def test_known_secrets_are_the_longest_first() -> None:
    content = record(1, "failed", manifest=secret(password=CANARY, key2=f"{CANARY}-longer"))
    found = known_secrets(content)
    assert [len(text) for text in found] == sorted(map(len, found), reverse=True)
    assert f"{CANARY}-longer" in found
