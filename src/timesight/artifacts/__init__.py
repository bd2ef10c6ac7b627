"""Schemas of the files in a run directory, shared by the code that writes and the code that reads them.

    recipe.yaml         of a training run: its recipe, every default written out
    metrics.jsonl       MetricsEntry     one line per step, and one per validation
    completions/*.jsonl CompletionEntry  one line per sampled reply
    quarantine.jsonl    QuarantineEntry  one line per video that cannot be read
    preview.jsonl       PreviewEntry     one line per prompt that the untrained model replied to
    replies.jsonl       ReplyEntry       of an evaluation: one line per item
    items.jsonl         ItemEntry        what each item scored
    result.json         Result           the metrics
    eval.json           EvalSettings     the settings that the replies depend on
    table.json          TableResult      one of the paper's tables, reproduced

``version`` is the version of a record's schema; a record without one has version 1.
"""

from timesight.artifacts.evaluation import (
    ITEMS_FILE,
    REPLIES_FILE,
    RESULT_FILE,
    SETTINGS_FILE,
    EvalSettings,
    ItemEntry,
    Pairs,
    PaperFigures,
    PartFigures,
    ProtocolFigures,
    ReplyEntry,
    Result,
    Spans,
    read_items,
    read_result,
    write_result,
)
from timesight.artifacts.records import (
    Interval,
    Metrics,
    Record,
    append_record,
    drop_torn_line,
    line_of,
    read_records,
    write_records,
)
from timesight.artifacts.tables import (
    DAMAGES,
    TABLE_FILE,
    ClaimFigure,
    ClaimResult,
    RowResult,
    TableResult,
    Verdict,
    read_table_result,
    write_table_result,
)
from timesight.artifacts.training import (
    COMPLETIONS_DIR,
    METRICS_FILE,
    PREVIEW_FILE,
    QUARANTINE_FILE,
    CompletionEntry,
    MetricsEntry,
    PreviewEntry,
    QuarantineEntry,
)

__all__ = [
    "COMPLETIONS_DIR",
    "DAMAGES",
    "ITEMS_FILE",
    "METRICS_FILE",
    "PREVIEW_FILE",
    "QUARANTINE_FILE",
    "REPLIES_FILE",
    "RESULT_FILE",
    "SETTINGS_FILE",
    "TABLE_FILE",
    "ClaimFigure",
    "ClaimResult",
    "CompletionEntry",
    "EvalSettings",
    "Interval",
    "ItemEntry",
    "Metrics",
    "MetricsEntry",
    "Pairs",
    "PaperFigures",
    "PartFigures",
    "PreviewEntry",
    "ProtocolFigures",
    "QuarantineEntry",
    "Record",
    "ReplyEntry",
    "Result",
    "RowResult",
    "Spans",
    "TableResult",
    "Verdict",
    "append_record",
    "drop_torn_line",
    "line_of",
    "read_items",
    "read_records",
    "read_result",
    "read_table_result",
    "write_records",
    "write_result",
    "write_table_result",
]
