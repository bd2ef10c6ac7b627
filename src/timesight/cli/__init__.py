"""The command line: one file per command. The only package that wires the others together."""

from __future__ import annotations

import logging
import os
import sys
from importlib import import_module

import click

from timesight import __version__
from timesight.errors import TimesightError

# A command's module is loaded only when that command is used, so that --help answers at once.
COMMANDS = {
    "demo": "Show the whole path: a synthetic world, a tiny model, GRPO, a report.",
    "world": "Write a synthetic world of videos with exact truth.",
    "data": "List, build, check and convert data.",
    "train": "Fine-tune a model with GRPO, or on gold replies (SFT).",
    "launch-config": "Print a configuration of accelerate for several GPUs.",
    "merge": "Merge an adapter into an ordinary model folder.",
    "eval": "Measure a model on samples.",
    "chat": "Talk about a video; replies come with their evidence.",
    "serve": "Talk about videos on a web page.",
    "plan": "Say what a recipe will need: tokens, memory, time.",
    "bench": "Measure speed and memory on this machine.",
    "reproduce": "Reproduce one of the paper's tables, with a verdict on each claim.",
    "report": "Turn a run directory into report.html.",
}


ALIASES = {"sft": "train"}  # not listed


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        name = ALIASES.get(name, name)
        if name not in COMMANDS:
            return None
        command: click.Command = import_module(f"timesight.cli.{name.replace('-', '_')}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def group() -> None:
    """Teach a video language model to see when and where, and let it answer with evidence."""


def main() -> None:
    """Run the command line and exit: 0 done, 1 done and problems were found, 2 bad input, 130 interrupted."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # on CPUs it warns of a kernel that is not used
    try:
        code = group(standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except TimesightError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        click.echo("\nStopped. What is finished is kept: the same command resumes.", err=True)
        sys.exit(130)
