"""Integers of ``--set`` that reach the templates as floats."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.deploy_harness import DeployHarness

from kubernaut.deploy.execute import execute
from kubernaut.deploy.values.large_numbers import as_template_writes, changed_numbers
from kubernaut.deploy.values.layers import read_values
from kubernaut.events import Notice

NUMBER = """apiVersion: v1
kind: ConfigMap
metadata: {name: web}
data: {limit: {{ .Values.limit | quote }}}
"""


def config_map(**data: Any) -> dict[str, Any]:
    return {"kind": "ConfigMap", "metadata": {"name": "web"}, "data": data}


def notices(sets: list[str], *objects: dict[str, Any], **more: Any) -> list[str]:
    values = read_values(sets=sets, **more)
    return changed_numbers(values, values.merged(), objects)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (999_999, "999999"),
        (-999_999, "-999999"),
        (1_000_000, "1e+06"),
        (-2_097_152, "-2.097152e+06"),
        (12_345_678, "1.2345678e+07"),
        (9_007_199_254_740_993, "9.007199254740992e+15"),
        (2**63 - 1, "9.223372036854776e+18"),
    ],
)
def test_integers_are_written_as_go_writes_floats(number: int, text: str) -> None:
    assert as_template_writes(number) == text


@given(st.integers(-(2**63), 2**63 - 1))
def test_written_integer_is_the_same_float(number: int) -> None:
    assert float(as_template_writes(number)) == float(number)


def test_number_with_an_exponent_is_named_with_its_object() -> None:
    (notice,) = notices(["a.b=12345678"], config_map(x="--limit=1.2345678e+07 --other"))
    assert "ConfigMap web" in notice
    assert "--set-string a.b=" in notice
    assert "12345678" not in notice


@pytest.mark.parametrize(
    ("sets", "data"),
    [
        (["a=12345678"], {"x": "12345678"}),
        (["a=12345678"], {"x": 1.2345678e07}),  # the same number to Kubernetes
        (["a=12345678"], {"x": "21.2345678e+07", "y": "1.2345678e+071"}),
        (["a=999999"], {"x": "1e+06"}),
        (["a=01000000"], {"x": "1e+06"}),
        (["a=true"], {"x": "1e+06"}),
        ([], {"x": "1e+06"}),
    ],
)
def test_numbers_in_the_same_form_are_not_named(sets: list[str], data: dict[str, Any]) -> None:
    assert notices(sets, config_map(**data)) == []


def test_lost_digits_are_named_in_numbers_too() -> None:
    assert notices(["a=9007199254740993"], config_map(x=9007199254740992))
    assert notices(["a=9007199254740993"], config_map(x="9007199254740992"))
    assert not notices(["a=9007199254740992"], config_map(x=9007199254740992))


def test_numbers_in_secrets_are_found() -> None:
    encoded = base64.b64encode(b"1.2345678e+07").decode()
    (notice,) = notices(["db.password=12345678"], {"kind": "Secret", "metadata": {"name": "db"}, "data": {"p": encoded, "q": "?"}})
    assert "Secret db" in notice
    assert "12345678" not in notice


def test_number_that_another_layer_overrides_is_not_named() -> None:
    assert notices(["a=1000000"], config_map(x="1e+06"), string_sets=["a=1000000"]) == []


def test_paths_are_written_as_set_reads_them() -> None:
    (notice,) = notices([r"a\.b[1].c\,d=1000000"], config_map(x="1e+06"))
    assert r"--set-string a\.b[1].c\,d=" in notice


def test_deploy_and_dry_run_name_the_number_once(tmp_path: Path) -> None:
    harness = DeployHarness(tmp_path)
    request = harness.request(template=NUMBER, values=read_values(sets=["limit=12345678"]))
    execute(request, context=harness.context, dry_run=True, diff=True)
    execute(request, context=harness.context)
    found = [event.text for event in harness.events if isinstance(event, Notice) and "--set-string limit=" in event.text]
    assert len(found) == 2


def test_deploy_of_the_text_names_nothing(tmp_path: Path) -> None:
    harness = DeployHarness(tmp_path)
    harness.deploy(template=NUMBER, values=read_values(string_sets=["limit=12345678"]))
    assert not [event for event in harness.events if isinstance(event, Notice)]
