"""From annotation files to samples: published sources, and JSONL or the hub for custom data."""

from timesight.data.dataset import read_dataset
from timesight.data.hub import read_hub
from timesight.data.jsonl import parse_line, read_jsonl
from timesight.data.sources import SOURCES, read

__all__ = ["SOURCES", "parse_line", "read", "read_dataset", "read_hub", "read_jsonl"]
