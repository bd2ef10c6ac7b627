"""The page and the plot of a reproduced table."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from timesight.artifacts import ClaimFigure, ClaimResult, RowResult, TableResult, Verdict, write_table_result
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


def test_a_table_becomes_markdown(tmp_path: Path) -> None:
    write_table_result(tmp_path, table())
    build_report(tmp_path)
    text = (tmp_path / "table.md").read_text()
    assert "| g, mIoU | 40.0 (29.0) | 60.0 ± 5.0 | 37.0 |" in text
    assert "| **holds** | GRPO helps. (it may lose 2) | g/mIoU: +GRPO − <base> = +20.0 [+10.0, –] |" in text


def test_a_long_table_has_a_line_for_each_row(tmp_path: Path) -> None:
    short = table().model_copy(update={"measurements": {"g": ["mIoU"]}})
    write_table_result(tmp_path, short)
    build_report(tmp_path)
    text = (tmp_path / "table.md").read_text()
    assert "| <base> | 40.0 (29.0) |\n| +GRPO | 60.0 ± 5.0 |\n| *best video-blind baseline* | 37.0 |\n" in text


def test_markdown_names_the_figures_that_decided(tmp_path: Path) -> None:
    def figure(name: str, low: float, verdict: Verdict) -> ClaimFigure:
        ends = (low, low + 0.1)
        return ClaimFigure(better="b", than="a", figure=name, difference=low + 0.05, interval=ends, verdict=verdict)

    held = ClaimResult(
        claim="Held.",
        verdict="holds",
        margin=0.0,
        figures=(figure("clear", 0.3, "holds"), figure("narrow", 0.01, "holds")),
    )
    failed = ClaimResult(
        claim="Failed.",
        verdict="does not hold",
        margin=0.0,
        ours=True,
        figures=(
            figure("clear", 0.3, "holds"),
            *(figure(f"worse {n}", -0.2, "does not hold") for n in range(4)),
        ),
    )
    write_table_result(tmp_path, table().model_copy(update={"claims": (held, failed)}))
    build_report(tmp_path)
    lines = (tmp_path / "table.md").read_text().splitlines()
    (said,) = [line for line in lines if "Held." in line]
    assert "narrow: b − a = +6.0 [+1.0, +11.0]" in said
    assert "clear" not in said
    (said,) = [line for line in lines if "Failed." in line]
    assert "(not in the paper)" in said
    assert "worse 2: " in said
    assert "clear" not in said
    assert said.endswith("; and 1 more |")


def test_a_broken_table_is_named(tmp_path: Path) -> None:
    (tmp_path / "table.json").write_text("{}")
    with pytest.raises(InputError, match=r"table\.json: holds no table"):
        build_report(tmp_path)
