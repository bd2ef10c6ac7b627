"""What a folder of replies is of, and what is made of one that is broken."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from timesight.artifacts import read_items
from timesight.data import read_jsonl
from timesight.errors import InputError, ModelError, SampleError
from timesight.evaluation import kept_replies, read_replies
from timesight.evaluation.evaluate import evaluate
from timesight.evaluation.folder import init_eval_dir, require_folder, require_unused
from timesight.evaluation.questions import weight_files
from timesight.evaluation.runner import collect_replies
from timesight.generate.base import Completion, Generator
from timesight.infer.answer import InferenceConfig
from timesight.infer.clue import ClueGenerator, ClueSettings
from timesight.model.prompt import Prompt
from timesight.model.tiny import embedded_path
from timesight.tasks.custom import TaskSettings, custom_tasks
from timesight.types import Sample
from timesight.video import FrameBudget, SecondLook

BUDGET = FrameBudget(min_pixels=784, max_pixels=784, max_frames=4)


class Same(Generator):
    """Answers everything alike."""

    name = "same"
    factor = 28
    default_budget = BUDGET

    def generate(self, prompts: Sequence[Prompt], *how: Any) -> list[list[Completion] | ModelError]:
        return [[Completion("A")] for _ in prompts]


def collect(samples: Sequence[Sample], folder: Path, **asking: Any) -> dict[str, str]:
    return collect_replies(Same(), samples, InferenceConfig(BUDGET, **asking), folder).replies


@pytest.fixture
def samples(full_world: Path) -> list[Sample]:
    return [s for s in read_jsonl(full_world / "test.jsonl") if s.task == "multiple_choice"][:3]


def test_a_folder_of_other_replies_is_refused(tmp_path: Path) -> None:
    init_eval_dir(tmp_path, {"model": "a", "video": {"fps": 2.0}})
    init_eval_dir(tmp_path, {"model": "a", "video": {"fps": 2.0}, "clue": None})
    with pytest.raises(InputError, match="holds replies with model 'a', not 'b': choose another folder"):
        init_eval_dir(tmp_path, {"model": "b", "video": {"fps": 2.0}})
    with pytest.raises(InputError, match=r"holds replies with video\.fps 2\.0, not 1\.0"):
        init_eval_dir(tmp_path, {"model": "a", "video": {"fps": 1.0}})


def test_what_only_one_side_has_counts_in_both_directions(tmp_path: Path) -> None:
    plain, clue = {"model": "a", "clue": None}, {"model": "a", "clue": {"max_passes": 2}}
    init_eval_dir(tmp_path / "plain", plain)
    init_eval_dir(tmp_path / "clue", clue)
    with pytest.raises(InputError, match=r"holds replies with clue\.max_passes 2, not none: choose another"):
        init_eval_dir(tmp_path / "clue", plain)
    with pytest.raises(InputError, match=r"holds replies with clue\.max_passes none, not 2: choose another"):
        init_eval_dir(tmp_path / "plain", clue)


def test_replies_to_other_questions_are_not_taken_for_these(samples: list[Sample], tmp_path: Path) -> None:
    collect(samples[:2], tmp_path)  # as with --limit
    assert list(collect(samples, tmp_path)) == [s.id for s in samples]
    first, *others = samples
    for change in ({"question": "Something else?"}, {"video": first.video.model_copy(update={"path": tmp_path})}):
        with pytest.raises(
            InputError, match=rf"a reply to another question, prompt or video under id {first.id}: "
        ):
            collect([first.model_copy(update=change), *others], tmp_path)
    with pytest.raises(InputError, match=r"under id .* \(and under 2 more\): choose another folder"):
        collect(samples, tmp_path, think=True)
    with pytest.raises(InputError, match="another question, prompt or video"):
        collect(samples, tmp_path, evidence=True)
    prompts = {"multiple_choice": "{question} {options} Quick! {form}"}
    tasks = custom_tasks(TaskSettings.model_validate({"prompts": prompts}))
    with pytest.raises(InputError, match="another question, prompt or video"):
        collect(samples, tmp_path, tasks=tasks)
    assert len(collect(samples, tmp_path)) == 3


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"temperature": 0.5}, "temperature 0.0, not 0.5"),
        ({"seed": 2}, "seed 1, not 2"),
        ({"max_new_tokens": 9}, "max_new_tokens 256, not 9"),
        ({"think": True}, "think False, not True"),
        ({"budget": BUDGET.model_copy(update={"max_frames": 8})}, r"video\.max_frames 4, not 8"),
        ({"second_look": SecondLook(fps_boost=2.0)}, r"second_look\.resolution_boost none, not 2\.0"),
    ],
)
def test_evaluate_refuses_replies_made_with_other_settings(
    change: dict[str, Any], told: str, samples: list[Sample], tmp_path: Path
) -> None:
    whole = evaluate(samples, Same(), tmp_path, seed=1)
    with pytest.raises(InputError, match=f"^{tmp_path} holds replies with {told}: choose another folder$"):
        evaluate(samples, Same(), tmp_path, **{"seed": 1} | change)
    assert evaluate(samples, Same(), tmp_path, seed=1) == whole


def test_evaluate_records_the_settings_of_a_second_look(samples: list[Sample], tmp_path: Path) -> None:
    evaluate(samples, ClueGenerator(Same(), BUDGET), tmp_path)
    clue = ClueGenerator(Same(), BUDGET, ClueSettings(max_passes=3))
    with pytest.raises(InputError, match=r"holds replies with clue\.max_passes 2, not 3: choose another folder"):
        evaluate(samples, clue, tmp_path)


def test_a_model_that_was_written_anew_is_another(tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(embedded_path(), model)
    before = weight_files(str(model))
    assert list(before) == [str(model / "model.safetensors")]
    init_eval_dir(tmp_path / "out", {"weights": before})
    os.utime(model / "model.safetensors", (0, 0))
    with pytest.raises(InputError, match=r"model\.safetensors 'of \d+ bytes, written .*', not 'of .* written 1970"):
        init_eval_dir(tmp_path / "out", {"weights": weight_files(str(model))})
    assert weight_files("some/hub-id") == {}


def test_an_unusable_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/out")):
        with pytest.raises(InputError, match=rf"^--out {folder}: is not a writable folder \(.*\): choose"):
            require_folder(folder)
        with pytest.raises(InputError, match="is not a writable folder"):
            init_eval_dir(folder, {})


def test_figures_are_not_put_over_others(tmp_path: Path) -> None:
    require_unused(tmp_path / "new")
    init_eval_dir(tmp_path / "run", {})
    with pytest.raises(InputError, match="holds a run of timesight eval, which is kept: choose another folder"):
        require_unused(tmp_path / "run")
    (tmp_path / "items.jsonl").touch()
    with pytest.raises(InputError, match="holds figures of replies made elsewhere"):
        init_eval_dir(tmp_path, {})


@pytest.mark.parametrize("left", ["", '{"model": "a', "[" * 100_000, "[]"])
def test_settings_that_are_cut_off_are_told(left: str, tmp_path: Path) -> None:
    (tmp_path / "eval.json").write_text(left)
    with pytest.raises(
        InputError, match=r"eval\.json: is truncated, so the settings of the replies are unknown: choose"
    ):
        init_eval_dir(tmp_path, {"model": "a"})


def test_records_that_are_none_count_as_not_there(samples: list[Sample], tmp_path: Path) -> None:
    collect(samples[:1], tmp_path)
    broken = [b"\xff\xfe\x00", b'{"id": 3, "reply": "x"}', b'{"id": "x", "reply": null}', b"[" * 100_000, b"\0" * 8]
    with (tmp_path / "replies.0.part.jsonl").open("wb") as file:
        file.write(b"\n".join(broken))
    assert list(kept_replies(tmp_path).replies) == [samples[0].id]
    assert list(collect(samples, tmp_path)) == [s.id for s in samples]


@pytest.mark.parametrize("left", ['{"id": "a", "metr', "[" * 100_000, '{"id": "a"}', "[1]"])
def test_items_that_are_cut_off_are_told(left: str, tmp_path: Path) -> None:
    (tmp_path / "items.jsonl").write_text(left)
    with pytest.raises(InputError, match=r"items\.jsonl line 1: is no whole item of this version; run the same"):
        read_items(tmp_path)


def test_replies_made_elsewhere_may_begin_with_a_mark_and_hold_any_end_of_line(tmp_path: Path) -> None:
    file = tmp_path / "r.jsonl"
    record = json.dumps({"id": "a", "reply": "one\u2028two\x85three"}, ensure_ascii=False)
    file.write_text(f"\ufeff{record}\r\n\n", encoding="utf-8")
    assert read_replies(file) == {"a": "one\u2028two\x85three"}
    for left in ("[" * 100_000, '{"id": 1, "reply": "A"}', '{"id": "a", "reply": ["A"]}', '{"id": "a"'):
        file.write_text(left)
        with pytest.raises(SampleError, match=r"r\.jsonl line 1: is not "):
            read_replies(file)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(SampleError, match="is not UTF-8 text"):
        read_replies(file)
