"""``timesight sft``: supervised fine-tuning on gold replies."""

from timesight.cli.train import make_command

command = make_command(
    "sft", "Fine-tune a model on gold replies.", "timesight sft tiny/pretrain --out runs/pretrain"
)
