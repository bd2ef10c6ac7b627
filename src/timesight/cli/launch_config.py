"""``timesight launch-config``: how ``accelerate`` starts a run on several GPUs."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import click

CONFIGS = {path.stem: path for path in sorted(Path(str(files("timesight") / "launch")).glob("*.yaml"))}


@click.command(
    epilog="Example: timesight launch-config fsdp2 --gpus 4 > fsdp2.yaml && accelerate launch --config_file "
    "fsdp2.yaml -m timesight train charades/grpo --data samples.jsonl --out runs/grpo",
    short_help="Print a configuration of accelerate for several GPUs.",
)
@click.argument("name", type=click.Choice(list(CONFIGS)))
@click.option("--gpus", default=8, show_default=True, type=click.IntRange(1), help="On all machines together.")
@click.option("--machines", default=1, show_default=True, type=click.IntRange(1))
def command(name: str, gpus: int, machines: int) -> None:
    """Print the configuration NAME, to be saved and given to accelerate launch.

    ddp keeps the whole model on every GPU, zero2 shards gradients and optimizer states, fsdp2 and zero3 the
    weights as well. Several machines need --machine_rank and --main_process_ip, which accelerate launch takes too.
    """
    import yaml

    text = CONFIGS[name].read_text(encoding="utf-8")
    counts = {"num_processes": gpus, "num_machines": machines}
    for key, before in yaml.safe_load(text).items():
        if key in counts:
            text = text.replace(f"{key}: {before}", f"{key}: {counts[key]}")
    click.echo(text, nl=False)
