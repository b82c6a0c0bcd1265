"""Schemathesis on the whole OpenAPI document: requests that fit it, requests that do not, and what must hold of each answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import schemathesis
from schemathesis import Case, GenerationMode, HookContext, Response
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema
from schemathesis.engine.recorder import ScenarioRecorder
from schemathesis.schemas import BaseSchema


def plan(url: str, token: str, *, examples: int, **more: Any) -> SchemathesisConfig:
    """Return how a server is to be tried: the same way every time, with every check that holds for it.

    Args:
        url: The server's address.
        token: A token that may do everything.
        examples: How many requests are made of each call, beside those that try the borders of each parameter.
        more: Further settings, as schemathesis.toml has them.
    """
    return SchemathesisConfig.from_dict(
        {
            "base-url": url,
            "headers": {"Authorization": f"Bearer {token}"},
            "continue-on-failure": True,
            # A soft delete keeps the record, which stays readable.
            "checks": {"use_after_free": {"enabled": False}},
            "generation": {"max-examples": examples, "deterministic": True, "database": "none"},
            "warnings": False,
            **more,
        }
    )


def failures(schema: BaseSchema) -> dict[str, str]:
    """Fuzz the server and return the failures, one of each kind per call, with the request that shows it."""
    found: dict[str, str] = {}
    tried: set[str] = set()
    for event in from_schema(schema).execute():
        match event:
            case events.FatalError(exception=error) | events.NonFatalError(value=error):
                found[f"{type(error).__name__}"] = str(error)
            case events.ScenarioFinished(recorder=recorder):
                tried.add(recorder.label)
                for name, report in _failed(recorder):
                    found.setdefault(name, report)
    assert len(tried) > 1, "nothing was tried"
    return found


def schema_of(config: SchemathesisConfig) -> BaseSchema:
    """Return the document of the server that is to be tried."""
    return schemathesis.openapi.from_url(f"{config.projects.get_default().base_url}/openapi.json", config=config)


@schemathesis.hook
def before_call(_: HookContext, case: Case, __: dict[str, Any]) -> None:
    """Take away a header that breaks its pattern, in a request that is meant to be valid: nothing behind it would be tried."""
    if case.meta is not None and case.meta.generation.mode is GenerationMode.POSITIVE and case.headers.get("If-Match") == "0":
        del case.headers["If-Match"]


def _failed(recorder: ScenarioRecorder) -> Iterator[tuple[str, str]]:
    for case_id, checks in recorder.checks.items():
        answered = recorder.find_response(case_id=case_id)
        for check in checks:
            if check.failure_info is not None and not _is_beyond_the_schema(check.name, answered):
                failure = check.failure_info.failure
                report = f"{failure.title}: {failure.message}\n{check.failure_info.code_sample}"
                yield f"{recorder.label}: {check.name}", f"{report}\n{answered.text[:500] if answered else ''}"


def _is_beyond_the_schema(check: str, answered: Response | None) -> bool:
    """Whether a request was rightly refused though the document allows it.

    No schema says which cursor was given, what a chart's own schema wants, or that a number must fit into 64 bits. Faults that a
    schema can describe must be in ours: the answer lists them.
    """
    if check != "positive_data_acceptance" or answered is None:
        return False
    return "errors" not in answered.json()
