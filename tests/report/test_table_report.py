"""The page and the plot of a reproduced table."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from timesight.artifacts import ClaimFigure, ClaimResult, RowResult, TableResult, write_table_result
from timesight.errors import InputError
from timesight.report import build_report

NAN = float("nan")


def table() -> TableResult:
    claimed = ClaimFigure(
        better="+GRPO", than="<base>", figure="g/mIoU", difference=0.2, interval=(0.1, NAN), verdict="holds"
    )
    return TableResult(
        table="table3",
        title="Grounding & more",
        measurements={"g": ["mIoU", "R1@0.5"], "general": ["accuracy"]},
        num_seeds=3,
        rows=(
            RowResult(
                name="<base>", metrics={"g/mIoU": 0.4}, intervals={"g/mIoU": (NAN, NAN)}, paper={"g/mIoU": 0.29}
            ),
            RowResult(name="+GRPO", metrics={"g/mIoU": 0.6}, intervals={"g/mIoU": (0.55, 0.65)}),
        ),
        baselines=(RowResult(name="whole video", metrics={"g/mIoU": 0.37}),),
        claims=(ClaimResult(claim="GRPO helps.", verdict="holds", margin=0.02, figures=(claimed,)),),
    )


def test_a_table_becomes_a_page_and_a_plot(tmp_path: Path) -> None:
    write_table_result(tmp_path, table())
    html = build_report(tmp_path).read_text()
    assert "&lt;base&gt;" in html
    assert "video-blind: whole video" in html
    assert "60.0 <small>[55.0, 65.0]</small>" in html
    assert "+20.0 <small>[+10.0, –]</small>" in html
    assert "it may lose 2)" in html
    assert html.count("<svg") == 1
    assert html.count(">paper</th>") == 1  # of one metric only
    plot = ElementTree.parse(tmp_path / "table.svg")
    assert "--series-1: " in "".join(plot.getroot().itertext())  # its colors do not need a page


def test_a_broken_table_is_named(tmp_path: Path) -> None:
    (tmp_path / "table.json").write_text("{}")
    with pytest.raises(InputError, match=r"table\.json: holds no table"):
        build_report(tmp_path)
