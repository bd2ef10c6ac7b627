from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timesight.data.mixture import Mixture, MixtureSource
from timesight.errors import SampleError
from timesight.tasks import TASKS
from timesight.training.dataset import PromptDataset
from timesight.training.schedule import QuestionGrouper, ScheduleEntry, make_schedule
from timesight.training.settings import CurriculumSettings, DataSettings
from timesight.types import Sample


def samples(name: str, count: int, problems: int = 0) -> list[Sample]:
    task = TASKS["temporal_grounding"]
    return [
        task.Sample.model_validate(
            {
                "id": f"{name}{n}",
                "task": task.name,
                "video": Path("v.mp4"),
                "query": "x",
                "spans": [(0, n + 1)],
                "meta": {"duration_s": float(count - n)},
                "problems": ("odd",) if n < problems else (),
            }
        )
        for n in range(count)
    ]


def order(mixture: Mixture, seed: int) -> Iterator[int]:
    return chain.from_iterable(mixture.epochs(seed))


@given(
    parts=st.lists(
        st.tuples(st.integers(1, 20), st.sampled_from([0.25, 0.5, 1.0, 1.5, 2.0, 3.0])), min_size=1, max_size=4
    ),
    seed=st.integers(0, 99),
)
def test_each_sample_is_seen_as_often_as_its_weight_says(parts: list[tuple[int, float]], seed: int) -> None:
    mixture = Mixture([MixtureSource(samples(str(n), count), weight) for n, (count, weight) in enumerate(parts)])
    epochs = 4  # after so many, every weight has made whole rounds
    length = sum(int(epochs * weight * count) for count, weight in parts)
    seen = Counter(islice(order(mixture, seed), length))
    first = 0
    for count, weight in parts:
        assert all(seen[first + n] == epochs * weight for n in range(count))
        first += count


def test_an_epoch_holds_everything_once_in_an_order_of_its_own() -> None:
    mixture = Mixture([MixtureSource(samples("a", 5)), MixtureSource(samples("b", 7))])
    assert mixture.epoch_length == 12
    stream = list(islice(order(mixture, 3), 36))
    epochs = [stream[n : n + 12] for n in (0, 12, 24)]
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert stream == list(islice(order(mixture, 3), 36))
    assert stream != list(islice(order(mixture, 4), 36))


def test_limits_take_usable_samples_and_the_same_ones_each_time() -> None:
    mixture = Mixture([MixtureSource(samples("a", 10, problems=4), limit=3), MixtureSource(samples("b", 2))])
    assert mixture.num_problems == 4
    chosen = [sample.id for sample in mixture.usable(0).samples]
    assert len(chosen) == 5
    assert not {f"a{n}" for n in range(4)} & set(chosen)
    assert chosen == [sample.id for sample in mixture.usable(0).samples]
    assert any(chosen != [s.id for s in mixture.usable(seed).samples] for seed in range(1, 5))
    with pytest.raises(SampleError, match="none of the 3 samples has truth"):
        Mixture([MixtureSource(samples("a", 3, problems=3))]).usable(0)


def test_a_curriculum_may_go_by_any_number() -> None:
    mixture = Mixture([MixtureSource(samples("a", 50))])
    by = CurriculumSettings(by="meta.duration_s", share=0.5)
    turns = make_schedule(QuestionGrouper(mixture), 100, seed=0, think_share=0, curriculum=by)
    durations = [mixture.samples[turn.samples[0]].meta["duration_s"] for turn in turns]
    assert max(durations[:10]) <= 4 < max(durations[50:])
    with pytest.raises(SampleError, match=r"a0: the curriculum goes by meta\.size, which is None here"):
        make_schedule(
            QuestionGrouper(mixture), 100, seed=0, think_share=0, curriculum=CurriculumSettings(by="meta.size")
        )


def test_a_curriculum_may_have_phases() -> None:
    sizes = {"a": 50, "b": 30, "c": 20}
    mixture = Mixture([MixtureSource(samples(name, count), name=name) for name, count in sizes.items()])
    phases = ({"share": 0.25, "weights": {"a": 1}}, {"share": 0.5, "weights": {"b": 2, "c": 1}})
    by = CurriculumSettings.model_validate({"phases": phases})
    turns = make_schedule(QuestionGrouper(mixture), 400, seed=0, think_share=0, curriculum=by)
    shown = [mixture.samples[turn.samples[0]].id[0] for turn in turns]
    assert set(shown[:100]) == {"a"}
    assert 3 * shown[100:300].count("c") == pytest.approx(shown[100:300].count("b"), abs=15)
    assert set(shown[300:]) == {"a", "b", "c"}


@pytest.mark.parametrize("num_entries", range(1, 20))
def test_phases_fill_schedules_of_any_length(num_entries: int) -> None:
    mixture = Mixture([MixtureSource(samples(name, 5), name=name) for name in "ab"])
    by = CurriculumSettings.model_validate({"phases": [{"share": 0.5, "weights": {name: 1}} for name in "ab"]})
    shown = [
        mixture.samples[turn.samples[0]].id[0]
        for turn in make_schedule(QuestionGrouper(mixture), num_entries, seed=0, think_share=0, curriculum=by)
    ]
    assert shown == sorted(shown)
    assert abs(shown.count("a") - num_entries / 2) <= 0.5


def test_a_phase_whose_sources_are_empty_is_refused() -> None:
    mixture = Mixture([MixtureSource(samples("a", 5), name="a"), MixtureSource([], name="b")])
    by = CurriculumSettings.model_validate({"phases": [{"share": 0.5, "weights": {"b": 1}}]})
    with pytest.raises(SampleError, match=r"curriculum.phases: b have no sample"):
        make_schedule(QuestionGrouper(mixture), 10, seed=0, think_share=0, curriculum=by)


@pytest.mark.parametrize(
    ("curriculum", "said"),
    [
        ({"phases": [{"share": 0.5, "weights": {"other": 1}}]}, "no source other; there are v.jsonl"),
        ({"phases": [{"share": 0.5, "weights": {"v.jsonl": 0}}]}, "needs a source with a weight above 0"),
        ({"phases": [{"share": 0.6, "weights": {"v.jsonl": 1}}] * 2}, "more than the run"),
        ({"by": "meta.size", "phases": [{"share": 0.6, "weights": {"v.jsonl": 1}}]}, "set phases, or by and share"),
    ],
)
def test_phases_that_cannot_be_are_refused(curriculum: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        DataSettings.model_validate({"jsonl": "v.jsonl", "curriculum": curriculum})


def test_phases_do_not_choose_between_sources_of_one_name() -> None:
    twice = [{"jsonl": "v.jsonl", "tasks": [task]} for task in ("captioning", "open_qa")]
    with pytest.raises(ValueError, match=r"v\.jsonl are several sources"):
        DataSettings.model_validate(
            {"sources": twice, "curriculum": {"phases": [{"share": 0.5, "weights": {"v.jsonl": 1}}]}}
        )


def test_a_curriculum_keeps_to_the_weights() -> None:
    """Both sources hold the same durations, so that the easiest share is the same share of either."""
    mixture = Mixture([MixtureSource(samples("a", 100), 0.1), MixtureSource(samples("b", 100), 3.0)])
    by = CurriculumSettings(by="meta.duration_s", share=0.5)
    turns = make_schedule(QuestionGrouper(mixture), 8000, seed=0, think_share=0, curriculum=by)[:4000]
    drawn = Counter(mixture.samples[turn.samples[0]].id[0] for turn in turns)
    assert drawn["a"] / len(turns) == pytest.approx(0.1 / 3.1, rel=0.2)
    durations = [mixture.samples[turn.samples[0]].meta["duration_s"] for turn in turns]
    assert max(durations[:500]) <= 8 < 90 < max(durations)


@given(batch_size=st.integers(1, 4), num_processes=st.integers(1, 3), num_turns=st.integers(1, 40))
def test_reading_ahead_follows_the_batches_that_a_process_gets(
    batch_size: int, num_processes: int, num_turns: int
) -> None:
    reader: Any = SimpleNamespace(settings=SimpleNamespace(ahead=5))
    schedule = [ScheduleEntry((n,), False) for n in range(num_turns)]
    for rank in range(num_processes):
        dataset = PromptDataset(
            None,  # type: ignore[arg-type]
            [],
            schedule,
            reader,
            batch_size,
            process=rank,
            num_processes=num_processes,
        )
        mine = [n for n in range(num_turns) if n // batch_size % num_processes == rank]
        for place, index in enumerate(mine):
            assert list(dataset._following(index)) == mine[place : place + 6]
