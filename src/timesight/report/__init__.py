"""A run directory as a page. Reads files only, so runs made elsewhere or long ago still plot.

``training`` is the page of a training run or demo, ``evaluation`` that of one evaluation or several side by side;
``runs`` reads what evaluations leave, ``pages`` and ``plots`` are what both are made of.
"""

from collections.abc import Sequence
from pathlib import Path

from timesight.artifacts import ITEMS_FILE


def build_report(run_dir: Path, beside: Sequence[Path] = ()) -> Path:
    """Write ``run_dir``/report.html and return its path; ``beside`` are evaluations to show with it.

    Raises InputError where there is nothing to report, and for evaluations of another suite.
    """
    # What draws is loaded only where something is drawn.
    from timesight.report.evaluation import evaluation_report
    from timesight.report.training import training_report

    if (run_dir / ITEMS_FILE).is_file() or beside:
        return evaluation_report([run_dir, *beside])
    return training_report(run_dir)


__all__ = ["build_report"]
