"""Files that are nobody else's: the tokens, the audit log. What may be trusted is judged by the file that is open, not by its name.

A name can be made to lead elsewhere between a look and a read; an open file cannot.
"""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from kubernaut.errors import SettingInvalid

MODE = 0o600
_FOLDER_MODE = 0o700
_OTHERS = 0o077
_ALL_BUT_GROUP_READS = 0o037
_OTHERS_WRITE = 0o022
# Windows has none of these, and modes that say nothing.
_NO_WAITING = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
_NO_LINKS = getattr(os, "O_NOFOLLOW", 0)


def read(path: Path, what: str, *, most: int, links: bool = False) -> str | None:
    """Read a file that nobody else may read; ``None`` where there is none.

    Args:
        path: Where it is.
        what: What it is, for the message.
        most: How many bytes it may have.
        links: Whether the name may be a symbolic link, as those of a Secret are that Kubernetes mounts.

    Raises:
        SettingInvalid: It is not safe, too large, or cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | _NO_WAITING | (0 if links else _NO_LINKS))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(path, what, error) from error
    try:
        check(descriptor, path, what)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            data = file.read(most + 1)
    except OSError as error:
        raise _unreadable(path, what, error) from error
    finally:
        os.close(descriptor)
    if len(data) > most:
        raise SettingInvalid(f"{_called(what)} {path} is larger than {most} bytes.")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise SettingInvalid(f"{_called(what)} {path} is not UTF-8.") from None  # its cause would quote the file


def check(descriptor: int, path: Path, what: str) -> None:
    """Check that an open file is a file, ours, and nobody else's. Raises: SettingInvalid."""
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise SettingInvalid(f"{_called(what)} {path} is no regular file.")
    if os.name != "posix" or _mounted(found):
        return
    if found.st_uid != os.geteuid():
        raise SettingInvalid(f"{_called(what)} {path} belongs to another user.", hint="Use a file of your own, of mode 0600.")
    if found.st_mode & _OTHERS:
        mode = stat.S_IMODE(found.st_mode)
        raise SettingInvalid(f"{_called(what)} {path} has the mode {mode:04o}: others may use it.", hint=f"chmod 600 {path}")


def create(path: Path, content: str, what: str) -> bool:
    """Make a file that nobody else may read, whole or not at all; say whether it was made, or another was there before.

    Raises:
        SettingInvalid: It cannot be made, or others could put one of theirs in its place.
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
        raise SettingInvalid(f"{_called(what)} {path} cannot be made: {error.strerror}.", hint="Name another place.") from error
    return True


def _mounted(found: os.stat_result) -> bool:
    """Say whether a file of root's is readable for our group and nobody else: a Secret as Kubernetes mounts it."""
    ours = os.geteuid() != 0 and found.st_gid in (os.getegid(), *os.getgroups())
    return found.st_uid == 0 and ours and not found.st_mode & _ALL_BUT_GROUP_READS


def _check_folder(folder: Path, what: str) -> None:
    found = folder.stat()
    if found.st_uid not in (os.geteuid(), 0) or found.st_mode & _OTHERS_WRITE:
        raise SettingInvalid(f"{_called(what)} cannot lie in {folder}: others may write there.", hint=f"chmod 700 {folder}")


def _unreadable(path: Path, what: str, error: OSError) -> SettingInvalid:
    if path.is_symlink():
        return SettingInvalid(f"{_called(what)} {path} is a symbolic link.", hint="Name the file itself.")
    return SettingInvalid(f"{_called(what)} {path} cannot be read: {error.strerror}.")


def _called(what: str) -> str:
    return f"The {what}"
