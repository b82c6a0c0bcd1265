"""The tokens that the server knows: one that it makes for itself, or named ones from a file.

Of a token only its SHA-256 digest is kept in memory. The file of the generated one is a header as ``curl -H @FILE`` takes it, so
that the token stands in no argument, no URL and no terminal. No message shows what stands in these files.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubernaut.adapters import secret_files
from kubernaut.errors import NameInvalid, SettingInvalid
from kubernaut.names import check_namespace
from kubernaut.server.auth.caller import Caller, Role

ADMIN = "admin"
"""Whom the generated token stands for."""
LONGEST = 512
SHORTEST = 32

_TOKEN = re.compile(rf"[A-Za-z0-9._~+/=-]{{{SHORTEST},{LONGEST}}}")
_HEADER = re.compile(rf"authorization:[ \t]*bearer[ \t]+({_TOKEN.pattern})[ \t]*\r?\n?", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._@-]{0,61}[A-Za-z0-9])?")
_WORD = re.compile(r"[a-z]{1,20}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_LINE = re.compile(r"\(at (line [0-9]+), ")
_LARGEST_HEADER = 4 << 10
_LARGEST_TABLE = 256 << 10
_KEYS = ("sha256", "token", "role", "namespaces")
_EXAMPLE = 'A token is a table: [tokens.NAME] with `sha256` or `token`, `role = "read"` or `"deploy"`, and perhaps `namespaces`.'


@dataclass(frozen=True)
class Token:
    """A token: the SHA-256 digest of what is sent, and whom it stands for."""

    digest: bytes
    caller: Caller


def digest(token: str) -> bytes:
    """Return what is compared of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def generated_token(path: Path) -> Token:
    """Return the token that the file holds; make both where there is no file.

    Raises:
        SettingInvalid: The file is not safe, or holds no token.
    """
    text = secret_files.read(path, "token file", limit=_LARGEST_HEADER)
    if text is None:
        secret_files.create(path, f"Authorization: Bearer {secrets.token_urlsafe(32)}\n", "token file")
        text = secret_files.read(path, "token file", limit=_LARGEST_HEADER) or ""  # another server may have been faster
    match = _HEADER.fullmatch(text)
    if match is None:
        raise SettingInvalid(
            f"The token file {path} is not one header Authorization with `Bearer TOKEN`, of {SHORTEST} to {LONGEST} characters.",
            hint="Remove the file, and the server makes a new one.",
        )
    return Token(digest(match[1]), Caller(ADMIN, Role.DEPLOY))


def named_tokens(path: Path) -> tuple[Token, ...]:
    """Return the tokens of a TOML file.

    Raises:
        SettingInvalid: The file is not safe, or does not say what it should; the message names the key.
    """
    text = secret_files.read(path, "tokens file", limit=_LARGEST_TABLE, allow_symlink=True)
    if text is None:
        raise SettingInvalid(f"There is no tokens file {path}.", hint=_EXAMPLE)
    tables = _tables(text, path)
    tokens = tuple(_token(name, table, path) for name, table in tables.items())
    _check_distinct(tokens, path)
    return tokens


def _tables(text: str, path: Path) -> Mapping[str, Any]:
    try:
        content = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        line = _LINE.search(str(error))
        # Not "from error": what the parser says may quote the file.
        raise SettingInvalid(f"{path} is not TOML" + (f": see {line[1]}." if line else "."), hint=_EXAMPLE) from None
    tables = content.pop("tokens", None)
    if content:
        raise SettingInvalid(f"{path}: there is a key beside the tables [tokens.NAME].", hint=_EXAMPLE)
    if not isinstance(tables, dict) or not tables:
        raise SettingInvalid(f"{path} names no token.", hint=_EXAMPLE)
    return tables


def _token(name: str, table: Any, path: Path) -> Token:
    if not _NAME.fullmatch(name):
        raise SettingInvalid(
            f"{path}: a token's name is no word of at most 63 letters, digits and inner `.`, `_`, `@`, `-`.", hint=_EXAMPLE
        )
    where = f"{path}: tokens.{name}"
    if not isinstance(table, dict):
        raise SettingInvalid(f"{where} is no table.", hint=_EXAMPLE)
    for key in sorted(set(table) - set(_KEYS)):
        # A token that stands there by mistake is no word, and is not shown.
        wrong = f"{where}.{key} is not known" if _WORD.fullmatch(key) else f"{where} has a key that is not known"
        raise SettingInvalid(f"{wrong}; it may have {', '.join(_KEYS)}.", hint=_EXAMPLE)
    return Token(_digest_of(table, where), Caller(name, _role(table, where), _namespaces(table, where)))


def _digest_of(table: Mapping[str, Any], where: str) -> bytes:
    if ("sha256" in table) == ("token" in table):
        raise SettingInvalid(f"{where} needs either sha256 or token.", hint=_EXAMPLE)
    if "token" in table:
        return digest(_matching(table, "token", _TOKEN, f"{SHORTEST} to {LONGEST} letters, digits and ._~+/=-", where))
    return bytes.fromhex(_matching(table, "sha256", _DIGEST, "64 lower-case hexadecimal digits", where))


def _matching(table: Mapping[str, Any], key: str, pattern: re.Pattern[str], expected: str, where: str) -> str:
    value = table[key]
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise SettingInvalid(f"{where}.{key} is not {expected}.")
    return value


def _role(table: Mapping[str, Any], where: str) -> Role:
    value = table.get("role")
    if value not in tuple(Role):
        raise SettingInvalid(f'{where}.role is neither "read" nor "deploy".')
    return Role(value)


def _namespaces(table: Mapping[str, Any], where: str) -> frozenset[str] | None:
    if "namespaces" not in table:
        return None
    names = table["namespaces"]
    if not isinstance(names, list) or not names:
        raise SettingInvalid(f"{where}.namespaces is no list of namespaces; without it the token is good for all.")
    return frozenset(_namespace(name, f"{where}.namespaces[{place}]") for place, name in enumerate(names))


def _namespace(name: Any, where: str) -> str:
    try:
        return check_namespace(name if isinstance(name, str) else "")
    except NameInvalid:
        raise SettingInvalid(f"{where} cannot be a namespace.", hint=NameInvalid.hint) from None


def _check_distinct(tokens: tuple[Token, ...], path: Path) -> None:
    for names in _sharing(tokens):
        raise SettingInvalid(f"{path}: {' and '.join(names)} have the same token.", hint="Each name needs a token of its own.")


def _sharing(tokens: tuple[Token, ...]) -> Iterator[list[str]]:
    names: dict[bytes, list[str]] = {}
    for token in tokens:
        names.setdefault(token.digest, []).append(token.caller.name)
    return (sharing for sharing in names.values() if len(sharing) > 1)
