"""The paper's tables: rows are recipes, results have intervals, and each claim gets a verdict.

``settings`` says what a row and a claim are, ``tables`` reads them, ``plans`` says what they need. ``runs`` trains
them (``models``, and ``launch`` on several GPUs) and measures them (``measured``) on their ``samples``, all in one
``store``; ``results`` makes the table.
"""

from timesight.reproduce.launch import launched
from timesight.reproduce.measured import Found, Measured
from timesight.reproduce.plans import RowPlan, plan_row
from timesight.reproduce.results import table_result
from timesight.reproduce.runs import Runs
from timesight.reproduce.settings import Claim, Measurement, TableRow, TableSettings
from timesight.reproduce.tables import Table, load_table, read_table

__all__ = [
    "Claim",
    "Found",
    "Measured",
    "Measurement",
    "RowPlan",
    "Runs",
    "Table",
    "TableRow",
    "TableSettings",
    "launched",
    "load_table",
    "plan_row",
    "read_table",
    "table_result",
]
