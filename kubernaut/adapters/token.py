"""Where a token comes from: the environment, or a file that only its owner may read; so it stands in no argument and no message."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from kubernaut.adapters import secret_files as private
from kubernaut.errors import SettingInvalid
from kubernaut.settings import Settings

_LARGEST = 16 << 10
_LINE = re.compile(r"(?:authorization:[ \t]*)?(?:bearer[ \t]+)?([!-~]+)", re.IGNORECASE)
_HINT = "It needs one line, the header Authorization with `Bearer TOKEN`, as `kubernaut serve` writes it."

Token = Callable[[], str | None]


def given(token: str | None) -> Token:
    """Return a token that is known already; ``None`` is none. Raises: SettingInvalid."""
    if token is not None and not re.fullmatch(r"[!-~]+", token):
        raise SettingInvalid("The token has blanks or characters that no header may have.")
    return lambda: token


def from_file(path: Path) -> Token:
    """Return a token that is read from its file each time, so that a new one counts at once."""
    return lambda: read_token(path)


def find_token(settings: Settings, variable: str, file: str | None) -> Token:
    """Return a token that is known by name: the variable that holds it, else the file that is set; else there is none.

    Args:
        settings: What is set; its environment may hold the token.
        variable: Such as ``KUBERNAUT_JENKINS_TOKEN``.
        file: The file with the token, as it is set.

    Raises:
        SettingInvalid: The variable's value has characters that no token has.
    """
    if value := settings.environment.get(variable):
        return given(value)
    return given(None) if file is None else from_file(settings.path(file))


def read_token(path: Path) -> str:
    """Read a file that holds the line ``Authorization: Bearer TOKEN``, as ``curl -H @FILE`` takes it, or the token alone.

    Raises:
        SettingInvalid: It is not there, others may read it, or it holds no token.
    """
    text = private.read(path, "token file", most=_LARGEST, links=True)
    if text is None:
        raise SettingInvalid(f"There is no token file {path}.", hint=_HINT)
    match = _LINE.fullmatch(text.strip())
    if match is None:
        raise SettingInvalid(f"The token file {path} holds no token.", hint=_HINT)
    return match[1]
