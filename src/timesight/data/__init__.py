"""From annotation files to samples."""

from timesight.data.jsonl import parse_line, read_jsonl

__all__ = ["parse_line", "read_jsonl"]
