from __future__ import annotations

import pytest
from pydantic import ValidationError

from kubernaut.models import Action, Model, Plan


class Example(Model):
    some_words: int = 1


def test_json_is_camel_case_and_python_snake_case() -> None:
    assert Example(some_words=2).model_dump(mode="json", by_alias=True) == {"someWords": 2}
    assert Example.model_validate({"someWords": 3}).some_words == 3


def test_models_are_immutable() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Example().some_words = 2  # type: ignore[misc]
    assert Example() == Example()
    assert hash(Example()) == hash(Example())


def test_unknown_fields_are_refused() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        Example.model_validate({"other": 1})


def test_plan_changes_if_it_has_actions() -> None:
    assert not Plan(reason="nothing to do").changes
    plan = Plan(actions=(Action(kind="build-image", subject="shop", reason="new"),))
    assert plan.changes
    assert Plan.model_validate_json(plan.model_dump_json(by_alias=True)) == plan
