"""The commands that change a release: ``deploy``, ``rollback``, ``delete``, ``restore`` and ``unlock``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from kubernaut.cli import render, session
from kubernaut.cli.command import ROLLBACK_STATUSES, WRITE_STATUSES, Command
from kubernaut.cli.options import (
    cluster_options,
    current_revision_option,
    deploy_options,
    dry_run_option,
    note_option,
    on_conflict_option,
    operation_options,
    output_options,
    registry_option,
    release_name_option,
    release_options,
    take_ownership_option,
    target_namespace_option,
    to_option,
    yes_option,
)
from kubernaut.cli.output import OutputFile
from kubernaut.errors import NameInvalid, Usage

_CONFIRM_DELETE = session.Confirmation(
    verb="delete",
    question="Delete this release? Its history is kept; `kubernaut restore {release}` brings it back.",
    declined="Nothing was deleted.",
)
_CONFIRM_UNLOCK = session.Confirmation(
    verb="unlock",
    question="Unlock this release? Answer y only if the process that holds it has ended. The history is kept.",
    declined="Nothing was unlocked.",
)


@click.command(
    cls=Command,
    examples=[
        (
            "kubernaut deploy hello-world@1.4.2 -n production --note 'new greeting'",
            "deploy version 1.4.2; without @VERSION the newest stable version",
        ),
        ("kubernaut deploy --from release.json -n demo --to deployed.json", "deploy the version that `publish --to` has written"),
        (
            "kubernaut deploy web -n demo --chart oci://registry.example.com/charts/web:2.1.0 --dry-run",
            "print the plan for any chart",
        ),
    ],
    statuses=WRITE_STATUSES,
    helm=("install", "upgrade"),
)
@click.argument("application", metavar="[NAME[@VERSION]]", required=False)
@target_namespace_option
@release_name_option
@click.option(
    "--chart",
    metavar="REF",
    help="Deploy a chart as the release NAME, instead of a published version: oci://HOST/PATH[:VERSION][@DIGEST], "
    "https://REPOSITORY/CHART[@VERSION], a folder with Chart.yaml, or a .tgz file.",
)
@click.option(
    "--from",
    "handover",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Deploy the version in a file written by `publish --to`, instead of NAME@VERSION.",
)
@click.option("--pre", is_flag=True, help="Without a VERSION, deploy the newest version, including pre-releases.")
@deploy_options
@registry_option
@cluster_options
@to_option
@output_options
def deploy(application: str | None, handover: Path | None, name: str | None, output: str, to: Path | None, **options: Any) -> None:
    """Deploy a published version, or a chart, to a namespace.

    Waits until all pods are ready. Deploying a version that already runs with the same values changes nothing. If the release does
    not become ready, the cause is reported, and the release is rolled back (exit status 6) or kept (7).

    The release has the name of the application unless --name gives another. With --chart, NAME is the release's name.
    """
    output_file = OutputFile(to, dry_run=options["dry_run"])
    release, what = _choose_target(application, handover, name, chart=options["chart"], pre=options["pre"])
    with session.backend_with_progress(options) as kubernaut:
        outcome = kubernaut.deploy(release, **what, **options)
    output_file.write(outcome.release)
    render.show_deployed(outcome, output, dry_run=options["dry_run"])


def _choose_target(
    application: str | None, handover: Path | None, name: str | None, *, chart: str | None, pre: bool
) -> tuple[str, dict[str, Any]]:
    """Return the name of the release and the options that say what is deployed. Raises: click.UsageError, BadInput."""
    if chart is not None:
        return _named_chart(application, handover, name, pre=pre), {"version": None, "digest": None}
    chosen = _parse_application(application) if handover is None else _read_handover(handover, application, pre=pre)
    found, version, digest = chosen
    more = {} if name in (None, found) else {"application": found}
    return name or found, {"version": version, "digest": digest, **more}


def _named_chart(application: str | None, handover: Path | None, name: str | None, *, pre: bool) -> str:
    """Return the name of the release of a chart, from the argument or --name. Raises: click.UsageError, Usage."""
    context = click.get_current_context()
    if handover is not None:
        raise click.UsageError("--chart cannot be combined with --from.", context)
    if pre:
        raise Usage(
            "--chart cannot be combined with --pre: without a version it is the newest stable version.",
            hint="Name the pre-release in the reference, such as oci://HOST/PATH:1.5.0-rc.1 or https://HOST/PATH/CHART@1.5.0-rc.1.",
        )
    if "@" in (application or ""):
        raise _version_beside_chart(application or "", context.params["chart"])
    if application is not None and name is not None:
        raise click.UsageError("With --chart the argument NAME is the release's name: leave --name out.", context)
    release = application or name
    if release is None:
        raise click.UsageError("Missing argument NAME: the name of the release.", context)
    return release


def _version_beside_chart(application: str, chart: str) -> Usage:
    """Return the error about ``NAME@VERSION`` with ``--chart``, with the version in the reference where it has one."""
    from kubernaut.publish.chart_reference import with_version

    name, _, version = application.partition("@")
    reference = with_version(chart, version) or (chart if Path(chart).exists() else "oci://HOST/PATH:VERSION")
    return Usage(
        "With --chart the version belongs into the reference, and a folder or a package has its own.",
        hint=f"Run `kubernaut deploy {shlex.quote(name)} --chart {shlex.quote(reference)} -n NAMESPACE`.",
    )


def _chart_as_name(text: str) -> NameInvalid:
    """Return the error about a chart in the place of the release's name."""
    from kubernaut.publish.chart_reference import chart_name

    name = chart_name(text)
    shown = f"{name} --chart {shlex.quote(text)}" if name else "NAME --chart REF"
    return NameInvalid(
        "The first argument is the name of a release, and not a chart.",
        hint=f"Name the chart with --chart: `kubernaut deploy {shown} -n NAMESPACE`.",
    )


def _parse_application(application: str | None) -> tuple[str, str | None, str | None]:
    """Return the name and the version, if any, of ``NAME@VERSION``. Raises: click.UsageError, NameInvalid."""
    if application is None:
        raise click.UsageError("Missing argument NAME[@VERSION], or option --from FILE.", click.get_current_context())
    if "/" in application:
        raise _chart_as_name(application)
    name, at, version = application.partition("@")
    if not name or (at and not version):
        raise click.BadParameter(f"{application!r} is not NAME or NAME@VERSION.", param_hint="NAME[@VERSION]")
    return name, version or None, None


def _read_handover(path: Path, application: str | None, *, pre: bool) -> tuple[str, str | None, str | None]:
    """Return the name, the version and the chart digest in a file. Raises: click.UsageError, BadInput."""
    if application is not None or pre:
        raise click.UsageError(f"--from {path} cannot be combined with {application or '--pre'}.", click.get_current_context())
    from kubernaut.publish.version import read_version_file  # imports the libraries of the registry

    found = read_version_file(path)
    return found.name, found.version, found.chart.digest


@click.command(
    cls=Command,
    examples=[
        ("kubernaut rollback hello-world -n demo", "roll back to the newest earlier release that worked"),
        ("kubernaut rollback hello-world -n demo --revision 3 --note 'greeting was wrong'", "roll back to revision 3"),
        ("kubernaut rollback hello-world -n demo --dry-run", "print what would be changed"),
    ],
    statuses=ROLLBACK_STATUSES,
    helm=("rollback",),
)
@release_options
@click.option(
    "--revision",
    metavar="N",
    type=click.IntRange(min=1),
    help="Revision to roll back to (default: the newest earlier one that worked).",
)
@on_conflict_option
@take_ownership_option
@operation_options
@cluster_options
@to_option
@output_options
def rollback(release: str, output: str, to: Path | None, **options: Any) -> None:
    """Roll a release back to an earlier revision.

    Makes a new release with the chart and values of the earlier one: a rollback from revision 4 to 3 makes revision 5. An operation
    that another process left unfinished is completed first.
    """
    output_file = OutputFile(to, dry_run=options["dry_run"])
    with session.backend_with_progress(options) as kubernaut:
        outcome = kubernaut.rollback(release, **options)
    output_file.write(outcome.release)
    render.show_deployed(outcome, output, dry_run=options["dry_run"])


@click.command(
    cls=Command,
    examples=[
        ("kubernaut delete hello-world -n demo", "show what will be removed, ask, and delete"),
        ("kubernaut delete hello-world -n demo --yes", "delete without asking, in scripts"),
        ("kubernaut restore hello-world -n demo", "undo the delete"),
    ],
    statuses=ROLLBACK_STATUSES,
    helm=("uninstall",),
)
@release_options
@current_revision_option
@yes_option
@operation_options
@cluster_options
@output_options
def delete(release: str, output: str, yes: bool, **options: Any) -> None:
    """Delete a release; its history is kept for restore.

    The objects of the release are removed from the cluster, and the release history stays, as with helm uninstall --keep-history.
    Only the current release of a name can be deleted. Deleting it again changes nothing.
    """
    outcome = session.run_confirmed(_CONFIRM_DELETE, release, options, yes=yes)
    render.show_deployed(outcome, output, dry_run=options["dry_run"])


@click.command(
    cls=Command,
    examples=[
        ("kubernaut restore hello-world -n demo", "undo the delete"),
        ("kubernaut list -n demo --all", "find deleted releases: their STATUS is uninstalled"),
    ],
    statuses=ROLLBACK_STATUSES,
    helm=("rollback",),
)
@release_options
@current_revision_option
@on_conflict_option
@take_ownership_option
@operation_options
@cluster_options
@output_options
def restore(release: str, output: str, **options: Any) -> None:
    """Restore a deleted release.

    Makes a new release with the same chart and values. Restoring a release that is not deleted changes nothing.
    """
    with session.backend_with_progress(options) as kubernaut:
        outcome = kubernaut.restore(release, **options)
    render.show_deployed(outcome, output, dry_run=options["dry_run"])


@click.command(
    cls=Command,
    examples=[
        ("kubernaut unlock hello-world -n demo --dry-run", "show the holder, and what would be changed"),
        ("kubernaut unlock hello-world -n demo", "show that, ask, and unlock"),
        ("kubernaut unlock hello-world -n demo --yes --note 'the build agent is gone'", "unlock without asking"),
    ],
    statuses=(0, 2, 3, 4, 5, 8, 9),
)
@release_options
@yes_option
@note_option
@dry_run_option
@cluster_options
@output_options
def unlock(release: str, output: str, yes: bool, **options: Any) -> None:
    """Unlock a release that a dead process holds.

    Use it only if the process that holds the release is dead; deploy, rollback, delete and restore detect most of these cases
    themselves.

    Takes the lock from any holder, marks an unfinished revision as failed, so that no Helm process can still complete it, and
    records the end of unfinished operations. The workload and the history are not changed.
    """
    outcome = session.run_confirmed(_CONFIRM_UNLOCK, release, options, yes=yes)
    render.show_unlocked(outcome, output, dry_run=options["dry_run"])
