"""``timesight report``: a run directory as a page."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(epilog="Example: timesight report runs/demo", short_help="Turn a run directory into report.html.")
@click.argument("run_dir", type=click.Path(path_type=Path))
def command(run_dir: Path) -> None:
    """Write RUN_DIR/report.html: curves, figures, timelines; one file that needs no other."""
    from timesight.report import build_report

    click.echo(build_report(run_dir))
