"""Options that several commands share; light, so that --help loads nothing heavy."""

import click

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object as the last line.")
