"""Errors of the REST API: the request, its sender, and the server's state."""

from __future__ import annotations

from kubernaut.errors.base import BadInput, Conflict, Forbidden, NotFound, Unreachable


class RequestMalformed(BadInput):
    """The request is not valid HTTP or JSON, or is incomplete."""

    code = "request_malformed"
    http_status = 400
    hint = "Send one JSON object in UTF-8, as `/openapi.json` describes it."


class RequestInvalid(BadInput):
    """The request's parameters, headers or body do not fit the call."""

    code = "request_invalid"
    hint = "`/openapi.json` describes each call: its parameters, its headers and its body."


class RequestTooLarge(BadInput):
    """The request's body or headers are larger than the server accepts."""

    code = "request_too_large"
    http_status = 413
    hint = "A body may have 1 MiB; put larger values into the chart."


class RequestTimeout(BadInput):
    """The request did not arrive in time."""

    code = "request_timeout"
    http_status = 408
    hint = "Send the whole request at once."


class MediaTypeUnsupported(BadInput):
    """The body's media type is not supported."""

    code = "media_type_unsupported"
    http_status = 415
    hint = "Send `Content-Type: application/json`."


class RouteNotFound(NotFound):
    """The path does not exist."""

    code = "route_not_found"
    hint = "`/openapi.json` lists the calls."


class MethodNotAllowed(BadInput):
    """The path does not support the method."""

    code = "method_not_allowed"
    http_status = 405
    hint = "The header Allow lists the methods; `/openapi.json` describes them."


class HostRefused(Forbidden):
    """The request's Host header does not name this server."""

    code = "host_refused"
    http_status = 421
    hint = "Use the address that the server printed, or start it with `kubernaut serve --allow-host HOST`."
    http_hint = "Use the server's own address; its administrator can allow further host names."


class Unauthorized(Forbidden):
    """The request has no token, or an unknown one."""

    code = "unauthorized"
    http_status = 401
    hint = "Set `token_file` to a file with a token of the server (KUBERNAUT_TOKEN_FILE); the server prints where its token is."
    http_hint = "Send the header Authorization with `Bearer TOKEN`; the server prints at its start where the token is."


class NotAllowed(Forbidden):
    """The token lacks the right."""

    code = "not_allowed"
    hint = "The server's tokens file gives each token its role and its namespaces."


class ChartRefused(Forbidden):
    """The chart is not in a registry that the server deploys from."""

    code = "chart_refused"
    hint = "Publish it to the chart registry, or start the server with `kubernaut serve --allow-charts HOST/PREFIX`."
    http_hint = "Publish it to the chart registry; the server's administrator can allow further registries."


class OperationNotFound(NotFound):
    """The operation does not exist, or is no longer kept."""

    code = "operation_not_found"
    hint = "An operation is kept as long as its release, or for 7 days."


class ReleaseChanged(Conflict):
    """The release no longer matches the `If-Match` header."""

    code = "release_changed"
    http_status = 412
    hint = "Read the release again, and repeat the change for its new state if still needed."
    http_hint = "Read the release again, and send its new ETag if the change is still needed."


class IdempotencyKeyReused(Conflict):
    """The Idempotency-Key was used for another request."""

    code = "idempotency_key_reused"
    http_status = 422
    hint = "Use a new key for each request, and the same key to repeat one."


class ServerBusy(Unreachable):
    """The server has no capacity for the request."""

    code = "server_busy"
    hint = "Run the same command again in some seconds."
    http_hint = "Send the request again after the seconds in the header Retry-After."


class ServerStopping(Unreachable):
    """The server is shutting down: running work finishes, new work is refused."""

    code = "server_stopping"
    hint = "Run the same command again when the server is back."
    http_hint = "Send the request again when the server is back."


class IndexStale(Unreachable):
    """The server's view of the cluster is out of date."""

    code = "index_stale"
    hint = "The server keeps trying; the message has the reason."
