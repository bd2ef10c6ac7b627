"""Our rewards in the hands of other trainers; TRL's is run for real."""

from __future__ import annotations

from pathlib import Path

import pytest

from timesight.tasks import TASKS
from timesight.tasks.adapters import swift_reward, trl_rewards, verl_reward
from timesight.world import WorldJudge, unseen_samples

SAMPLES = [next(s for s in unseen_samples(40) if s.task == name) for name in TASKS]
LINES = [sample.model_dump_json() for sample in SAMPLES]
GOLDS = [TASKS[sample.task].gold(sample) for sample in SAMPLES]


def messages(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


@pytest.mark.parametrize("as_messages", [False, True])
def test_trl_gets_a_function_a_part_and_none_where_a_task_lacks_it(as_messages: bool) -> None:
    completions = [messages(gold) if as_messages else gold for gold in GOLDS]
    columns = {
        function.__name__: function(prompts=[""] * 6, completions=completions, sample=LINES, trainer_state=None)
        for function in trl_rewards(judge=WorldJudge())
    }
    for row, sample in enumerate(SAMPLES):
        parts = {name: values[row] for name, values in columns.items()}
        assert {name for name, value in parts.items() if value == 1.0} == {"format", *TASKS[sample.task].components}
        assert set(parts.values()) <= {1.0, None}


def test_swift_gets_the_sum() -> None:
    reward = swift_reward(judge=WorldJudge())(args=None)
    totals = [1.0 + len(TASKS[sample.task].components) for sample in SAMPLES]
    assert reward([*GOLDS[:-1], "?"], sample=LINES, other=[1] * len(LINES)) == [*totals[:-1], 0.0]


def test_verl_gets_a_score() -> None:
    score = verl_reward(judge=WorldJudge())
    scored = score(data_source="x", solution_str=GOLDS[0], ground_truth=LINES[0], extra_info={})
    assert scored == {"score": 2.0, "unscored": 0.0, "format": 1.0}


def test_what_cannot_be_judged_is_not_zero() -> None:
    captions = [n for n, sample in enumerate(SAMPLES) if sample.task == "captioning"]
    line, gold = LINES[captions[0]], GOLDS[captions[0]]
    recall = next(function for function in trl_rewards() if function.__name__ == "event_recall")
    assert recall(completions=[gold], sample=[line]) == [None]
    assert swift_reward()()([gold], sample=[line]) == [None]
    assert verl_reward()("x", gold, line) == {"score": 0.0, "unscored": 1.0, "format": 1.0}


@pytest.mark.slow
def test_trl_trains_with_them(text_model: Path, tmp_path: Path) -> None:
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl import GRPOConfig, GRPOTrainer

    prompts = ["".join(getattr(p, "text", "") for p in TASKS[s.task].prompt(s)) for s in SAMPLES]
    trainer = GRPOTrainer(
        model=str(text_model),
        processing_class=AutoTokenizer.from_pretrained(text_model),
        reward_funcs=trl_rewards(judge=WorldJudge()),
        train_dataset=Dataset.from_dict({"prompt": prompts, "sample": LINES}),
        args=GRPOConfig(
            output_dir=str(tmp_path),
            per_device_train_batch_size=4,
            num_generations=4,
            max_completion_length=8,
            max_steps=2,
            logging_steps=1,
            report_to="none",
            use_cpu=True,
            bf16=False,
        ),
    )
    trainer.train()
    logged = {name for entry in trainer.state.log_history for name in entry}
    assert {"rewards/format/mean", "rewards/iou/mean", "rewards/accuracy/mean"} <= logged
