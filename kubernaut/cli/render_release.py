"""Prints one release, and why it failed: the cause, one sentence and the evidence."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from kubernaut.cli.command import target_arguments
from kubernaut.cli.output import is_terminal, print_data, print_json, print_message
from kubernaut.cli.render import chart_of, format_utc, pinned, print_pairs, version_of

if TYPE_CHECKING:
    from kubernaut.history.explain import ReleaseExplanation
    from kubernaut.history.explanation import Evidence
    from kubernaut.history.releases import Release

_INDENT = "    "
_NARROWEST = 20
_STATES = {"running": "is not finished", "unread": "cannot be explained"}


def show_release(release: Release, output: str) -> None:
    """Print all facts of one release."""
    if output == "json":
        print_json(release)
        return
    flags = [word for word, true in (("active", release.active), ("serving", release.serving == release.revision)) if true]
    outcome = release.outcome
    print_pairs(
        [
            ("id", release.id),
            ("status", release.status + (f" ({', '.join(flags)})" if flags else "") + _late(release)),
            ("health", _health(release)),
            ("serving", f"revision {release.serving}" if release.serving and release.serving != release.revision else ""),
            ("version", version_of(release)),
            ("chart", pinned(release.chart.ref or chart_of(release), release.chart.digest)),
            *(("image", pinned(image.ref, image.digest)) for image in release.images),
            ("images", f"unknown: the manifest cannot be read: {release.unread}" if release.unread else ""),
            ("commit", release.source.commit or ""),
            ("repository", release.source.repository or ""),
            ("build", release.build.label),
            ("by", release.created_by or ""),
            ("note", release.note or ""),
            ("managed by", release.managed_by),
            ("created", format_utc(release.created_at) if release.created_at else ""),
            ("updated", format_utc(release.updated_at) if release.updated_at else ""),
            ("deleted", format_utc(release.deleted_at) if release.deleted_at else ""),
            ("description", "" if _repeats(release) else release.description or ""),
            ("outcome", _outcome(release)),
            ("cause", (outcome.cause if outcome else None) or ""),
            ("operation", release.operation or ""),
        ]
    )
    if outcome is not None:
        print_evidence(outcome.evidence)


def show_explanation(explanation: ReleaseExplanation, output: str) -> None:
    """Print why a release failed, or that it did not."""
    if output == "json":
        print_json(explanation)
        return
    where = f"{explanation.namespace}.{explanation.name}"
    named = explanation.id or f"The {explanation.verb} of {where}, operation {explanation.operation},"
    code = explanation.cause or explanation.reason
    failed = explanation.state == "failed"
    print_data(f"{named} {_STATES.get(explanation.state, explanation.state)}" + (f": {code}" if failed and code else ""))
    for line in _wrapped(explanation.sentence, ""):
        print_data(line)
    print_evidence(explanation.evidence)
    if explanation.last_failed:
        command = f"kubernaut explain {explanation.last_failed}{target_arguments()}"
        print_message(f"{explanation.last_failed} failed before: `{command}` explains it.")


def print_evidence(evidence: Sequence[Evidence]) -> None:
    """Write evidence to stdout, each below a line that says what it is about; logs keep their lines."""
    for one in evidence:
        print_data(f"\n{_heading(one)}")
        if one.kind in ("log", "helm"):
            for line in one.text.splitlines():
                print_data(f"{_INDENT}{line}")
        else:
            for line in _wrapped(one.text, _INDENT):
                print_data(line)


def _heading(one: Evidence) -> str:
    if one.kind == "unreadable":
        return f"not read: {one.about}"
    if one.kind == "log":
        return f"log of {one.about}"
    if one.kind == "helm":
        return "output of Helm" + (f", {one.about}" if one.about else "")
    times = f", {one.count} times" if one.count > 1 else ""
    return f"{one.kind} of {one.about}{times}" + (f", {'last ' if times else ''}{format_utc(one.at)}" if one.at else "")


def _wrapped(text: str, indent: str) -> Iterator[str]:
    """Yield a text's lines, on a terminal of at most its width."""
    width = max(shutil.get_terminal_size().columns, _NARROWEST) if is_terminal(sys.stdout) else 0
    for line in text.splitlines():
        if width:
            yield from textwrap.wrap(line, width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False) or [""]
        else:
            yield f"{indent}{line}"


def _late(release: Release) -> str:
    return ", but it is ready now; the same deploy adopts it" if release.is_ready_late else ""


def _health(release: Release) -> str:
    health = release.health
    return "" if health is None else f"{health.status}: {health.reason}" if health.reason else health.status.value


def _outcome(release: Release) -> str:
    outcome = release.outcome
    if outcome is not None:
        return f"{outcome.reason}: {outcome.message}".removesuffix(": ")
    if release.operation is None:
        return ""
    return f"unfinished since {format_utc(release.created_at)}" if release.created_at else "unfinished"


def _repeats(release: Release) -> bool:
    """Return whether the description and the outcome's message say the same: Helm's record has the cause in its description too."""
    if release.outcome is None or not release.description or not release.outcome.message:
        return False
    message, description = (" ".join(text.split()).rstrip(".…") for text in (release.outcome.message, release.description))
    return description in message or (release.outcome.cause is not None and message in description)
