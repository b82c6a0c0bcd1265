"""Where the token comes from: a file that only its owner may read, so that it stands in no argument, no URL and no message."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from pathlib import Path

from kubernaut.errors import SettingInvalid

_LARGEST = 16 << 10
_OTHERS = 0o077
_LINE = re.compile(r"(?:authorization:[ \t]*)?(?:bearer[ \t]+)?([!-~]+)", re.IGNORECASE)

Token = Callable[[], str | None]


def given(token: str | None) -> Token:
    """Return a token that is known already; ``None`` is none. Raises: SettingInvalid."""
    if token is not None and not re.fullmatch(r"[!-~]+", token):
        raise SettingInvalid("The token has blanks or characters that no header may have.")
    return lambda: token


def from_file(path: Path) -> Token:
    """Return a token that is read from its file each time, so that a new one counts at once."""
    return lambda: read_token(path)


def read_token(path: Path) -> str:
    """Read a file that holds the line ``Authorization: Bearer TOKEN``, as ``curl -H @FILE`` takes it, or the token alone.

    Raises:
        SettingInvalid: It cannot be read, holds no token, or others may read it.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(_LARGEST)
    except OSError as error:
        raise SettingInvalid(f"The token file {path} cannot be read: {error.strerror}.") from error
    if os.name == "posix" and mode & _OTHERS:
        raise SettingInvalid(
            f"The token file {path} has the mode {stat.S_IMODE(mode):04o}: others may read it.", hint=f"chmod 600 {path}"
        )
    match = _LINE.fullmatch(content.decode("ascii", "replace").strip())
    if match is None:
        raise SettingInvalid(
            f"{path} holds no token.", hint="It needs one line: `Authorization: Bearer TOKEN`, as `kubernaut serve` writes it."
        )
    return match[1]
