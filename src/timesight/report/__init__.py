"""``report.html`` of a run directory. Only files are read, so runs from elsewhere or long ago can be shown too.

``training`` writes the page of a training run or demo, ``evaluation`` that of one evaluation or several side by
side, ``table`` that of one of the paper's tables. ``runs`` reads the results of evaluations; ``pages`` and
``plots`` are shared by all.
"""

from collections.abc import Sequence
from pathlib import Path

from timesight.artifacts import ITEMS_FILE, TABLE_FILE


def build_report(run_dir: Path, others: Sequence[Path] = ()) -> Path:
    """Write ``report.html`` into a run directory.

    Args:
        run_dir: Folder of a training run, a demo, an evaluation or a reproduced table.
        others: Folders of evaluations to show next to ``run_dir``, which then is one too.

    Returns:
        The path of the page.

    Raises:
        InputError: If a folder holds no run, a file of it is broken, or the evaluations cannot be compared
            (``evaluation.evaluation_report``).
    """
    # Matplotlib is loaded only when a page is written.
    from timesight.report.evaluation import evaluation_report
    from timesight.report.table import table_report
    from timesight.report.training import training_report

    if (run_dir / TABLE_FILE).is_file() and not others:
        return table_report(run_dir)
    if (run_dir / ITEMS_FILE).is_file() or others:
        return evaluation_report([run_dir, *others])
    return training_report(run_dir)


__all__ = ["build_report"]
