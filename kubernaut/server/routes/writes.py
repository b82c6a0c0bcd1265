"""The calls that write: create a release, delete the current one softly, go back to an older one. How, is ``writing``'s."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import ConfigDict, Field, GetJsonSchemaHandler, TypeAdapter, model_validator
from pydantic.config import JsonDict
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from kubernaut.ci import HEADER, HEADER_PATTERN
from kubernaut.errors import ReleaseNotCurrent
from kubernaut.history.records import GONE
from kubernaut.history.releases import Release, ReleaseId
from kubernaut.models import Model, Plan
from kubernaut.names import NAME_LENGTH, NAMESPACE_LENGTH
from kubernaut.server.auth.caller import Role
from kubernaut.server.auth.scope import ID
from kubernaut.server.http.routing import Answer, Header, Request, Response, Route
from kubernaut.server.operations.following import OperationStatus
from kubernaut.server.operations.writing import Handler, Write, carry_out

if TYPE_CHECKING:
    from kubernaut.api import Kubernaut
    from kubernaut.interface import Deployed, DeployOptions, OperationOptions
    from kubernaut.server.service import Service

_LABEL = r"^[a-z0-9](?:[-a-z0-9]*[a-z0-9])?$"
_CHART = r"^oci://[a-z0-9][a-z0-9.:_/-]*(?:@sha256:[0-9a-f]{64}|:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})$"
_LONGEST_NOTE = 1000
_MOST_SECONDS = 24 * 3600

Note = Annotated[str | None, Field(max_length=_LONGEST_NOTE, description="A line for the history.")]
Timeout = Annotated[
    float | None, Field(ge=1, le=_MOST_SECONDS, allow_inf_nan=False, description="Seconds that it may take, once it is its turn.")
]
LockTimeout = Annotated[
    float | None,
    Field(
        ge=0, le=_MOST_SECONDS, allow_inf_nan=False, description="Seconds to wait while somebody else is at work on the release."
    ),
]
DryRun = Annotated[bool, Field(description="Only say what would be done.")]


def _both(name: str, schema: JsonDict) -> JsonDict:
    """Return the schema of a body that names a chart and what cannot stand beside one."""
    return {"properties": {"chart": {"type": "string"}, name: schema}, "required": ["chart", name]}


class NewRelease(Model):
    """A release that is to be made: a published version by its name, or a chart by its reference."""

    model_config = ConfigDict(
        json_schema_extra={"not": {"anyOf": [_both("version", {"type": "string"}), _both("pre", {"const": True})]}}
    )

    name: str = Field(pattern=_LABEL, max_length=NAME_LENGTH, description="The application's name; the release is called the same.")
    namespace: str = Field(pattern=_LABEL, max_length=NAMESPACE_LENGTH, description="Where to.")
    version: str | None = Field(default=None, max_length=200, description="Which one; the newest stable by default.")
    pre: bool = Field(default=False, description="Without a version: the newest at all.")
    chart: str | None = Field(
        default=None,
        pattern=_CHART,
        max_length=512,
        description="Instead of a version: `oci://HOST/PATH:TAG` or `oci://HOST/PATH@sha256:DIGEST`.",
    )
    digest: str | None = Field(
        default=None,
        pattern=r"^sha256:[0-9a-f]{64}$",
        max_length=71,
        description="The digest that the chart must have; refused when the version is another by now.",
    )
    values: dict[str, Any] = Field(default={}, description="Values over those of the environment.")
    set: tuple[str, ...] = Field(default=(), description="`KEY=VALUE` in Helm's syntax; wins over `values`.")
    environment: str | None = Field(
        default=None,
        max_length=NAMESPACE_LENGTH,
        description="Whose packaged values are used; by default the one called like the namespace.",
    )
    reuse_values: bool = Field(default=False, description="Keep the current release's values under those given here.")
    create_namespace: bool = Field(default=False, description="Make the namespace when it does not exist.")
    on_failure: Literal["rollback", "keep"] | None = Field(default=None, description="What becomes of a release that fails.")
    note: Note = None
    timeout: Timeout = None
    lock_timeout: LockTimeout = None

    @model_validator(mode="after")
    def _one_chart(self) -> NewRelease:
        if self.chart is not None and (self.version is not None or self.pre):
            raise ValueError("a release is of a version or of a chart, not of both")
        return self


class Dry(Model):
    """The query of a write."""

    dry_run: DryRun = False


class How(Model):
    """How a release is gone back to."""

    note: Note = None
    timeout: Timeout = None
    lock_timeout: LockTimeout = None


class Deletion(How):
    """The query of a delete."""

    dry_run: DryRun = False


class ReleaseOrPlan(Model):
    """A release, where nothing had to be done; on a dry run the plan."""

    @classmethod
    def __get_pydantic_json_schema__(cls, _: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(TypeAdapter(Release | Plan).core_schema)


def routes(service: Service) -> tuple[Route, ...]:
    """Return the routes."""

    def create(request: Request) -> Response:
        return carry_out(_creation(request.body, request.query, service), request, service)

    def delete(request: Request) -> Response:
        return carry_out(_deletion(ReleaseId.parse(request.parameters["id"]), request.query), request, service)

    def rollback(request: Request) -> Response:
        named = ReleaseId.parse(request.parameters["id"])
        return carry_out(_going_back(named, request.body or How(), request.query), request, service)

    return (
        Route(
            method="POST",
            path="/api/releases",
            name="createRelease",
            summary="Puts a published version into a namespace.",
            handler=create,
            query=Dry,
            body=NewRelease,
            **_ALIKE,
        ),
        Route(
            method="DELETE",
            path="/api/releases/{id}",
            name="deleteRelease",
            summary="Deletes the current release softly: the workload goes, the record stays and can be restored.",
            handler=delete,
            parameters=(ID,),
            query=Deletion,
            **_ALIKE,
        ),
        Route(
            method="POST",
            path="/api/releases/{id}/rollback",
            name="rollBackRelease",
            summary="Makes a new release with that one's chart and values; `current` is the one before it, unless it is deleted.",
            handler=rollback,
            parameters=(ID,),
            query=Dry,
            body=How,
            body_required=False,
            **_ALIKE,
        ),
    )


def _creation(body: NewRelease, query: Dry, service: Service) -> Write:
    def decide(_: Kubernaut) -> tuple[str, Handler]:
        chart = None if body.chart is None else service.charts.check(body.chart)

        def deploy(kubernaut: Kubernaut, options: OperationOptions) -> Deployed:
            more: DeployOptions = {
                **options,
                "version": body.version,
                "pre": body.pre,
                "chart": chart,
                "digest": body.digest,
                "values": (body.values,),
                "set": body.set,
                "environment": body.environment,
                "create_namespace": body.create_namespace,
                "on_failure": body.on_failure,
                "reuse_values": body.reuse_values,
            }
            return kubernaut.deploy(body.name, namespace=body.namespace, **more)

        return "deploy", deploy

    about = ReleaseId(body.namespace, body.name)
    return Write(about, decide, create_namespace=body.create_namespace, dry_run=query.dry_run, **_how(body))


def _deletion(named: ReleaseId, query: Deletion) -> Write:
    def delete(kubernaut: Kubernaut, options: OperationOptions) -> Deployed:
        try:
            return kubernaut.delete(str(named), **options)
        except ReleaseNotCurrent as another:
            current = kubernaut.show(str(ReleaseId(named.namespace, named.name)))
            another.members.setdefault("current", current.id)
            raise

    return Write(named, lambda _: ("delete", delete), dry_run=query.dry_run, **_how(query))


def _going_back(named: ReleaseId, how: How, query: Dry) -> Write:
    def decide(kubernaut: Kubernaut) -> tuple[str, Handler]:
        release = kubernaut.show(str(named))
        if release.status in GONE and _is_current(release, kubernaut):
            return "restore", lambda kubernaut, options: kubernaut.restore(release.id, **options)
        return "rollback", lambda kubernaut, options: kubernaut.rollback(str(named), **options)

    return Write(named, decide, dry_run=query.dry_run, **_how(how))


def _is_current(release: Release, kubernaut: Kubernaut) -> bool:
    return kubernaut.show(str(ReleaseId(release.namespace, release.name))).id == release.id


def _how(model: NewRelease | How) -> dict[str, Any]:
    return {"note": model.note, "timeout": model.timeout, "lock_timeout": model.lock_timeout}


_LOCATION = {"Location": "The operation."}
_DONE = {
    **_LOCATION,
    "Content-Location": "The release.",
    "ETag": "The state of the release's record.",
    "Preference-Applied": "How long was waited at most.",
}
_ALIKE: dict[str, Any] = {
    "role": Role.DEPLOY,
    "answers": {
        200: Answer("Nothing had to be done; on a dry run the plan.", ReleaseOrPlan, _DONE),
        201: Answer("It is done.", Release, _DONE),
        202: Answer(
            "It is accepted, and not done yet.", OperationStatus, {**_LOCATION, "Preference-Applied": _DONE["Preference-Applied"]}
        ),
    },
    "problems": (404, 409, 412, 499, 503, 504),
    "headers": (
        Header("Prefer", "`wait=N` (at most 300) waits so many seconds for the end (RFC 7240)."),
        Header(
            "Idempotency-Key",
            "The same request with the same key is carried out once.",
            pattern=r'[\x21-\x7e]{1,255}|"[\x21-\x7e]{1,255}"',
        ),
        Header(
            HEADER,
            "The CI build that asks, as a query string of `url`, `job`, `number`, `tag` and `change`. It is recorded, and decides "
            "nothing: the same request of another build is the same.",
            pattern=HEADER_PATTERN,
        ),
        Header(
            "If-Match",
            "The ETag that the release must have; refused with 412 when it is another by now.",
            pattern=r'\*|(W/)?"[^"]*"([ \t]*,[ \t]*(W/)?"[^"]*")*',
        ),
    ),
}
