"""``timesight eval``: measure models; each command has a file next to this one. The default command is ``run``."""

from __future__ import annotations

import click

from timesight.cli import eval_compare, eval_export, eval_run, eval_score


class _RunByDefault(click.Group):
    """``eval SUITE …`` stands for ``eval run SUITE …``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        asks_for_help = bool(args) and args[0] in ctx.help_option_names
        if args and args[0] not in self.commands and not asks_for_help:
            args = ["run", *args]
        return super().parse_args(ctx, args)


@click.group(
    cls=_RunByDefault,
    epilog="Example: timesight eval charades_sta --annotations DIR --videos DIR --model MODEL --out runs/eval",
    short_help="Measure a model on a benchmark or on samples.",
)
def command() -> None:
    """Measure a model on a benchmark or on samples, score replies made elsewhere, compare two runs.

    `eval SUITE …` stands for `eval run SUITE …`.
    """


for member in (
    eval_run.command,
    eval_score.score,
    eval_score.baselines,
    eval_compare.command,
    eval_export.export,
    eval_export.submission,
):
    command.add_command(member)
