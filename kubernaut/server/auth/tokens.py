"""Reads the server's tokens: one generated token, or named tokens from a TOML file.

Only the SHA-256 digests are kept in memory. The generated token's file is a header for ``curl -H @FILE``, which keeps the token out
of arguments, URLs and terminals. No message repeats the content of these files.
"""

from __future__ import annotations

import re
import secrets
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kubernaut.adapters import secret_files
from kubernaut.errors import NameInvalid, SettingInvalid
from kubernaut.models import check_namespace
from kubernaut.server.auth.access import MAX_TOKEN_LENGTH, Caller, Role, Token, token_digest

ADMIN = "admin"
"""The caller name of the generated token."""
MIN_TOKEN_LENGTH = 32

_TOKEN = re.compile(rf"[A-Za-z0-9._~+/=-]{{{MIN_TOKEN_LENGTH},{MAX_TOKEN_LENGTH}}}")
_HEADER = re.compile(rf"authorization:[ \t]*bearer[ \t]+({_TOKEN.pattern})[ \t]*\r?\n?", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._@-]{0,61}[A-Za-z0-9])?")
_WORD = re.compile(r"[a-z]{1,20}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_LINE = re.compile(r"\(at (line [0-9]+), ")
_MAX_HEADER_BYTES = 4 << 10
_MAX_TABLE_BYTES = 256 << 10
_KEYS = ("sha256", "token", "role", "namespaces")
_EXAMPLE = 'A token is a table [tokens.NAME] with `sha256` or `token`, `role = "read"` or `"deploy"`, and optionally `namespaces`.'


def generated_token(path: Path) -> Token:
    """Return the token in a file; create both when the file does not exist.

    Raises:
        SettingInvalid: The file is not private, or does not contain a token.
    """
    text = secret_files.read(path, "token file", limit=_MAX_HEADER_BYTES)
    if text is None:
        secret_files.create(path, f"Authorization: Bearer {secrets.token_urlsafe(32)}\n", "token file")
        text = secret_files.read(path, "token file", limit=_MAX_HEADER_BYTES) or ""  # another server may have created it first
    match = _HEADER.fullmatch(text)
    if match is None:
        raise SettingInvalid(
            f"The token file {path} must be one header `Authorization: Bearer TOKEN`, with a token of {MIN_TOKEN_LENGTH} to "
            f"{MAX_TOKEN_LENGTH} characters.",
            hint="Remove the file and start the server again: it creates a new token.",
        )
    return Token(token_digest(match[1]), Caller(ADMIN, Role.DEPLOY))


def named_tokens(path: Path) -> tuple[Token, ...]:
    """Return the tokens of a TOML file.

    Raises:
        SettingInvalid: The file is not private, or its content is invalid; the message names the key.
    """
    text = secret_files.read(path, "tokens file", limit=_MAX_TABLE_BYTES, allow_symlink=True)
    if text is None:
        raise SettingInvalid(f"The tokens file {path} does not exist.", hint=_EXAMPLE)
    tables = _tables(text, path)
    tokens = tuple(_token(name, table, path) for name, table in tables.items())
    _check_distinct(tokens, path)
    return tokens


def _tables(text: str, path: Path) -> Mapping[str, Any]:
    try:
        content = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        line = _LINE.search(str(error))
        # Not "from error": the parser's message may quote the file.
        raise SettingInvalid(f"{path} is not TOML" + (f": see {line[1]}." if line else "."), hint=_EXAMPLE) from None
    tables = content.pop("tokens", None)
    if content:
        raise SettingInvalid(f"{path} has a key outside the tables [tokens.NAME].", hint=_EXAMPLE)
    if not isinstance(tables, dict) or not tables:
        raise SettingInvalid(f"{path} does not define a token.", hint=_EXAMPLE)
    return tables


def _token(name: str, table: Any, path: Path) -> Token:
    if not _NAME.fullmatch(name):
        raise SettingInvalid(
            f"{path}: a token's name must have at most 63 letters, digits and inner `.`, `_`, `@`, `-`.", hint=_EXAMPLE
        )
    where = f"{path}: tokens.{name}"
    if not isinstance(table, dict):
        raise SettingInvalid(f"{where} is not a table.", hint=_EXAMPLE)
    for key in sorted(set(table) - set(_KEYS)):
        # A token that was pasted as a key by mistake is not shown.
        unknown = f"{where}.{key} is unknown" if _WORD.fullmatch(key) else f"{where} has an unknown key"
        raise SettingInvalid(f"{unknown}; the keys are {', '.join(_KEYS)}.", hint=_EXAMPLE)
    return Token(_digest_of(table, where), Caller(name, _role(table, where), _namespaces(table, where)))


def _digest_of(table: Mapping[str, Any], where: str) -> bytes:
    if ("sha256" in table) == ("token" in table):
        raise SettingInvalid(f"{where} needs exactly one of sha256 and token.", hint=_EXAMPLE)
    if "token" in table:
        return token_digest(
            _matching(table, "token", _TOKEN, f"{MIN_TOKEN_LENGTH} to {MAX_TOKEN_LENGTH} letters, digits and ._~+/=-", where)
        )
    return bytes.fromhex(_matching(table, "sha256", _DIGEST, "64 lower-case hexadecimal digits", where))


def _matching(table: Mapping[str, Any], key: str, pattern: re.Pattern[str], expected: str, where: str) -> str:
    value = table[key]
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise SettingInvalid(f"{where}.{key} is not {expected}.")
    return value


def _role(table: Mapping[str, Any], where: str) -> Role:
    value = table.get("role")
    if value not in tuple(Role):
        raise SettingInvalid(f'{where}.role must be "read" or "deploy".')
    return Role(value)


def _namespaces(table: Mapping[str, Any], where: str) -> frozenset[str] | None:
    if "namespaces" not in table:
        return None
    names = table["namespaces"]
    if not isinstance(names, list) or not names:
        raise SettingInvalid(f"{where}.namespaces must be a list of namespaces; without it the token covers all namespaces.")
    return frozenset(_namespace(name, f"{where}.namespaces[{index}]") for index, name in enumerate(names))


def _namespace(name: Any, where: str) -> str:
    try:
        return check_namespace(name if isinstance(name, str) else "")
    except NameInvalid:
        raise SettingInvalid(f"{where} is not a valid namespace.", hint=NameInvalid.hint) from None


def _check_distinct(tokens: tuple[Token, ...], path: Path) -> None:
    named: dict[bytes, list[str]] = {}
    for token in tokens:
        named.setdefault(token.digest, []).append(token.caller.name)
    for names in named.values():
        if len(names) > 1:
            raise SettingInvalid(f"{path}: {' and '.join(names)} have the same token.", hint="Give each name a different token.")
