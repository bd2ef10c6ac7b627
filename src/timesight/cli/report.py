"""``timesight report``: a run directory as a page."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(
    epilog="Example: timesight report runs/eval-grpo --compare runs/eval-base",
    short_help="Turn a run directory into report.html.",
)
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.option(
    "--compare",
    "--beside",  # its name until 0.2
    "others",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Another evaluation of the same suite to show with it (may be repeated).",
)
def command(run_dir: Path, others: tuple[Path, ...]) -> None:
    """Write RUN_DIR/report.html, of a training run or of an evaluation: one file that needs no other."""
    from timesight.report import build_report

    click.echo(build_report(run_dir, others))
