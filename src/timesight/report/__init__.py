"""A run directory as a page. Reads files only, so runs made elsewhere or long ago still plot."""

from timesight.report.build import build_report

__all__ = ["build_report"]
