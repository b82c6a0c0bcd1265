"""The rules in force: the user's settings, before the chart's annotations, before the defaults."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.messages import facts

from kubernaut.errors import SettingInvalid
from kubernaut.rollout.problems import Cause
from kubernaut.rollout.rules import Rules, annotation_of, rules_from
from kubernaut.settings import SETTINGS, Settings, load_settings

NAMES = tuple(asdict(Rules()))
ANNOTATIONS = {
    "kubernaut/image-failures": "7",
    "kubernaut/crash-restarts": "8",
    "kubernaut/command-failures": "9",
    "kubernaut/config-timeout": "1m",
    "kubernaut/pending-timeout": "5m",
    "kubernaut/endpoints-timeout": "45s",
    "kubernaut/settle-time": "0",
    "kubernaut/unprobed-time": "1m30s",
}
ANNOTATED = Rules(7, 8, 9, 60.0, 300.0, 45.0, 0.0, 90.0)


def load(environment: dict[str, str] | None = None, **arguments: Any) -> Settings:
    return load_settings(arguments, environment=environment or {}, directory=Path("/"))


def test_defaults_of_the_settings_are_the_defaults_of_the_rules() -> None:
    assert rules_from(load(), {}) == (Rules(), [])


def test_every_rule_is_a_setting_and_an_annotation() -> None:
    assert set(NAMES) <= {row.name for row in SETTINGS}
    assert [annotation_of(name) for name in NAMES] == list(ANNOTATIONS)


def test_annotation_overrides_the_default() -> None:
    assert rules_from(load(), ANNOTATIONS) == (ANNOTATED, [])


def test_setting_that_the_user_gave_overrides_the_annotation() -> None:
    settings = load({"KUBERNAUT_CRASH_RESTARTS": "3"}, pending_timeout="10s")
    expected = Rules(7, 3, 9, 60.0, 10.0, 45.0, 0.0, 90.0)
    assert rules_from(settings, ANNOTATIONS) == (expected, [])


def test_setting_in_a_file_overrides_the_annotation(tmp_path: Path) -> None:
    (tmp_path / "kubernaut.toml").write_text('image_failures = 4\nunprobed_time = "0"\n')
    rules, _ = rules_from(load_settings(environment={}, directory=tmp_path), ANNOTATIONS)
    assert (rules.image_failures, rules.unprobed_time, rules.crash_restarts) == (4, 0.0, 8)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("image_failures", "0"),
        ("crash_restarts", "101"),
        ("crash_restarts", ""),
        ("command_failures", "two"),
        ("config_timeout", "-1s"),
        ("pending_timeout", "8d"),
        ("endpoints_timeout", "0"),
        ("settle_time", "1.5s"),
        ("unprobed_time", "None"),
    ],
)
def test_invalid_annotation_is_ignored_and_named(name: str, text: str) -> None:
    annotation = annotation_of(name)
    rules, notices = rules_from(load(), {**ANNOTATIONS, annotation: text})
    assert asdict(rules) == {**asdict(ANNOTATED), name: asdict(Rules())[name]}
    assert len(notices) == 1
    assert re.search(facts(annotation, repr(text)), notices[0])


def test_invalid_annotation_that_does_not_count_is_not_named() -> None:
    assert rules_from(load(crash_restarts="5"), {"kubernaut/crash-restarts": "many"}) == (Rules(crash_restarts=5), [])


def test_each_invalid_annotation_has_a_notice() -> None:
    rules, notices = rules_from(load(), dict.fromkeys(ANNOTATIONS, "nonsense"))
    assert rules == Rules()
    assert len(notices) == len(ANNOTATIONS)


def test_other_annotations_do_not_count() -> None:
    others = {"kubernaut/on-failure": "keep", "crash-restarts": "9", "kubernaut/crash_restarts": "9", "kubernaut/timeout": "9"}
    assert rules_from(load(), others) == (Rules(), [])


@given(st.sampled_from(NAMES), st.text() | st.from_regex(r"[0-9hms]{1,12}", fullmatch=True))
def test_annotation_counts_exactly_if_it_is_valid_as_a_setting(name: str, text: str) -> None:
    rules, notices = rules_from(load(), {annotation_of(name): text})
    try:
        expected = getattr(load(**{name: text}), name)
    except SettingInvalid:
        assert rules == Rules()
        [notice] = notices
        assert len(notice) < 200
        assert notice.isprintable()
    else:
        assert asdict(rules) == {**asdict(Rules()), name: expected}
        assert notices == []


@pytest.mark.parametrize("cause", list(Cause))
def test_no_cause_is_both_counted_and_timed(cause: Cause) -> None:
    assert Rules().failures(cause) is None or Rules().seconds(cause) is None
