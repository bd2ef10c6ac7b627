"""Options that several commands share; light, so that --help loads nothing heavy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from timesight.errors import InputError

if TYPE_CHECKING:
    from timesight.judge import JudgeSettings
    from timesight.tasks.own import TaskSettings

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object as the last line.")
judge_option = click.option(
    "--judge", help="Who judges captions: world, local:MODEL, or the name of a model that is served."
)
judge_url_option = click.option("--judge-url", help="OpenAI-compatible address of the judge.")
tasks_option = click.option(
    "--tasks",
    "task_files",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Python file of tasks of your own.",
)
prompts_option = click.option(
    "--prompts", type=click.Path(path_type=Path), help="YAML file of prompt texts by task, in place of ours."
)


def judge_settings(judge: str | None, url: str | None) -> JudgeSettings | None:
    """What ``--judge`` and ``--judge-url`` say."""
    from timesight.judge import JudgeSettings

    if judge is None:
        if url is not None:
            raise InputError("--judge-url needs --judge with the name of the model that is served there")
        return None
    if judge == "world":
        return JudgeSettings(kind="world")
    if judge.startswith("local:"):
        return JudgeSettings(kind="local", model=judge.removeprefix("local:"))
    return JudgeSettings(kind="served", model=judge, base_url=url)


def task_settings(files: tuple[Path, ...], prompts: Path | None) -> TaskSettings:
    """What ``--tasks`` and ``--prompts`` say. Raises InputError for a file that is not a mapping of texts."""
    import yaml
    from pydantic import ValidationError

    from timesight.tasks.own import TaskSettings

    try:
        texts = {} if prompts is None else yaml.safe_load(prompts.read_text(encoding="utf-8"))
        return TaskSettings(files=files, prompts=texts)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValidationError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{prompts}: is not a YAML file of prompt texts by task: {reason}") from None
