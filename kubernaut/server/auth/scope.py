"""Which releases a request is about, and whether its caller may see them: his token's namespaces, and the server's own. Pure."""

from __future__ import annotations

from collections.abc import Collection

from kubernaut.errors import NotAllowed
from kubernaut.history.releases import ReleaseId
from kubernaut.server.auth.caller import Caller, Role
from kubernaut.server.http.routing import Parameter

NAMESPACE_PATTERN = "[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
NAME_PATTERN = rf"{NAMESPACE_PATTERN}(?:\.{NAMESPACE_PATTERN})*"
# As ReleaseId.parse reads it: what ends in .v and digits always names a revision; a name has 53 characters at most.
_NUMBERED = rf"(?!.{{54,}}\.v[0-9]+$){NAME_PATTERN}\.v(?:0|[1-9][0-9]{{0,8}})"
_BARE = rf"(?!v[0-9]+$)(?!.*\.v[0-9]+$)(?!.{{54,}}\.current$)(?!(?!.*\.current$).{{54,}}){NAME_PATTERN}"
ID_PATTERN = rf"{NAMESPACE_PATTERN}\.(?:{_BARE}|{_NUMBERED})"

ID = Parameter(
    name="id",
    description="A release's id: NAMESPACE.NAME.vREVISION, or NAMESPACE.NAME.current for the current one.",
    pattern=ID_PATTERN,
    example="demo.hello-world.v3",
    check=ReleaseId.parse,
)


def wanted(text: str, caller: Caller, namespaces: Collection[str], role: Role = Role.READ) -> ReleaseId:
    """Return the release that an id names, if the caller may ask for it.

    Args:
        text: The id.
        caller: Who asks.
        namespaces: The only ones that the server shows and changes; all when there are none.
        role: What he needs.

    Raises:
        NameInvalid: It is no id.
        NotAllowed: It lies in a namespace that he, or the server, is not for.
    """
    found = ReleaseId.parse(text)
    require(found.namespace, caller, namespaces, role)
    return found


def require(namespace: str, caller: Caller, namespaces: Collection[str], role: Role = Role.READ) -> None:
    """Check that a caller has a role in a namespace, and that the server is for it. Raises: NotAllowed."""
    caller.require(role, namespace)
    if namespaces and namespace not in namespaces:
        raise NotAllowed(
            f"The server is not for the namespace {namespace}.", hint="`kubernaut serve --namespace` names those that it is for."
        )


def visible(caller: Caller, namespaces: Collection[str]) -> frozenset[str] | None:
    """Return the namespaces that a caller may see; ``None`` for all."""
    if not namespaces:
        return caller.namespaces
    return frozenset(namespaces) if caller.namespaces is None else caller.namespaces & frozenset(namespaces)
