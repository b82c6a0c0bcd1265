"""Releases, versions and plans, as text or as the API's JSON."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kubernaut.cli.output import on_terminal, print_json, put, say
from kubernaut.cli.table import exactly, put_pairs, put_table, when

if TYPE_CHECKING:
    from kubernaut.history.operations import Operation
    from kubernaut.history.releases import Release, ReleaseList
    from kubernaut.interface import Built, Deployed, Published
    from kubernaut.models import Plan
    from kubernaut.publish.published import PublishedVersion

NONE = "-"
SHORT_COMMIT = 7
SHORT_DIGEST = len("sha256:") + 12


def show_plan(plan: Plan, output: str) -> None:
    """Show what would be done: numbered lines, or why there is nothing to do."""
    if output == "json":
        print_json(plan)
        return
    for number, action in enumerate(plan.actions, start=1):
        put(f"{number}. {action.kind} {action.subject}: {action.reason}")
        for removed in action.objects:
            put(f"   - {removed}")
    if not plan.actions:
        put(f"nothing to do: {plan.reason}" if plan.reason else "nothing to do")
    elif plan.reason:
        say(plan.reason)


def show_built(outcome: Built, output: str) -> None:
    """Show what ``build`` did."""
    image = outcome.image
    if image is None:
        show_plan(outcome.plan, output)
    elif output == "json":
        print_json(image)
    else:
        put(f"{image.ref} {image.id}")
        say("next: kubernaut publish APP_DIR")


def show_published(outcome: Published, output: str, *, dry_run: bool) -> None:
    """Show what ``publish`` did."""
    version = outcome.version
    if dry_run or version is None:
        show_plan(outcome.plan, output)
    elif output == "json":
        print_json(version)
    else:
        put(f"{version.name} {version.version} {'published' if outcome.changed else 'is published already'}")
        put_pairs(
            [
                ("image", _pinned(version.image.ref, version.image.digest)),
                ("chart", _pinned(version.chart.ref, version.chart.digest)),
            ]
        )
        say(f"next: kubernaut deploy {version.name}@{version.version} -n NAMESPACE")


def show_deployed(outcome: Deployed, output: str, *, dry_run: bool) -> None:
    """Show what a verb did to a release, and what may be done next."""
    release = outcome.release
    if dry_run or release is None:
        show_plan(outcome.plan, output)
        return
    if output == "json":
        print_json(release)
        return
    already = "" if outcome.changed else " already"
    if release.deleted_at is not None:
        put(f"{_title(release)} is deleted{already}: {release.id} can be restored")
    else:
        put(f"{_title(release)} runs{already} in {release.namespace} as {release.id}")
    for line in _next(release):
        say(line)


def _title(release: Release) -> str:
    commit = f" ({_commit(release.source.commit)})" if release.source.commit else ""
    return f"{release.name} {_version(release)}{commit}"


def _next(release: Release) -> Sequence[str]:
    where = f"{release.name} -n {release.namespace}"
    if release.deleted_at is not None:
        return (f"next: kubernaut restore {where}", f"      kubernaut history {where}")
    back = (f"      kubernaut rollback {where}",) if release.revision > 1 else ()
    return (f"next: kubernaut history {where}", f"      kubernaut logs {where}", *back)


def show_releases(releases: ReleaseList, output: str, *, nothing: str) -> None:
    """Show releases as a table; ``nothing`` is what to say when there are none."""
    if output == "json":
        print_json(releases)
        return
    if not releases.items:
        say(nothing)
        return
    header = ("NAME", "NAMESPACE", "REV", "STATUS", "VERSION", "COMMIT", "BY", "UPDATED")
    put_table(
        header,
        [
            (
                release.name,
                release.namespace,
                str(release.revision),
                release.status,
                _version(release),
                _commit(release.source.commit),
                release.created_by or release.managed_by,
                when(release.created_at or release.updated_at),
            )
            for release in releases.items
        ],
        spare="COMMIT",
    )
    _say_rest(releases)


def show_history(releases: ReleaseList, output: str) -> None:
    """Show all releases of a name, newest first: what ``helm history`` shows, and who and which commit; then what made none."""
    from kubernaut.history.releases import ReleaseHistoryList

    if output == "json":
        print_json(releases)
        return
    if releases.items:
        _put_history(releases)
    else:
        say("There is no release.")
    _say_rest(releases)
    if isinstance(releases, ReleaseHistoryList):
        _put_attempts(releases.attempts)


def _put_history(releases: ReleaseList) -> None:
    compact = on_terminal(sys.stdout)
    header = ("REV", "UPDATED", "STATUS", *(("VERSION",) if compact else ("CHART", "APP VERSION")), "COMMIT", "BY", "DESCRIPTION")
    put_table(
        header,
        [
            (
                str(release.revision),
                when(release.created_at or release.updated_at),
                release.status,
                *((_version(release),) if compact else (_chart(release), release.app_version or NONE)),
                _commit(release.source.commit),
                release.created_by or release.managed_by,
                release.description or "",
            )
            for release in releases.items
        ],
        spare="COMMIT",
        note=True,
    )


def _put_attempts(attempts: Sequence[Operation]) -> None:
    if attempts:
        put("\nattempts that made no release:")
    for attempt in attempts:
        version = f" {attempt.chart.version}" if attempt.chart and attempt.chart.version else ""
        put(f"  {when(attempt.started_at)} {attempt.verb}{version} by {attempt.actor or 'unknown'}: {_end(attempt)}")


def _end(attempt: Operation) -> str:
    """Say what came of an attempt, on one line."""
    if attempt.unread:
        return f"unread: {attempt.unread}"
    if attempt.outcome is None:
        return f"unfinished since {exactly(attempt.started_at)}"
    return " ".join(f"{attempt.outcome.reason}: {attempt.outcome.message}".removesuffix(": ").split())


def _say_rest(releases: ReleaseList) -> None:
    if releases.count > len(releases.items):
        say(f"{len(releases.items)} of {releases.count} are shown.")


def show_release(release: Release, output: str) -> None:
    """Show everything that is known of one release."""
    if output == "json":
        print_json(release)
        return
    flags = [word for word, true in (("active", release.active), ("serving", release.serving == release.revision)) if true]
    put_pairs(
        [
            ("id", release.id),
            ("status", release.status + (f" ({', '.join(flags)})" if flags else "")),
            ("serving", f"revision {release.serving}" if release.serving and release.serving != release.revision else ""),
            ("version", _version(release)),
            ("chart", _pinned(release.chart.ref or _chart(release), release.chart.digest)),
            *(("image", _pinned(image.ref, image.digest)) for image in release.images),
            ("commit", release.source.commit or ""),
            ("repository", release.source.repository or ""),
            ("build", release.build.label),
            ("by", release.created_by or ""),
            ("note", release.note or ""),
            ("managed by", release.managed_by),
            ("created", exactly(release.created_at) if release.created_at else ""),
            ("updated", exactly(release.updated_at) if release.updated_at else ""),
            ("deleted", exactly(release.deleted_at) if release.deleted_at else ""),
            ("description", release.description or ""),
            ("outcome", _outcome(release)),
            ("operation", release.operation or ""),
        ]
    )


def _outcome(release: Release) -> str:
    outcome = release.outcome
    if outcome is not None:
        return f"{outcome.reason}: {outcome.message}".removesuffix(": ")
    if release.operation is None:
        return ""
    return f"unfinished since {exactly(release.created_at)}" if release.created_at else "unfinished"


def show_versions(name: str, versions: Sequence[PublishedVersion], output: str) -> None:
    """Show what was published under a name, newest first."""
    if output == "json":
        print_json({"items": versions, "count": len(versions)})
        return
    if not versions:
        say(f"nothing is published as {name}; kubernaut publish APP_DIR does it")
        return
    put_table(
        ("VERSION", "CREATED", "COMMIT", "IMAGE", "ENVIRONMENTS"),
        [
            (
                version.version,
                when(version.created_at),
                _commit(version.source.commit),
                version.image.digest[:SHORT_DIGEST] if on_terminal(sys.stdout) else version.image.digest,
                ", ".join(version.environments) or NONE,
            )
            for version in versions
        ],
        spare="COMMIT",
    )


def _version(release: Release) -> str:
    return release.chart.version or release.app_version or NONE


def _chart(release: Release) -> str:
    return "-".join(part for part in (release.chart.name, release.chart.version) if part) or NONE


def _commit(commit: str | None) -> str:
    """Shorten a commit, and keep saying that files differed from it."""
    if not commit:
        return NONE
    return commit[:SHORT_COMMIT] + ("-dirty" if commit.endswith("-dirty") else "")


def _pinned(ref: str | None, digest: str | None) -> str:
    if not digest or (ref and digest in ref):
        return ref or ""
    return f"{ref}@{digest}" if ref else digest
