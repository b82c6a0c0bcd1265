"""The values behind a failure."""

from __future__ import annotations

import random

import pytest

from kubernaut.deploy.values.hints import is_too_large, string_arguments, too_large

VALUES = {
    "podAnnotations": {"prometheus.io/scrape": True, "prometheus.io/port": 9090, "team": "shop", "db/password": 123456},
    "service": {"annotations": {"internal": False}},
    "replicas": 3,
    "debug": True,
}


@pytest.mark.parametrize(
    ("field", "given", "expected"),
    [
        ("metadata.annotations", "bool", r"podAnnotations.prometheus\.io/scrape=true,service.annotations.internal=false"),
        ("spec.template.metadata.annotations", "number", r"podAnnotations.prometheus\.io/port=9090"),
        ("metadata.labels", "bool", ""),
        ("spec.replicas", "bool", ""),
        ("metadata.annotations", "object", ""),
    ],
)
def test_values_of_another_type_are_named(field: str, given: str, expected: str) -> None:
    assert string_arguments(VALUES, field, given) == expected


def test_many_values_are_not_named() -> None:
    assert string_arguments({"annotations": {str(number): True for number in range(9)}}, "metadata.annotations", "bool") == ""


def test_the_larger_part_of_a_record_is_named() -> None:
    noise = random.Random(1).randbytes(900_000).hex()  # noqa: S311 - any noise
    message, hint = too_large("hello 1.0.0 to demo", {"text": noise}, 20_000)
    assert "its chart about 26 KiB" in message
    assert "values" in hint
    message, hint = too_large("hello 1.0.0 to demo", {"text": "x"}, 1_000_000)
    assert "1 KiB" in message
    assert "1.3 MiB" in message
    assert ".helmignore" in hint
    assert ".helmignore" in too_large("hello 1.0.0 to demo", {}, 0)[1]


def test_messages_about_size_are_recognized() -> None:
    assert is_too_large('Secret "sh.helm.release.v1.hello.v1" is invalid: data: Too long: may not be more than 1048576 bytes')
    assert not is_too_large("timed out waiting for the condition")
