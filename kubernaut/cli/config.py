"""``kubernaut config``: show the settings in force."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kubernaut.cli.command import Command
from kubernaut.cli.options import output_options
from kubernaut.cli.output import print_json
from kubernaut.cli.render import NONE, print_table

if TYPE_CHECKING:
    from kubernaut.settings import Settings

_DEFAULT_KUBECONFIG = "~/.kube/config"


@click.command(
    cls=Command,
    examples=[
        ("kubernaut config", "show the settings in force"),
        ("KUBERNAUT_TIMEOUT=10m kubernaut config", "show the effect of a variable"),
    ],
    statuses=(0, 2, 3),
)
@output_options
def config(output: str) -> None:
    """Show each setting with its value and origin.

    A setting comes from an option, else from the environment, else from the nearest kubernaut.toml in this folder or above, else
    from its default. The context, if not set, is the current context of the kubeconfig.
    """
    from kubernaut.settings import SETTINGS, load_settings

    settings = load_settings()
    items = [{"name": row.name, **_in_force(settings, row.name), "help": row.help} for row in SETTINGS]
    if output == "json":
        print_json({"items": items, "count": len(items)})
        return
    rows = [(item["name"], _text(item["value"]), item["origin"] + _problem(item)) for item in items]
    print_table(("SETTING", "VALUE", "FROM"), rows)


def _in_force(settings: Settings, name: str) -> dict[str, Any]:
    """Return the value and the origin of a setting; for the context also the problem of an unusable kubeconfig."""
    value, origin = getattr(settings, name), settings.origins[name]
    if name == "context" and value is None:
        return _current_context(settings)
    derived = origin == "not set" and value is not None  # such as the actor
    return {"value": value, "origin": "default" if derived else origin}


def _current_context(settings: Settings) -> dict[str, Any]:
    from kubernaut.adapters.kubeconfig import read_kubeconfig
    from kubernaut.errors import ClusterUnreachable

    kubeconfig = settings.kubeconfig or str(Path(_DEFAULT_KUBECONFIG).expanduser())
    if not settings.kubeconfig and not Path(kubeconfig).is_file() and "KUBERNETES_SERVICE_HOST" in settings.environment:
        return {"value": None, "origin": "service account of this pod"}
    try:
        context = read_kubeconfig(kubeconfig).get("current-context")
    except ClusterUnreachable as error:
        return {"value": None, "origin": "not set", "problem": error.message}
    if not context:
        return {"value": None, "origin": "not set", "problem": f"The kubeconfig {kubeconfig} has no current context."}
    return {"value": str(context), "origin": f"current context of {kubeconfig}"}


def _problem(item: dict[str, Any]) -> str:
    return f" ({item['problem'].removesuffix('.')})" if "problem" in item else ""


def _text(value: object) -> str:
    if value is None:
        return NONE
    return f"{value:g}s" if isinstance(value, float) else str(value)
