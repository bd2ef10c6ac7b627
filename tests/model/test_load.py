from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from transformers import AutoModelForImageTextToText, AutoProcessor

from timesight.errors import InputError
from timesight.model.load import checkpoints, load_policy, newest_checkpoint
from timesight.model.tiny import embedded_path


def test_the_embedded_model_is_an_ordinary_small_folder() -> None:
    folder = embedded_path()
    assert sum(file.stat().st_size for file in folder.iterdir()) < 10_000_000
    model = AutoModelForImageTextToText.from_pretrained(folder)
    assert AutoProcessor.from_pretrained(folder).video_token_id == model.config.video_token_id
    assert model.config.model_type == "qwen3_vl"


def test_without_a_path_the_embedded_model_is_loaded() -> None:
    policy = load_policy()
    assert policy.name == "tiny"
    assert policy.factor == 32


def test_a_run_directory_stands_for_its_newest_checkpoint(new_model: Path, tmp_path: Path) -> None:
    for step in (5, 20, 100, "200-copy"):
        (tmp_path / f"checkpoint-{step}").mkdir()
    assert list(checkpoints(tmp_path)) == [5, 20, 100]
    shutil.copytree(new_model, tmp_path / "checkpoint-20", dirs_exist_ok=True)
    for step in (5, 20):  # the one of step 100 was not written to its end
        (tmp_path / f"checkpoint-{step}/trainer_state.json").write_text("{}")
    assert newest_checkpoint(tmp_path) == tmp_path / "checkpoint-20"
    assert load_policy(tmp_path).model.config.model_type in str(new_model)


def test_what_is_no_model_is_named(tmp_path: Path, world: Path) -> None:
    (tmp_path / "file.txt").write_text("x")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/config.json").write_text('{"model_type": "qwen2_5_vl"}')
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert/config.json").write_text('{"model_type": "bert"}')
    for path, message in {
        tmp_path / "file.txt": "is a file",
        tmp_path / "nothing": "no such folder",
        world: "holds no model",
        tmp_path / "bert": "is a bert model; timesight trains",
        tmp_path / "broken": "cannot load a model",
    }.items():
        with pytest.raises(InputError, match=message):
            load_policy(path)


def test_any_text_survives_the_tiny_tokenizer(new_model: Path) -> None:
    tokenizer = AutoProcessor.from_pretrained(new_model).tokenizer
    for text in ("When does the red circle move?", "12.75 to 103.2", "Ünïcode ≥ 3 — 视频 \n\t<answer>"):
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert len(tokenizer.encode("12345")) == 5


def test_code_that_comes_with_a_model_is_not_run(new_model: Path, tmp_path: Path) -> None:
    """A folder of an unknown type that brings its own configuration is refused, without a question."""
    for file in new_model.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "mine.py").write_text(f"open({str(tmp_path / 'was_run')!r}, 'w')\n")
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Mine"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="cannot load a model from"):
        load_policy(tmp_path)
    assert not (tmp_path / "was_run").exists()
