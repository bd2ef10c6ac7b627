"""Broken videos on record."""

from __future__ import annotations

from pathlib import Path

import pytest

from timesight.errors import InputError, TrainingError, VideoError
from timesight.video.quarantine import MIN_SEEN, Quarantine


def test_a_record_cut_off_by_a_kill_is_made_again(tmp_path: Path) -> None:
    file = tmp_path / "quarantine.jsonl"
    Quarantine(file).put(VideoError("a.mp4", "is broken"))
    Quarantine(file).put(VideoError("b.mp4", "is broken"))
    file.write_text(file.read_text()[:-9])
    resumed = Quarantine(file)
    assert resumed.reasons == {"a.mp4": "is broken"}
    resumed.put(VideoError("b.mp4", "is broken"))
    resumed.put(VideoError("c.mp4", "is broken"))
    assert list(Quarantine(file).reasons) == ["a.mp4", "b.mp4", "c.mp4"]


def test_a_resumed_run_is_judged_by_what_it_has_seen_itself(tmp_path: Path) -> None:
    file = tmp_path / "quarantine.jsonl"
    before = Quarantine(file)
    for number in range(3 * MIN_SEEN):
        before.put(VideoError(f"{number}.mp4", "is broken"))
    resumed = Quarantine(file, max_share=0.1)
    for number in range(2 * MIN_SEEN):
        resumed.saw(Path(f"good-{number}.mp4"))
    resumed.put(VideoError("0.mp4", "is broken"))
    resumed.put(VideoError("another.mp4", "is broken"))
    assert len(resumed) == 3 * MIN_SEEN + 1


def test_too_many_stop_the_run(tmp_path: Path) -> None:
    quarantine = Quarantine(tmp_path / "quarantine.jsonl", max_share=0.1)
    for number in range(MIN_SEEN):
        quarantine.saw(Path(f"{number}.mp4"))
    quarantine.put(VideoError("0.mp4", "is broken"))
    quarantine.put(VideoError("1.mp4", "is broken"))
    with pytest.raises(TrainingError, match="3 of 20 videos cannot be read, more than the 10% allowed"):
        quarantine.put(VideoError("2.mp4", "is broken"))


def test_a_record_that_cannot_be_kept_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    quarantine = Quarantine(tmp_path / "taken" / "quarantine.jsonl")
    with pytest.raises(InputError, match=r"taken/quarantine\.jsonl: cannot be written"):
        quarantine.put(VideoError("0.mp4", "is broken"))
