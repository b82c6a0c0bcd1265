"""What may fail between a program and the REST door: the request itself, who sends it, and a server that is too busy."""

from __future__ import annotations

from kubernaut.errors.base import BadInput, Conflict, Forbidden, NotFound, Unreachable


class RequestMalformed(BadInput):
    """The request cannot be read: it is no JSON, or not all of it came."""

    code = "request_malformed"
    http_status = 400
    hint = "Send one JSON object in UTF-8, as `/openapi.json` describes it."


class RequestInvalid(BadInput):
    """The request can be read, and does not say what the call needs."""

    code = "request_invalid"
    hint = "`/openapi.json` describes each call: its parameters, its headers and its body."


class RequestTooLarge(BadInput):
    """The request's body or headers are larger than the server takes."""

    code = "request_too_large"
    http_status = 413
    hint = "A body may have 1 MiB; larger values belong into the chart."


class RequestTimeout(BadInput):
    """The request did not arrive in time."""

    code = "request_timeout"
    http_status = 408
    hint = "Send the whole request at once."


class MediaTypeUnsupported(BadInput):
    """The body is of a kind that the server does not read."""

    code = "media_type_unsupported"
    http_status = 415
    hint = "Send `Content-Type: application/json`."


class RouteNotFound(NotFound):
    """There is nothing at this address."""

    code = "route_not_found"
    hint = "`/openapi.json` lists the calls."


class MethodNotAllowed(BadInput):
    """The address is there, and is not for this method."""

    code = "method_not_allowed"
    http_status = 405
    hint = "The header Allow lists the methods; `/openapi.json` describes them."


class HostRefused(Forbidden):
    """The request is addressed to a name that is not this server's."""

    code = "host_refused"
    http_status = 421
    hint = "Use the address that the server printed, or start it with --allow-host NAME."


class Unauthorized(Forbidden):
    """The request carries no token, or one that is not known."""

    code = "unauthorized"
    http_status = 401
    hint = "Send the header Authorization with `Bearer TOKEN`; `kubernaut serve` prints where the token is."


class NotAllowed(Forbidden):
    """The token is known, and does not have this right."""

    code = "not_allowed"
    hint = "The server's tokens file gives each token its role and its namespaces."


class ChartRefused(Forbidden):
    """The chart lies outside the registries that the server deploys from."""

    code = "chart_refused"
    hint = "Publish it to the chart registry, or start the server with --allow-charts HOST/PREFIX."


class OperationNotFound(NotFound):
    """No such operation is kept."""

    code = "operation_not_found"
    hint = "An operation is kept as long as its release, or for 7 days."


class ReleaseChanged(Conflict):
    """The release is not any more what `If-Match` names."""

    code = "release_changed"
    http_status = 412
    hint = "Read the release again, and send its new ETag if it is still wanted."


class IdempotencyKeyReused(Conflict):
    """The Idempotency-Key belongs to another request."""

    code = "idempotency_key_reused"
    http_status = 422
    hint = "Use a new key for each request, and the same one to repeat it."


class ServerBusy(Unreachable):
    """The server does as much at once as it may."""

    code = "server_busy"
    hint = "Send the request again after the seconds that the header Retry-After says."


class ServerStopping(Unreachable):
    """The server is about to end; what runs may end, and nothing new is begun."""

    code = "server_stopping"
    hint = "Send the request again when the server is back."


class IndexStale(Unreachable):
    """The server does not know what is in the cluster at present."""

    code = "index_stale"
    hint = "The message says why; the server goes on trying."
