"""``kubernaut config``: each setting, its value, and where it came from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from kubernaut.cli.options import output_option, verbose_option
from kubernaut.cli.output import print_json
from kubernaut.cli.table import put_table
from kubernaut.cli.verb import Verb

if TYPE_CHECKING:
    from kubernaut.settings import Settings


@click.command(
    cls=Verb,
    examples=[
        ("kubernaut config", "what is in force here, and why"),
        ("KUBERNAUT_TIMEOUT=10m kubernaut config", "what a variable would change"),
    ],
    statuses=(0, 2, 3),
)
@output_option
@verbose_option
def config(output: str) -> None:
    """Show each setting, its value and where it came from.

    Defaults, then the next kubernaut.toml here or above, then the environment, then options: what comes later wins.
    """
    from kubernaut.settings import SETTINGS, load_settings

    settings = load_settings()
    rows = [(row.name, getattr(settings, row.name), _origin(settings, row.name), row.help) for row in SETTINGS]
    if output == "json":
        items = [{"name": name, "value": value, "origin": origin, "help": help} for name, value, origin, help in rows]
        print_json({"items": items, "count": len(items)})
        return
    put_table(("SETTING", "VALUE", "FROM"), [(name, _text(value), origin) for name, value, origin, _ in rows])


def _origin(settings: Settings, name: str) -> str:
    """Return a value's origin; one that nobody set and that is there all the same was worked out, as the actor is."""
    origin = settings.origins[name]
    return "default" if origin == "not set" and getattr(settings, name) is not None else origin


def _text(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:g}s" if isinstance(value, float) else str(value)
