"""The root of the error tree and its branches: what each failure carries, and what it means to a command line and to HTTP."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar


class KubernautError(Exception):
    """A foreseen failure.

    Args:
        message: What was being done to what, and what went wrong, in the user's words.
        hint: What to do next; the class's own hint by default.
        details: Further lines, such as the end of a build's output; never a secret.
        members: What a program may want to know besides, as JSON, by name: members of the problem.
    """

    code: ClassVar[str] = "internal"
    exit_status: ClassVar[int] = 1
    http_status: ClassVar[int] = 500
    hint: str = "This is a defect in kubernaut: please report it with the output of the same command and --verbose."

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        details: Sequence[str] = (),
        members: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.details = tuple(details)
        self.members = dict(members or {})
        if hint is not None:
            self.hint = hint

    def problem(self) -> dict[str, Any]:
        """Return the failure as an RFC 9457 problem."""
        problem: dict[str, Any] = {
            "type": f"urn:kubernaut:problem:{self.code}",
            "title": self.code.replace("_", " "),
            "status": self.http_status,
            "detail": self.message,
            "code": self.code,
            "hint": self.hint,
        }
        if self.details:
            problem["details"] = list(self.details)
        return {**self.members, **problem}


class BadInput(KubernautError):
    """Something that the user wrote cannot be used."""

    code = "bad_input"
    exit_status = 3
    http_status = 422
    hint = "Correct the input and run the same command again; nothing has been changed."


class Usage(KubernautError):
    """The command line cannot be understood."""

    code = "usage"
    exit_status = 2
    http_status = 400
    hint = "`kubernaut --help` lists the commands, `kubernaut COMMAND --help` explains one."


class NotFound(KubernautError):
    """What was named does not exist."""

    code = "not_found"
    exit_status = 4
    http_status = 404
    hint = "Check the name; `kubernaut list --all` and `kubernaut versions NAME` show what exists."


class Conflict(KubernautError):
    """Somebody else was first, or holds it now."""

    code = "conflict"
    exit_status = 5
    http_status = 409
    hint = "Look at the present state with `kubernaut history NAME`, then decide."


class DeployFailed(KubernautError):
    """A release was tried and did not become ready; what it left says the subclass.

    Attributes:
        release: The id of the release that failed, if there is one.
        operation: The id of the operation that tried.
    """

    code = "deploy_failed"
    exit_status = 7
    http_status = 422
    hint = "`kubernaut show NAME` shows the failed release, `kubernaut logs NAME` what its pods said."
    release: str | None = None
    operation: str | None = None

    def problem(self) -> dict[str, Any]:
        """Return the failure as an RFC 9457 problem, with the release and the operation."""
        named = {"release": self.release, "operation": self.operation}
        return {**super().problem(), **{key: value for key, value in named.items() if value is not None}}


class Unreachable(KubernautError):
    """A part that kubernaut needs does not answer."""

    code = "unreachable"
    exit_status = 8
    http_status = 503
    hint = "Check that the part runs and that this machine reaches it, then run the same command again."


class Forbidden(KubernautError):
    """A part answers, and does not let this user in."""

    code = "forbidden"
    exit_status = 9
    http_status = 403
    hint = "Check the credentials and what they are allowed to do."


class Interrupted(KubernautError):
    """A signal stopped the work; children are stopped and temporary files are gone."""

    code = "interrupted"
    exit_status = 130
    http_status = 499
    hint = "Run the same command again: it continues where this one was stopped."


def error_classes(root: type[KubernautError] = KubernautError) -> Iterator[type[KubernautError]]:
    """Yield the tree's classes, a parent before its children."""
    yield root
    for child in root.__subclasses__():
        yield from error_classes(child)
