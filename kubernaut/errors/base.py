"""The root of the error classes, their branches, and the conversion to and from RFC 9457 problems."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

_COMMAND_LINE = re.compile(r"(?<![\w-])--?[a-z]|[`(]kubernaut |\b(?:same|this) command\b|\bstands? above\b", re.IGNORECASE)
_PLACEHOLDER_ID = re.compile(r"(?<=releases/)ID\b|(?<=show )ID\b")
_PROBLEM_MEMBERS = frozenset({"type", "title", "status", "detail", "code", "hint", "details", "instance"})


class KubernautError(Exception):
    """A failure that kubernaut foresees.

    A subclass whose ``hint`` also fits an HTTP answer defines no ``http_hint``.

    Args:
        message: What failed, on what, and why.
        hint: What to do next, worded for the command line; by default the class's.
        http_hint: The same worded for a program that uses the REST API: no command, no option. By default ``hint`` where it names
            neither, else the class's.
        details: Further lines, such as the end of a build's output; never a secret.
        members: Additional members of the problem, by name, as JSON values.
    """

    code: ClassVar[str] = "internal"
    exit_status: ClassVar[int] = 1
    http_status: ClassVar[int] = 500
    hint: str = "This is a defect in kubernaut: report it with the output of the same command and --verbose."
    http_hint: str = "This is a defect in kubernaut: report it with the request's ID; the server's log has the details."

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "hint" in vars(cls) and "http_hint" not in vars(cls):
            cls.http_hint = cls.hint

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        http_hint: str | None = None,
        details: Sequence[str] = (),
        members: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.details = tuple(details)
        self.members = dict(members or {})
        if hint is not None:
            self.hint = hint
        if http_hint is not None:
            self.http_hint = http_hint
        elif hint is not None and not _COMMAND_LINE.search(hint):
            self.http_hint = hint

    def fill_hints(self, namespace: str | None = None, name: str | None = None, id: str | None = None) -> None:
        """Replace the placeholders NAMESPACE, NAME and ID in both hints by what is known, so that commands can be pasted."""
        for attribute in ("hint", "http_hint"):
            text = getattr(self, attribute)
            for pattern, value in ((_PLACEHOLDER_ID, id), (r"\bNAMESPACE\b", namespace), (r"\bNAME\b", name)):
                text = text if value is None else re.sub(pattern, lambda _, value=value: value, text)
            setattr(self, attribute, text)

    def add_hints(self, hint: str, http_hint: str) -> None:
        """Add a sentence to each hint."""
        self.hint = f"{self.hint} {hint}"
        self.http_hint = f"{self.http_hint} {http_hint}"

    def problem(self) -> dict[str, Any]:
        """Return the failure as an RFC 9457 problem, with the hint for HTTP."""
        problem: dict[str, Any] = {
            "type": f"urn:kubernaut:problem:{self.code}",
            "title": self.code.replace("_", " "),
            "status": self.http_status,
            "detail": self.message,
            "code": self.code,
            "hint": self.http_hint,
        }
        if self.details:
            problem["details"] = list(self.details)
        return {**self.members, **problem}


class BadInput(KubernautError):
    """An input cannot be used."""

    code = "bad_input"
    exit_status = 3
    http_status = 422
    hint = "Correct the input and run the same command again; nothing was changed."
    http_hint = "Correct the input and send the request again; nothing was changed."


class Usage(KubernautError):
    """The command line cannot be parsed."""

    code = "usage"
    exit_status = 2
    http_status = 400
    hint = "`kubernaut --help` lists the commands, `kubernaut COMMAND --help` explains one."
    http_hint = "`/openapi.json` describes each call."


class NotFound(KubernautError):
    """The named object does not exist."""

    code = "not_found"
    exit_status = 4
    http_status = 404
    hint = "Check the name; `kubernaut list --all` lists the releases, `kubernaut versions NAME` an application's versions."
    http_hint = (
        "Check the name; `GET /api/releases?all=true` lists the releases, `GET /api/versions/NAME` an application's versions."
    )


class Conflict(KubernautError):
    """The present state does not allow the change."""

    code = "conflict"
    exit_status = 5
    http_status = 409
    hint = "Look at the present state with `kubernaut history NAME -n NAMESPACE`, then decide."
    http_hint = "Look at the present state with `GET /api/releases/ID/history`, then decide."


class DeployFailed(KubernautError):
    """A release was attempted and did not become ready; the subclass describes the result.

    Attributes:
        release: The ID of the release that failed, if there is one.
        operation: The ID of the operation.
    """

    code = "deploy_failed"
    exit_status = 7
    http_status = 422
    hint = "`kubernaut explain NAME -n NAMESPACE` shows the evidence, `kubernaut logs NAME -n NAMESPACE` the pods' output."
    http_hint = "`GET /api/releases/ID/explanation` shows the evidence."
    release: str | None = None
    operation: str | None = None

    def add_hints(self, hint: str, http_hint: str) -> None:
        """Add a sentence to each hint."""
        self.hint = f"{self.hint} {hint}"
        self.http_hint = f"{self.http_hint} {http_hint}"

    def problem(self) -> dict[str, Any]:
        """Return the failure as an RFC 9457 problem, with the release and the operation."""
        named = {"release": self.release, "operation": self.operation}
        return {**super().problem(), **{key: value for key, value in named.items() if value is not None}}


class Unreachable(KubernautError):
    """A service that kubernaut needs does not answer."""

    code = "unreachable"
    exit_status = 8
    http_status = 503
    hint = "Check that the service runs and that this machine reaches it, then run the same command again."
    http_hint = "Send the request again; if it keeps failing, check that the kubernaut server reaches the service."


class Forbidden(KubernautError):
    """A service refuses the credentials or the request."""

    code = "forbidden"
    exit_status = 9
    http_status = 403
    hint = "Check the credentials and their rights."


class Interrupted(KubernautError):
    """A signal stopped the work; child processes are stopped and temporary files removed."""

    code = "interrupted"
    exit_status = 130
    http_status = 499
    hint = "Run the same command again: it continues where this one was stopped."
    http_hint = "Send the request again: it continues where this one was stopped."


def error_classes(root: type[KubernautError] = KubernautError) -> Iterator[type[KubernautError]]:
    """Yield a class and its subclasses, a parent before its children."""
    yield root
    for child in root.__subclasses__():
        yield from error_classes(child)


def from_problem(problem: Mapping[str, Any]) -> KubernautError:
    """Return the error that an RFC 9457 problem describes.

    The class is the one with the problem's ``code``, the more special one where two share it; for an unknown code the one with its
    ``status``. The problem's hint becomes ``http_hint``; ``hint`` is the class's own unless the code is unknown.
    """
    kind = {kind.code: kind for kind in error_classes()}.get(str(problem.get("code")))
    hint, details = problem.get("hint"), problem.get("details")
    failure = (kind or _by_status(problem.get("status")))(
        str(problem.get("detail") or problem.get("title") or "The request failed for an unknown reason."),
        hint=str(hint) if hint and kind is None else None,
        http_hint=str(hint) if hint else None,
        details=[str(line) for line in details] if isinstance(details, list) else (),
        members={key: value for key, value in problem.items() if key not in _PROBLEM_MEMBERS},
    )
    if isinstance(failure, DeployFailed):
        failure.release, failure.operation = failure.members.pop("release", None), failure.members.pop("operation", None)
    return failure


def _by_status(status: Any) -> type[KubernautError]:
    branches = (BadInput, Usage, NotFound, Conflict, Unreachable, Forbidden)
    return next((branch for branch in branches if branch.http_status == status), KubernautError)
