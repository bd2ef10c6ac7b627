"""Options that several commands share. Nothing heavy is imported, so that --help is fast."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from timesight.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from timesight.infer.clue import ClueSettings
    from timesight.judge import JudgeSettings
    from timesight.tasks.custom import TaskSettings

LOCAL = "local:"

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object as the last line.")
judge_option = click.option(
    "--judge", help="Who judges captions: world, local:MODEL, or the name of a model that is served."
)
judge_url_option = click.option("--judge-url", help="OpenAI-compatible endpoint of the judge.")
tasks_option = click.option(
    "--task-file",
    "task_files",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Python file of custom tasks.",
)
prompts_option = click.option(
    "--prompts", type=click.Path(path_type=Path), help="YAML file of prompt texts by task, in place of ours."
)


def clue_options(command: Any) -> Any:
    """Add the options of ``--clue`` to a command; their defaults are those of ``ClueSettings``."""
    for option in reversed(
        (
            click.option(
                "--passes", default=2, show_default=True, type=click.IntRange(2), help="Most passes over a video."
            ),
            click.option(
                "--resolution-boost",
                default=2.0,
                show_default=True,
                type=click.FloatRange(1),
                help="By how much frames are larger on each side in the second look.",
            ),
            click.option(
                "--fps-boost",
                default=4.0,
                show_default=True,
                type=click.FloatRange(1),
                help="Frame-rate multiplier of the second look.",
            ),
            click.option(
                "--second-look-pixels",
                type=click.IntRange(1),
                help="Total pixel budget of the second look, frames counted in pairs.",
            ),
        )
    ):
        command = option(command)
    return command


def clue_settings(flags: Mapping[str, Any]) -> ClueSettings:
    """Return the settings that ``clue_options`` state; ``flags`` has them by parameter name."""
    from timesight.infer.clue import ClueSettings

    return ClueSettings(
        max_passes=flags["passes"],
        resolution_boost=flags["resolution_boost"],
        fps_boost=flags["fps_boost"],
        total_pixels=flags["second_look_pixels"],
    )


def judge_settings(judge: str | None, url: str | None) -> JudgeSettings | None:
    """Return the settings that ``--judge`` and ``--judge-url`` state.

    Args:
        judge: ``world``, ``local:MODEL``, or the name of a served model; None: no judge.
        url: Address of a served model; None: that of OpenAI.

    Raises:
        InputError: If the address has no name of a served model, or ``local:`` no model.
    """
    from timesight.judge import JudgeSettings

    if url is not None and (judge is None or judge == "world" or judge.startswith(LOCAL)):
        raise InputError("--judge-url goes with --judge NAME, the name of the model that is served there")
    if judge is None:
        return None
    if judge == "world":
        return JudgeSettings(kind="world")
    if judge.startswith(LOCAL):
        if judge == LOCAL:
            raise InputError("--judge local: needs a model, such as local:Qwen/Qwen2.5-7B-Instruct")
        return JudgeSettings(kind="local", model=judge.removeprefix(LOCAL))
    return JudgeSettings(kind="served", model=judge, base_url=url)


def task_settings(files: tuple[Path, ...], prompts: Path | None) -> TaskSettings:
    """Return the settings that ``--task-file`` and ``--prompts`` state.

    Args:
        files: Python files of custom tasks; they are not loaded here.
        prompts: YAML file with a text for each task; None: no prompt is replaced.

    Raises:
        InputError: If ``prompts`` does not exist, is not YAML, or is not a mapping of texts.
    """
    import yaml
    from pydantic import ValidationError

    from timesight.tasks.custom import TaskSettings

    if prompts is None:
        return TaskSettings(files=files)
    if not prompts.is_file():
        raise InputError(f"{prompts}: no such file")
    try:
        return TaskSettings(files=files, prompts=yaml.safe_load(prompts.read_text(encoding="utf-8")))
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{prompts}: is not YAML: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        where = ".".join(str(step) for step in error.errors()[0]["loc"])
        raise InputError(
            f"{prompts}: {where}: {error.errors()[0]['msg']}; write one text a task, such as "
            "multiple_choice: '{question} {options} {form}'"
        ) from None
