"""Why an operation failed, with the evidence: as it is stored in the operation and shown with the release. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Literal

from pydantic import Field

from kubernaut.models import Model
from kubernaut.redact import MASK, redact

LARGEST = 32 << 10
"""The size limit of an explanation as JSON, in bytes; the beginnings of its logs are left out above it."""
LOG_LINES = 50
"""How many of a container's last lines an explanation quotes."""

_LONGEST_LINE = 500
_LONGEST_READ = 1_000
_MOST_READ = 4 * LOG_LINES
_LONGEST_TEXT = 600
_LONGEST_SENTENCE = 1_000
_LONGEST_HELM = 3_000
_MOST = {"status": 12, "event": 20, "helm": 1, "unreadable": 8, "log": 4}
_LONGEST_FACT = 300
_MOST_FACTS = 24

_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-_]")
# The end of a key whose beginning lies before the lines that were read.
_END_OF_KEY = re.compile(r"\A(?:(?!-----BEGIN ).)*?-----END [A-Z ]*PRIVATE KEY-----", re.DOTALL)


class Evidence(Model):
    """One observation that supports an explanation.

    Attributes:
        kind: Its kind; ``unreadable`` for a resource that could not be read.
        about: The object: ``Deployment web``, ``pod web-7f9-x2, container app``; for ``unreadable`` the kind that was not read.
        text: The observation; a log has several lines.
        count: How often it happened.
        since: When it happened first, by the cluster's clock.
        at: When it happened last, by the cluster's clock.
    """

    kind: Literal["event", "log", "status", "helm", "unreadable"]
    about: str
    text: str
    count: int = 1
    since: datetime | None = None
    at: datetime | None = None


class Explanation(Model):
    """Why an operation failed.

    Attributes:
        cause: A code of :class:`kubernaut.rollout.problems.Cause`; an unknown word if a newer version wrote it.
        sentence: The failure: of which operation, on which object, and why.
        facts: The names and numbers in the sentence: ``kind``, ``namespace``, ``name``, ``container``, ``image``, ``field``, ….
        evidence: The observations, the most telling first.
    """

    cause: str
    sentence: str
    facts: dict[str, str] = Field(default_factory=dict)
    evidence: tuple[Evidence, ...] = ()

    def of_kind(self, kind: str) -> list[Evidence]:
        """Return the evidence of a kind."""
        return [one for one in self.evidence if one.kind == kind]


def clean(text: str, secrets: Iterable[str] = (), *, longest: int = _LONGEST_TEXT) -> str:
    """Return a text without secrets and control characters, on one line of at most ``longest`` characters."""
    return _shorten(redact(" ".join(_printable(text[: 4 * _LONGEST_READ]).split()), secrets), longest)


def clean_lines(lines: Sequence[str], secrets: Iterable[str] = (), *, most: int = LOG_LINES) -> list[str]:
    """Return the last lines of a log, without secrets and control characters, each of at most 500 characters."""
    # More lines than are kept, and all together: a key in PEM form has many.
    text = "\n".join(_printable(line[:_LONGEST_READ].replace("\n", " ")) for line in list(lines)[-_MOST_READ:])
    text = redact(_END_OF_KEY.sub(MASK, text), secrets)
    return [_shorten(line.rstrip(), _LONGEST_LINE) for line in text.splitlines()][-most:]


def sealed(explanation: Explanation, secrets: Iterable[str] = ()) -> Explanation:
    """Return an explanation that can be stored and shown: without secrets and control characters, at most :data:`LARGEST` bytes."""
    known = tuple(secrets)
    left = dict(_MOST)
    evidence: list[Evidence] = []
    for one in explanation.evidence:
        left[one.kind] = left.get(one.kind, 0) - 1
        if left[one.kind] >= 0 and one.text.strip():
            evidence.append(_clean_evidence(one, known))
    facts = {
        clean(name, known, longest=40): clean(value, known, longest=_LONGEST_FACT)
        for name, value in list(explanation.facts.items())[:_MOST_FACTS]
        if value
    }
    if len(json.dumps(facts)) > LARGEST // 4:
        facts = {name: _shorten(value, _LONGEST_FACT // 4) for name, value in list(facts.items())[: _MOST_FACTS // 2]}
    sentence = clean(explanation.sentence, known, longest=_LONGEST_SENTENCE)
    return _fit(Explanation(cause=str(explanation.cause), sentence=sentence, facts=facts, evidence=tuple(evidence)))


def _clean_evidence(one: Evidence, secrets: Sequence[str]) -> Evidence:
    if one.kind == "log":
        text = "\n".join(clean_lines(one.text.splitlines(), secrets))
    elif one.kind == "helm":
        lines = clean_lines(one.text.splitlines(), secrets)
        text = _shorten("\n".join(line for line in lines if line.strip()), _LONGEST_HELM)
    else:
        text = clean(one.text, secrets)
    about = clean(one.about, secrets, longest=300)
    return one.model_copy(update={"text": text, "about": about, "count": min(max(one.count, 1), 10**9)})


def _fit(explanation: Explanation) -> Explanation:
    """Leave out the beginnings of logs, the longest log first, then the last evidence, until the explanation is small enough."""
    evidence = list(explanation.evidence)
    excess = _size(explanation) - LARGEST
    while excess > 0 and evidence:
        logs = [place for place, one in enumerate(evidence) if one.kind == "log" and "\n" in one.text]
        if logs:
            longest = max(logs, key=lambda place: len(evidence[place].text))
            lines = evidence[longest].text.split("\n")
            kept = lines[max(1, len(lines) // 8) :]
            evidence[longest] = evidence[longest].model_copy(update={"text": "\n".join(kept)})
        else:
            evidence.pop()
        explanation = explanation.model_copy(update={"evidence": tuple(evidence)})
        excess = _size(explanation) - LARGEST
    return explanation


def _size(explanation: Explanation) -> int:
    """Return the size in bytes of the longest JSON: the one that escapes what is not ASCII."""
    return len(json.dumps(explanation.model_dump(mode="json", by_alias=True)))


def _printable(text: str) -> str:
    """Return a text without terminal escapes; what cannot be printed becomes a space or vanishes."""
    text = _ESCAPES.sub("", text)
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else " " if char.isspace() else "" for char in text)


def _shorten(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
