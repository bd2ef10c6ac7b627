"""A training run as a progress bar."""

from __future__ import annotations

from pathlib import Path

from rich.text import Text

from timesight.artifacts import COMPLETIONS_DIR, CompletionEntry, read_records
from timesight.cli.console import ERR, progress
from timesight.training.loop import Callback

REPLY_EVERY = 50  # steps between two replies shown while training


class TrainProgress(Callback):
    """Shows a training run as a progress bar, with one of its metrics.

    Args:
        label: Text before the bar.
        figure: Name of the metric.
    """

    def __init__(self, label: str, figure: str) -> None:
        self._label = label
        self._note = ""
        self._figure = figure

    def on_start(self, step: int, num_steps: int) -> None:
        """Open the bar at the first step, which is not 0 in a resumed run."""
        self._bar = progress(self._label, num_steps)
        self._advance = self._bar.__enter__()
        self._advance(step)

    def on_log(self, step: int, entry: dict[str, float], out: Path) -> None:
        """Move the bar, and show a reply every ``REPLY_EVERY`` steps."""
        if self._figure in entry:  # a step that reuses earlier replies has no reward
            self._note = f"{self._figure} {entry[self._figure]:.3f}"
        self._advance(1, self._note)
        if step % REPLY_EVERY == 0:
            self._show_reply(out / COMPLETIONS_DIR / f"step-{step:06d}.jsonl")

    def _show_reply(self, file: Path) -> None:
        """One of the step's replies, with what it earned, above the bar."""
        if not file.exists():
            return
        entry = read_records(file, CompletionEntry)[0]
        earned = "  ".join(f"{name} {value:.2f}" for name, value in entry.rewards.items() if value is not None)
        text = Text(f"{entry.id}  {earned}  {' '.join(entry.reply.split())}", style="dim")
        text.truncate(ERR.width - 1, overflow="ellipsis")
        ERR.print(text)

    def close(self) -> None:
        """Close the bar, however the run ended."""
        if hasattr(self, "_bar"):
            self._bar.__exit__(None, None, None)
