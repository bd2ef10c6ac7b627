"""The paper's tables: rows are recipes, results have intervals, and each claim gets a verdict.

``settings`` says what a row and a claim are, ``tables`` reads them, ``plans`` says what they need, ``runs`` trains
and measures them, ``results`` makes the table.
"""

from timesight.reproduce.plans import RowPlan, plan_row
from timesight.reproduce.results import ClaimResult, Comparison, RowResult, TableResult, table_result
from timesight.reproduce.runs import Measured, Runs
from timesight.reproduce.settings import Claim, Measurement, TableRow, TableSettings
from timesight.reproduce.tables import Table, load_table, read_table

__all__ = [
    "Claim",
    "ClaimResult",
    "Comparison",
    "Measured",
    "Measurement",
    "RowPlan",
    "RowResult",
    "Runs",
    "Table",
    "TableResult",
    "TableRow",
    "TableSettings",
    "load_table",
    "plan_row",
    "read_table",
    "table_result",
]
