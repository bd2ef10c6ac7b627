"""Custom tasks and prompt texts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import pytest

from timesight.data import read_jsonl
from timesight.errors import InputError, RecipeError
from timesight.tasks import TASKS, TaskRegistry
from timesight.tasks.custom import TaskSettings, custom_tasks
from timesight.training.recipe import load_recipe
from timesight.training.run import run_recipe
from timesight.types import TextPart
from timesight.world.questions import unseen_samples

COUNTING = Path(__file__).parents[2] / "examples/counting.py"


@pytest.fixture
def counts(world: Path) -> Path:
    """How often does a circle, a square, or a triangle appear? On the videos of the synthetic world."""
    file = world / "counting.jsonl"
    videos = list(dict.fromkeys(str(s.video.path) for s in read_jsonl(world / "train.jsonl")))[:6]
    records = [
        {"id": f"c#{n}", "task": "counting", "video": video, "query": "a shape appears", "count": n % 3}
        for n, video in enumerate(videos)
    ]
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    return file


def test_the_seventh_task_is_trained_without_a_fork(counts: Path, tmp_path: Path) -> None:
    recipe = load_recipe(
        "tiny/grpo",
        [
            f"tasks.files=[{COUNTING}]",
            f"data={{jsonl: {counts}}}",
            "train.max_steps=2",
            "train.batch_size=2",
            "grpo.num_generations=4",
        ],
    )
    assert run_recipe(recipe, tmp_path / "run").num_samples == 6
    entry = json.loads((tmp_path / "run/metrics.jsonl").read_text().splitlines()[-1])
    assert {"reward/counting/format", "reward/counting/accuracy", "reward/counting/closeness"} <= set(entry)
    assert "counting" not in TASKS


def test_the_seventh_task_keeps_the_contract(counts: Path) -> None:
    tasks = custom_tasks(TaskSettings(files=(COUNTING,)))
    task = tasks["counting"]
    for sample in read_jsonl(counts, tasks):
        for think in (False, True):
            assert set(task.reward(task.gold(sample, think), sample, think).values()) == {1.0}
            assert set(task.reward("many", sample, think).values()) == {0.0}


def grounding_text(sample_file: Path, tasks: TaskRegistry = TASKS, think: bool = False) -> str:
    part = tasks["temporal_grounding"].prompt(read_jsonl(sample_file)[0], think)[1]
    assert isinstance(part, TextPart)
    return part.text


def test_prompt_texts_are_replaced_in_a_registry_of_their_own(world: Path) -> None:
    theirs = {
        "answer": "To find {query}, reply <answer>S to E</answer>",
        "think": "Find {query}: <think>…</think><answer>…</answer>",
    }
    before = grounding_text(world / "train.jsonl")
    tasks = custom_tasks(TaskSettings.model_validate({"prompts": {"temporal_grounding": theirs}}))
    assert grounding_text(world / "train.jsonl", tasks).startswith("To find the ")
    assert grounding_text(world / "train.jsonl", tasks, think=True).startswith("Find the ")
    assert grounding_text(world / "train.jsonl") == before
    tasks = custom_tasks(TaskSettings(prompts={"temporal_grounding": "When {query}? {form}"}))
    assert grounding_text(world / "train.jsonl", tasks, think=True).endswith(
        "Reply as <think>what you see, and when</think><answer>START to END</answer>"
    )


def test_a_text_without_think_mode_is_not_used_for_it(world: Path) -> None:
    tasks = custom_tasks(TaskSettings(prompts={"temporal_grounding": "{query} <answer>S to E</answer>"}))
    with pytest.raises(InputError, match="no version for think mode"):
        grounding_text(world / "train.jsonl", tasks, think=True)


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ({"temporal_ground": "x"}, "no task temporal_ground; known: temporal_grounding"),
        ({"temporal_grounding": "When?"}, "never asks for <answer>, which replies are rewarded for"),
        ({"temporal_grounding": "{quary} {form}"}, "no field {quary}; known: form, query"),
        ({"temporal_grounding": "{query.__class__} {form}"}, "is not the plain name of a field"),
        ({"temporal_grounding": "{query {form}"}, "is not the plain name|braces that are text"),
        ({"temporal_grounding": {"answer": "{form}", "think": "<answer>"}}, "never asks for <think>"),
    ],
)
def test_a_text_that_cannot_do_is_told(prompts: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        custom_tasks(TaskSettings.model_validate({"prompts": prompts}))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file of tasks"),
        ("x = 1", "needs a list TASKS of tasks"),
        ("TASKS = []", "needs a list TASKS of tasks"),
        ("TASKS = [1]", "needs a list TASKS of tasks"),
        ("import nothing_like_this", "cannot be run: ModuleNotFoundError"),
        ("def", "cannot be run: SyntaxError"),
    ],
)
def test_a_file_that_cannot_do_is_told(tmp_path: Path, content: str | None, message: str) -> None:
    file = tmp_path / "mine.py"
    if content is not None:
        file.write_text(content)
    with pytest.raises(InputError, match=message):
        custom_tasks(TaskSettings(files=(file,)))


def test_a_task_that_breaks_its_word_is_told(tmp_path: Path, world: Path) -> None:
    file = tmp_path / "mine.py"
    for parts, message in (
        ('{"iou": 1.0, "start": 1.0}', "its components are"),
        ('{"iou": 2.0}', "lie between 0 and 1"),
    ):
        file.write_text(
            "from timesight.tasks.temporal_grounding import TemporalGrounding\n"
            "class Mine(TemporalGrounding):\n"
            f"    def reward_components(self, answer, sample):\n        return {parts}\n"
            "TASKS = [Mine()]\n"
        )
        sample = read_jsonl(world / "train.jsonl")[0]
        tasks = custom_tasks(TaskSettings(files=(file,)))
        with pytest.raises(InputError, match=message):
            tasks["temporal_grounding"].reward("<answer>1 to 2</answer>", sample)


def test_a_recipe_names_what_is_wrong() -> None:
    with pytest.raises(RecipeError, match="did you mean prompts"):
        load_recipe("tiny/grpo", ["tasks.promts=x"])
    with pytest.raises(RecipeError, match="the synthetic world does not ask for counting"):
        load_recipe("tiny/grpo", ["data.world.tasks=[counting]"])
    with pytest.raises(RecipeError, match=r"duration_s.*the least comes first: \[3, 8\]"):
        load_recipe("tiny/grpo", ["data.world.duration_s=[8, 3]"])


def test_a_recipe_chooses_what_captions_earn() -> None:
    assert custom_tasks(TaskSettings())["captioning"].component_names == ("format", "event_recall")
    chosen = custom_tasks(TaskSettings(caption_reward="event_f1"))["captioning"]
    assert chosen.component_names == ("format", "event_f1")


@pytest.mark.parametrize("reward", ["boundary_iou", "wasserstein"])
def test_a_recipe_chooses_what_spans_earn(reward: Literal["boundary_iou", "wasserstein"]) -> None:
    tasks = custom_tasks(TaskSettings(span_reward=reward))
    for sample in unseen_samples(5):
        if sample.task not in ("temporal_grounding", "grounded_qa"):
            continue
        task = tasks.of(sample)
        assert task.component_names[:2] == ("format", reward)
        gold = task.gold(sample, think=False)
        assert set(task.rewards([gold], [sample])[0].values()) == {1.0}
        unknown = sample.model_copy(update={"meta": {}})
        assert task.problems(unknown) == [
            f"no meta.duration_s, which {reward} needs (the length of the whole video in seconds)"
        ]
