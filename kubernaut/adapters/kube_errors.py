"""From what the API server answers to the error that it is. Pure: it is given status and text, and knows no HTTP client."""

from __future__ import annotations

import json

from kubernaut.errors import BadInput, ClusterDenied, ClusterUnreachable, Conflict, KubernautError, NamespaceNotFound, NotFound

_LONGEST_MESSAGE = 500


def message_of(body: str) -> str:
    """Return the message of Kubernetes' ``Status``; of anything else, such as a proxy's page, the beginning."""
    try:
        status = json.loads(body)
    except (ValueError, RecursionError):
        return body[:_LONGEST_MESSAGE]
    return str((status.get("message") if isinstance(status, dict) else None) or body[:_LONGEST_MESSAGE])


def refusal(cluster: str, status: int, message: str) -> KubernautError:
    """Return the error for an answer that is a failure.

    Args:
        cluster: The cluster's name, as a sentence begins with it.
        status: The HTTP status.
        message: The API server's own words.
    """
    if status == 401:
        return ClusterDenied(
            f"{cluster} does not accept the credentials; they may have expired.", hint="Log in to the cluster again."
        )
    if status == 403 and "being terminated" in message:
        return Conflict(f"{message}.", hint="The namespace is being deleted: wait until it is gone.")
    if status == 403:
        return ClusterDenied(f"{cluster} refuses: {message}.")
    if status == 404 and message.startswith("namespaces "):
        return NamespaceNotFound(f"{message}.")
    if status == 404 or (status == 409 and _was_gone(message)):
        return NotFound(f"{cluster} says: {message}.")
    if status == 409:
        return Conflict(f"{message}.")
    if status in (400, 413, 422):
        return BadInput(f"{cluster} refuses: {message}.")
    return ClusterUnreachable(f"{cluster} answers {status}: {message}.")


def _was_gone(message: str) -> bool:
    """Say whether a PUT met nothing: where a PUT may create, the server then compares the wanted uid with an empty one."""
    return message.rstrip().endswith("UID in object meta:")
