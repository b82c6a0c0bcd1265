"""Files that only their owner may access, such as token files and the audit log, and the tokens in them.

Trust is decided by the open file, not by its name: a name can be made to lead elsewhere between a check and a read.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from collections.abc import Callable
from pathlib import Path

from kubernaut.errors import SettingInvalid
from kubernaut.settings import Settings

MODE = 0o600
_FOLDER_MODE = 0o700
_OTHERS = 0o077
_ALL_BUT_GROUP_READS = 0o037
_OTHERS_WRITE = 0o022
# Windows has none of these flags, and no meaningful modes.
_NONBLOCKING = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_LARGEST_TOKEN_FILE = 16 << 10
_TOKEN_LINE = re.compile(r"(?:authorization:[ \t]*)?(?:bearer[ \t]+)?([!-~]+)", re.IGNORECASE)
_HINT = "It needs one line, the header Authorization with `Bearer TOKEN`, as `kubernaut serve` writes it."

TokenSource = Callable[[], str | None]
"""Returns the token to send, or ``None``; called for each request."""


def read(path: Path, what: str, *, limit: int, allow_symlink: bool = False) -> str | None:
    """Return the content of a file that only its owner may read; ``None`` if the file does not exist.

    Args:
        path: The file.
        what: The kind of file, for the message.
        limit: The largest size, in bytes.
        allow_symlink: Whether the path may be a symbolic link, as in a Secret that Kubernetes mounts.

    Raises:
        SettingInvalid: The file is not safe, too large, or cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | _NONBLOCKING | (0 if allow_symlink else _NOFOLLOW))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(path, what, error) from error
    try:
        check(descriptor, path, what)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise _unreadable(path, what, error) from error
    finally:
        os.close(descriptor)
    if len(data) > limit:
        raise SettingInvalid(f"The {what} {path} is larger than {limit} bytes.")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise SettingInvalid(f"The {what} {path} is not UTF-8.") from None  # its cause would quote the file


def check(descriptor: int, path: Path, what: str) -> None:
    """Check that an open file is a regular file of this user which others may not access. Raises: SettingInvalid."""
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise SettingInvalid(f"The {what} {path} is not a regular file.")
    if os.name != "posix" or _is_mounted_secret(found):
        return
    if found.st_uid != os.geteuid():
        raise SettingInvalid(f"The {what} {path} belongs to another user.", hint="Use a file of your own, with mode 0600.")
    if found.st_mode & _OTHERS:
        mode = stat.S_IMODE(found.st_mode)
        raise SettingInvalid(f"The {what} {path} has mode {mode:04o}: others may access it.", hint=f"chmod 600 {path}")


def create(path: Path, content: str, what: str) -> bool:
    """Create a file that only its owner may read, whole or not at all; return whether it was created, false if it exists.

    Raises:
        SettingInvalid: The file cannot be created, or others may write to its folder.
    """
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        _check_folder(path.parent, what)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, MODE)
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(content)
                file.flush()
                os.fsync(descriptor)
            os.link(fresh, path)  # unlike a rename, it replaces nothing
        finally:
            fresh.unlink()
    except FileExistsError:
        return False
    except OSError as error:
        raise SettingInvalid(f"The {what} {path} cannot be created: {error.strerror}.", hint="Choose another path.") from error
    return True


def static_token(token: str | None) -> TokenSource:
    """Return a source of one known token, or of none. Raises: SettingInvalid."""
    if token is not None and not re.fullmatch(r"[!-~]+", token):
        raise SettingInvalid("The token contains blanks or characters that a header cannot have.")
    return lambda: token


def token_from_file(path: Path) -> TokenSource:
    """Return a source that reads the file each time, so that a new token takes effect at once."""
    return lambda: read_token(path)


def token_from_settings(settings: Settings, variable: str, file: str | None) -> TokenSource:
    """Return the source of a token: its environment variable if set (``KUBERNAUT_JENKINS_TOKEN``), else its file, else no token.

    Raises:
        SettingInvalid: The variable's value contains characters that a header cannot have.
    """
    if value := settings.environment.get(variable):
        return static_token(value)
    return static_token(None) if file is None else token_from_file(settings.path(file))


def read_token(path: Path) -> str:
    """Return the token in a file: the line ``Authorization: Bearer TOKEN``, as ``curl -H @FILE`` takes it, or the token alone.

    Raises:
        SettingInvalid: The file does not exist, others may read it, or it does not contain a token.
    """
    text = read(path, "token file", limit=_LARGEST_TOKEN_FILE, allow_symlink=True)
    if text is None:
        raise SettingInvalid(f"The token file {path} does not exist.", hint=_HINT)
    match = _TOKEN_LINE.fullmatch(text.strip())
    if match is None:
        raise SettingInvalid(f"The token file {path} does not contain a token.", hint=_HINT)
    return match[1]


def _is_mounted_secret(found: os.stat_result) -> bool:
    """Return whether root owns the file and only our group may read it: a Secret that Kubernetes mounts."""
    ours = os.geteuid() != 0 and found.st_gid in (os.getegid(), *os.getgroups())
    return found.st_uid == 0 and ours and not found.st_mode & _ALL_BUT_GROUP_READS


def _check_folder(folder: Path, what: str) -> None:
    found = folder.stat()
    if found.st_uid not in (os.geteuid(), 0) or found.st_mode & _OTHERS_WRITE:
        raise SettingInvalid(f"The {what} cannot lie in {folder}: others may write there.", hint=f"chmod 700 {folder}")


def _unreadable(path: Path, what: str, error: OSError) -> SettingInvalid:
    if path.is_symlink():
        return SettingInvalid(f"The {what} {path} is a symbolic link.", hint="Name the file itself.")
    return SettingInvalid(f"The {what} {path} cannot be read: {error.strerror}.")
