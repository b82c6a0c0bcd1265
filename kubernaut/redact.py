"""Masking of secrets in text.

Every output passes through here, failures too. It masks known values, and text that looks secret by its shape or its context; a
password that stands alone in a sentence is not recognized.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

MASK = "***"
SHORTEST_SECRET = 6
"""Shorter values of secret variables are not masked: masking every ``1`` or ``true`` would ruin the text."""

_WORDS = (
    r"pass(?:word|wd|phrase)|(?<=[_.-])pass|pwd|secret(?:_key_base)?|token|credentials?|bearer"
    r"|(?:api|access|secret|private|account|encryption|signing)[_.-]?key|client[_.-]?key[_.-]?data|tls\.key|identitytoken"
)
# A secret key *ends* with such a word: secretName, tokenPath and imagePullSecrets hold names, not secrets.
# existingSecret and imagePullSecret do too.
_NAMES = r"(?!(?:[\w.-]*[_.-])?(?:existing|(?:image[_-]?)?pull)[_-]?secret(?![\w.-]))"
_KEY = rf"(?<![\w.-]){_NAMES}(?:[\w.-]*(?:{_WORDS})|_?auth)"
# Neither is a boolean or null a secret: automountServiceAccountToken: false.
_TEXT = r"(?!(?:true|false|null|~)[ \t]*(?:$|[\r\n,;}\])#&]))"
_QUOTED = r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'"

_SECRET_KEY = re.compile(rf"{_NAMES}(?:[\w.-]*(?:{_WORDS})|_?auth)", re.IGNORECASE)
_SECRET_VARIABLE = re.compile(
    r"PASS(?:WORD|WD|PHRASE)|_(?:PASS|PWD)$|SECRET|TOKEN|CREDENTIAL|(?:API|ACCESS|PRIVATE)_?KEY", re.IGNORECASE
)
_NOT_SECRET_VARIABLE = re.compile(r"_(?:FILE|PATH|DIR|URL|NAME|ID|TYPE|USER|USERNAME|TTL)$", re.IGNORECASE)

Replacement = str | Callable[[re.Match[str]], str]


def _basic(match: re.Match[str]) -> str:
    """Mask a value that decodes to ``user:password``, but not the words "basic authentication"."""
    try:
        decoded = base64.b64decode(match[2], validate=True)
    except (binascii.Error, ValueError):
        return match[0]
    return match[1] + MASK if b":" in decoded else match[0]


def _value_in_quotes(match: re.Match[str]) -> str:
    """Mask a value and keep its quotes, so that JSON stays JSON."""
    quote_mark = match[2][0] if match[2][0] in "\"'" else ""
    return f"{match[1]}{quote_mark}{MASK}{quote_mark}"


_RULES: tuple[tuple[re.Pattern[str], Replacement], ...] = tuple(
    (re.compile(pattern, flags), replacement)
    for pattern, flags, replacement in (
        (r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL, MASK),
        (r"://[^\s/\"'<>]+@", 0, f"://{MASK}@"),
        # HTTP headers that carry credentials, as text, JSON or a Python dictionary.
        (
            rf"((?:authorization|x-registry-auth|x-registry-config|set-cookie|cookie|private-token)[\"']?\s*[:=]\s*)({_QUOTED}|[^\r\n\"',}}]+)",
            re.IGNORECASE,
            rf"\1{MASK}",
        ),
        (r"(\bbearer\s+)(?!realm=)(?![a-z]{1,19}(?![\w.~+/=-]))[\w.~+/=-]{6,}", re.IGNORECASE, rf"\1{MASK}"),
        (r"(\bbasic\s+)([A-Za-z0-9+/]{4,}={0,2})", re.IGNORECASE, _basic),
        (
            r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*|\b(?:gh[pousr]|github_pat|glpat|npm|xox[abp])[_-][\w-]{16,}|\bAKIA[A-Z0-9]{16}\b",
            0,
            MASK,
        ),
        # In a line of YAML the value is the rest of the line. Then key=value, "key": "value" and --key value anywhere else.
        (
            rf"(?m)(^[ \t]*(?:- )?[\"']?{_KEY}[\"']?:[ \t]+)(?![|>*{{\[]|'\*\*\*'[ \t]*$)(?!{_QUOTED}[ \t]*[,}}]){_TEXT}\S.*$",
            re.IGNORECASE,
            rf"\1{MASK}",
        ),
        (rf"({_KEY}[\"']?\s*[:=]\s*){_TEXT}({_QUOTED}|[^\s,;&\"'{{}}\[\]]+)", re.IGNORECASE, _value_in_quotes),
        (rf"((?<![\w-])--?[\w-]*(?:{_WORDS})[ \t]+)(?:{_QUOTED}|[^\s\"']+)", re.IGNORECASE, rf"\1{MASK}"),
    )
)


def environment_secrets(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the values of secret variables, such as ``GITHUB_TOKEN``, the longest first."""
    values = {value for name, value in environment.items() if len(value) >= SHORTEST_SECRET and is_secret_variable(name)}
    return tuple(sorted(values, key=lambda value: (-len(value), value)))


def is_secret_variable(name: str) -> bool:
    """Return whether an environment variable's name looks secret, such as ``GITHUB_TOKEN``."""
    return bool(_SECRET_VARIABLE.search(name)) and not _NOT_SECRET_VARIABLE.search(name)


def is_secret_key(key: Any) -> bool:
    """Return whether a key names a secret value, as ``dbPassword`` does and ``secretName`` does not."""
    return isinstance(key, str) and _SECRET_KEY.fullmatch(key) is not None


def secret_texts(content: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield the texts below secret keys of JSON data, each after its nearest secret key; each line of a text counts too.

    Args:
        content: The data.
        key: The secret key that it stands below, if any.
    """
    if isinstance(content, Mapping):
        for name, value in content.items():
            yield from secret_texts(value, name if is_secret_key(name) else key)
    elif isinstance(content, list | tuple):
        for value in content:
            yield from secret_texts(value, key)
    elif key and type(content) is int and len(str(content)) > 5:
        yield key, str(content)
    elif key and isinstance(content, str):
        texts = (content, *(line.strip() for line in content.splitlines()))
        yield from ((key, text) for text in texts if len(text) > 3)


def mask(text: str, secrets: Iterable[str]) -> str:
    """Return a text with known secrets replaced by ``***``, URL-quoted too, and nothing else: much faster than :func:`redact`."""
    for secret in secrets:
        text = text.replace(secret, MASK)
        quoted = quote(secret, safe="")
        if quoted != secret:
            text = text.replace(quoted, MASK)
    return text


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """Return a text, of one line or many, with secrets replaced by ``***``.

    ``secrets`` are values known to be secret (:func:`environment_secrets`); they are masked everywhere, URL-quoted too.
    """
    text = mask(text, secrets)
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return text


def without_credentials(url: str) -> str:
    """Return a repository's URL without user name and password; ``git@host:path`` and paths stay as they are."""
    if "://" not in url:
        return url
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


def redact_data(data: Any, secrets: tuple[str, ...] = ()) -> Any:
    """Return JSON data with secrets masked: in every text, and the whole value of a secret key."""
    if isinstance(data, str):
        return redact(data, secrets)
    if isinstance(data, Mapping):
        return {key: _value(key, value, secrets) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [redact_data(item, secrets) for item in data]
    return data


def _value(key: Any, value: Any, secrets: tuple[str, ...]) -> Any:
    if is_secret_key(key) and value and type(value) in (str, int, float):
        return MASK
    return redact_data(value, secrets)
