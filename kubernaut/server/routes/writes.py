"""The routes that write: create a release, soft-delete the current one, roll back or restore. ``execution.py`` executes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import ConfigDict, Field, GetJsonSchemaHandler, TypeAdapter, model_validator
from pydantic.config import JsonDict
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from kubernaut.ci import HEADER, HEADER_PATTERN
from kubernaut.errors import ReleaseNotCurrent
from kubernaut.history.detail import Preview
from kubernaut.history.records import GONE
from kubernaut.history.releases import Release, ReleaseId
from kubernaut.models import NAME_LENGTH, NAMESPACE_LENGTH, Model
from kubernaut.server.auth.access import Role
from kubernaut.server.operations.execution import MAX_WAIT_SECONDS, Decision, WriteRequest, execute
from kubernaut.server.operations.progress import OperationStatus
from kubernaut.server.routes.releases import ID, NAME_PATTERN
from kubernaut.server.routing import Header, Request, Response, ResponseSpec, Route

if TYPE_CHECKING:
    from kubernaut.api import Kubernaut
    from kubernaut.interface import Deployed, DeployOptions, OperationOptions
    from kubernaut.server.routing import ServerContext

_LABEL = r"^[a-z0-9](?:[-a-z0-9]*[a-z0-9])?$"
_CHART = r"^oci://[a-z0-9][a-z0-9.:_/-]*(?::[A-Za-z0-9_][A-Za-z0-9._+-]{0,127})?(?:@sha256:[0-9a-f]{64})?$"
_MAX_NOTE = 1000
_MAX_SECONDS = 24 * 3600

Note = Annotated[str | None, Field(max_length=_MAX_NOTE, description="A note for the history.")]
Timeout = Annotated[
    float | None,
    Field(ge=1, le=_MAX_SECONDS, allow_inf_nan=False, description="Seconds that the operation may take, once it runs."),
]
LockTimeout = Annotated[
    float | None,
    Field(ge=0, le=_MAX_SECONDS, allow_inf_nan=False, description="Seconds to wait for other operations on the release."),
]
NoHooks = Annotated[
    bool, Field(description="Leave out the chart's hooks, also those of an unfinished delete that has to be finished first.")
]
OnConflict = Annotated[
    Literal["fail", "take"] | None,
    Field(description="What happens to fields that others have changed and that Helm 4 refuses: `fail`, or `take` them over."),
]
TakeOwnership = Annotated[bool, Field(description="Adopt objects that exist and do not belong to the release.")]
DryRun = Annotated[bool, Field(description="Only return the plan.")]


def _both(name: str, schema: JsonDict) -> JsonDict:
    """Return the schema of a body with a chart and a property that cannot be combined with it."""
    return {"properties": {"chart": {"type": "string"}, name: schema}, "required": ["chart", name]}


class NewRelease(Model):
    """A release to create: from a published version of an application, or from a chart reference."""

    model_config = ConfigDict(
        json_schema_extra={
            "not": {
                "anyOf": [*(_both(name, {"type": "string"}) for name in ("version", "application")), _both("pre", {"const": True})]
            }
        }
    )

    name: str = Field(
        pattern=f"^{NAME_PATTERN}$",
        max_length=NAME_LENGTH,
        description="The name of the release, and of the application unless that is named; a new one has no dots.",
    )
    namespace: str = Field(pattern=_LABEL, max_length=NAMESPACE_LENGTH, description="The namespace to deploy to.")
    application: str | None = Field(
        default=None, pattern=_LABEL, max_length=NAME_LENGTH, description="The application, where the release has another name."
    )
    version: str | None = Field(default=None, max_length=200, description="The version; the newest stable one by default.")
    pre: bool = Field(default=False, description="Without a version: allow pre-releases.")
    chart: str | None = Field(
        default=None,
        max_length=512,
        description="Instead of a version: `oci://HOST/PATH[:VERSION][@sha256:DIGEST]`; by default the newest stable version.",
        json_schema_extra={"pattern": _CHART},
    )
    digest: str | None = Field(
        default=None,
        pattern=r"^sha256:[0-9a-f]{64}$",
        max_length=71,
        description="The digest that the chart must have; the request is refused if it differs.",
    )
    values: dict[str, Any] = Field(default={}, description="Values that override those of the environment.")
    set: tuple[str, ...] = Field(default=(), description="`KEY=VALUE` in Helm's syntax; overrides `values` and `setJson`.")
    set_string: tuple[str, ...] = Field(default=(), description="`KEY=VALUE` with texts as values; overrides `set`.")
    set_json: tuple[str, ...] = Field(default=(), description="`KEY=JSON`, or a JSON object; overrides `values`.")
    environment: str | None = Field(
        default=None,
        max_length=NAMESPACE_LENGTH,
        description="The environment whose packaged values are used; by default the one named like the namespace.",
    )
    reuse_values: bool = Field(
        default=False, description="Keep the current release's values where this request does not override them."
    )
    create_namespace: bool = Field(default=False, description="Create the namespace if it does not exist.")
    skip_crds: bool = Field(default=False, description="Do not install the chart's `crds/` with the first release.")
    on_failure: Literal["rollback", "keep"] | None = Field(default=None, description="What happens to a release that fails.")
    on_conflict: OnConflict = None
    take_ownership: TakeOwnership = False
    always: bool = Field(default=False, description="Apply the release even if nothing has changed.")
    note: Note = None
    timeout: Timeout = None
    lock_timeout: LockTimeout = None
    no_hooks: NoHooks = False

    @model_validator(mode="after")
    def _one_chart(self) -> NewRelease:
        if self.chart is not None and (self.version is not None or self.pre or self.application is not None):
            raise ValueError("application, version and pre cannot be combined with chart")
        return self


class DryRunQuery(Model):
    """The query of a write."""

    dry_run: DryRun = False


class _WriteOptions(Model):
    """The options of every write to a release."""

    note: Note = None
    timeout: Timeout = None
    lock_timeout: LockTimeout = None
    no_hooks: NoHooks = False


class RollbackOptions(_WriteOptions):
    """The options of a rollback or a restore."""

    on_conflict: OnConflict = None
    take_ownership: TakeOwnership = False


class DeleteQuery(_WriteOptions):
    """The query of a delete."""

    dry_run: DryRun = False


class ReleaseOrPlan(Model):
    """The unchanged release; on a dry run the plan."""

    @classmethod
    def __get_pydantic_json_schema__(cls, _: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(TypeAdapter(Release | Preview).core_schema)


def routes(context: ServerContext) -> tuple[Route, ...]:
    """Return the routes."""

    def create(request: Request) -> Response:
        return execute(_creation(request.body, request.query, context), request, context)

    def delete(request: Request) -> Response:
        return execute(_deletion(ReleaseId.parse(request.parameters["id"]), request.query), request, context)

    def rollback(request: Request) -> Response:
        release = ReleaseId.parse(request.parameters["id"])
        return execute(_rollback(release, request.body or RollbackOptions(), request.query), request, context)

    return (
        Route(
            method="POST",
            path="/api/releases",
            name="createRelease",
            summary="Deploys a published version to a namespace.",
            handler=create,
            query=DryRunQuery,
            body=NewRelease,
            **_SHARED,
        ),
        Route(
            method="DELETE",
            path="/api/releases/{id}",
            name="deleteRelease",
            summary="Soft-deletes the current release: the workload is removed, the record stays and can be restored.",
            handler=delete,
            parameters=(ID,),
            query=DeleteQuery,
            **_SHARED,
        ),
        Route(
            method="POST",
            path="/api/releases/{id}/rollback",
            name="rollBackRelease",
            summary="Creates a release with that one's chart and values; `current` is the one before, or restores a deleted one.",
            handler=rollback,
            parameters=(ID,),
            query=DryRunQuery,
            body=RollbackOptions,
            body_required=False,
            **_SHARED,
        ),
    )


def _creation(body: NewRelease, query: DryRunQuery, context: ServerContext) -> WriteRequest:
    def decide(_: Kubernaut) -> Decision:
        chart = None if body.chart is None else context.chart_policy.check(body.chart)

        def deploy(kubernaut: Kubernaut, options: OperationOptions) -> Deployed:
            more: DeployOptions = {
                **options,
                "application": body.application,
                "version": body.version,
                "pre": body.pre,
                "chart": chart,
                "digest": body.digest,
                "values": (body.values,),
                "set": body.set,
                "set_string": body.set_string,
                "set_json": body.set_json,
                "set_file": (),
                "set_literal": (),
                "environment": body.environment,
                "create_namespace": body.create_namespace,
                "skip_crds": body.skip_crds,
                "on_failure": body.on_failure,
                "on_conflict": body.on_conflict,
                "take_ownership": body.take_ownership,
                "always": body.always,
                "reuse_values": body.reuse_values,
            }
            return kubernaut.deploy(body.name, namespace=body.namespace, **more)

        return Decision("deploy", deploy)

    release = ReleaseId(body.namespace, body.name)
    return WriteRequest(release, decide, _options(body), create_namespace=body.create_namespace, dry_run=query.dry_run)


def _deletion(release: ReleaseId, query: DeleteQuery) -> WriteRequest:
    def delete(kubernaut: Kubernaut, options: OperationOptions) -> Deployed:
        try:
            return kubernaut.delete(str(release), **options)
        except ReleaseNotCurrent as error:
            current = _find(kubernaut, ReleaseId(release.namespace, release.name))
            error.members.setdefault("current", current.id)
            raise

    return WriteRequest(release, lambda _: Decision("delete", delete), _options(query), dry_run=query.dry_run)


def _rollback(release: ReleaseId, body: RollbackOptions, query: DryRunQuery) -> WriteRequest:
    how: dict[str, Any] = {"on_conflict": body.on_conflict, "take_ownership": body.take_ownership}

    def decide(kubernaut: Kubernaut) -> Decision:
        target = _find(kubernaut, release)
        if target.status in GONE and target.id == _find(kubernaut, ReleaseId(target.namespace, target.name)).id:
            return Decision("restore", lambda kubernaut, options: kubernaut.restore(target.id, **how, **options))
        return Decision("rollback", lambda kubernaut, options: kubernaut.rollback(str(release), **how, **options))

    return WriteRequest(release, decide, _options(body), dry_run=query.dry_run)


def _find(kubernaut: Kubernaut, release: ReleaseId) -> Release:
    """Return a release as its record has it, without its health."""
    return kubernaut.context.clients.history.release(release)


def _options(model: NewRelease | _WriteOptions) -> OperationOptions:
    return {"note": model.note, "timeout": model.timeout, "lock_timeout": model.lock_timeout, "no_hooks": model.no_hooks}


_LOCATION = {"Location": "The operation."}
_APPLIED = {"Preference-Applied": "The applied wait."}
_RESULT = {**_LOCATION, "Content-Location": "The release.", "ETag": "The version of the release's record.", **_APPLIED}
_SHARED: dict[str, Any] = {
    "role": Role.DEPLOY,
    "responses": {
        200: ResponseSpec("Nothing had to change; on a dry run the plan.", ReleaseOrPlan, _RESULT),
        201: ResponseSpec("The operation succeeded.", Release, _RESULT),
        202: ResponseSpec("The operation is accepted and not finished yet.", OperationStatus, {**_LOCATION, **_APPLIED}),
    },
    "problems": (404, 409, 412, 499, 503, 504),
    "headers": (
        Header("Prefer", f"`wait=N` waits N seconds (at most {MAX_WAIT_SECONDS}) for the operation to finish (RFC 7240)."),
        Header(
            "Idempotency-Key",
            "Requests with the same content and key are executed once.",
            pattern=r'[\x21-\x7e]{1,255}|"[\x21-\x7e]{1,255}"',
        ),
        Header(
            HEADER,
            "The client's CI build, as a query string of `url`, `job`, `number`, `tag` and `change`. It is only recorded: requests "
            "that differ in nothing else are the same.",
            pattern=HEADER_PATTERN,
        ),
        Header(
            "If-Match",
            "The ETag that the release must have; 412 if it differs.",
            pattern=r'\*|(W/)?"[^"]*"([ \t]*,[ \t]*(W/)?"[^"]*")*',
        ),
    ),
}
