"""``timesight data``: list, build, check and convert data; each command has a file next to this one."""

from __future__ import annotations

import click

from timesight.cli import data_build, data_check, data_convert
from timesight.cli.options import json_option


@click.group(
    epilog="Example: timesight data check own.jsonl --videos", short_help="List, build, check, convert data."
)
def command() -> None:
    """List, build, check and convert data."""


@command.command(
    "list", epilog="Example: timesight data list", short_help="The published sources that can be read."
)
@json_option
def list_sources(as_json: bool) -> None:
    """Show each source that can be read from its official files: task, splits, files."""
    from timesight.cli.console import OUT, print_json, text_table
    from timesight.data import SOURCES

    if as_json:
        print_json(
            {
                "sources": {
                    name: {"task": source.task, "splits": list(source.splits), "files": source.files}
                    for name, source in SOURCES.items()
                }
            }
        )
        return
    table = text_table("Read with timesight.data.read(name, annotations=FOLDER, videos=FOLDER, split=…)", 3)
    for name, source in SOURCES.items():
        table.add_row(name, ", ".join(source.splits), f"{source.task}\n[dim]{source.files}[/dim]")
    OUT.print(table)


for module in (data_build, data_check, data_convert):
    command.add_command(module.command)
