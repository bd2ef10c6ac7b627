"""``timesight demo``: the whole path on a machine with two cores, no GPU and no data set."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from timesight.cli.options import json_option

if TYPE_CHECKING:
    from timesight.evaluation import EvalResult
    from timesight.types import Sample

RECIPE = "tiny/grpo"
NUM_TEST_VIDEOS = 400
MODES = {"greedy": 0.0, "sampled": 1.0}  # temperature
METRIC = "mIoU"
NOTE = (
    "The embedded model was pretrained on noisy labels: 30% of the spans are random, the others come up to "
    "1.4 s late, with jitter. GRPO, with exact rewards, improves on these labels."
)


@click.command(epilog="Example: timesight demo --out runs/demo", short_help="Show the whole path in minutes.")
@click.option("--out", default=Path("runs/demo"), show_default=True, type=click.Path(path_type=Path))
@click.option(
    "--seed",
    default=0,
    show_default=True,
    type=click.IntRange(0),
    help="Seed of the world and of training.",
)
@json_option
def command(out: Path, seed: int, as_json: bool) -> None:
    """Measure the embedded tiny model, improve it with GRPO, measure it again, and write a report.

    Everything is real: .mp4 files, the decoder, the trainer. Stop it with Ctrl-C; the same command
    resumes.
    """
    from timesight.cli.console import ERR, print_json, quiet_libraries
    from timesight.cli.training import run_with_progress
    from timesight.report import build_report
    from timesight.training.recipe import load_recipe
    from timesight.training.run_dir import init_run_dir

    quiet_libraries()
    recipe = load_recipe(RECIPE, [f"seed={seed}", f"data.world.seed={seed}"])
    init_run_dir(recipe, out)
    demo = _Demo(out, seed, recipe)
    ERR.print(f"[bold]timesight demo[/bold] in {out}", soft_wrap=True)
    ERR.print("[dim]Ctrl-C stops it; the same command resumes.[/dim]")
    with demo.timed("world"):
        samples = demo.write_test_world()
    with demo.timed("before"):
        before = {mode: demo.measure(samples, "before", "tiny", mode) for mode in MODES}
    with demo.timed("train"):
        run_with_progress(recipe, out)
    with demo.timed("after"):
        after = {mode: demo.measure(samples, "after", str(out), mode) for mode in MODES}
    with demo.timed("report"):
        answer = demo.ask_one(samples)
        comparison = demo.compare(before, after)
        demo.keep_timelines(samples, before["greedy"], after["greedy"])
        report = build_report(out)
    demo.show(before, after, comparison, answer, report)
    if as_json:
        print_json(
            {
                "before": {"miou": comparison["greedy"]["before"]},
                "after": {"miou": comparison["greedy"]["after"]},
                "difference": comparison["difference"],
                "sampled": comparison["sampled"],
                "num_videos": comparison["num_videos"],
                "num_items": comparison["num_items"],
                "seconds": demo.seconds(),
                "stages_s": demo.stages(),
                "run_dir": str(out),
            }
        )


@dataclass
class _Demo:
    """The demo's steps; each keeps what it made in the run directory and is not done twice."""

    out: Path
    seed: int
    recipe: Any

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time of this block to the stage's, across interruptions."""
        started = time.perf_counter()
        try:
            yield
        finally:
            stages = self.stages()
            stages[stage] = round(stages.get(stage, 0.0) + time.perf_counter() - started, 1)
            self.out.mkdir(parents=True, exist_ok=True)
            (self.out / "seconds.json").write_text(json.dumps(stages), encoding="utf-8")

    def stages(self) -> dict[str, float]:
        """Seconds spent by stage."""
        file = self.out / "seconds.json"
        return dict(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else {}

    def seconds(self) -> float:
        """Seconds spent in all."""
        return round(sum(self.stages().values()), 1)

    def write_test_world(self) -> list[Sample]:
        """Write the held-out videos, unless they exist, and return their questions."""
        from timesight.cli.console import progress
        from timesight.data import read_jsonl
        from timesight.world import WorldSettings, write_world

        file = self.out / "world" / "test.jsonl"
        if not file.exists():
            with progress("held-out videos", NUM_TEST_VIDEOS) as advance:
                write_world(
                    self.out / "world",
                    {"test": NUM_TEST_VIDEOS},
                    WorldSettings(tasks=self.recipe.data.world.tasks),
                    seed=self.recipe.data.world.seed,
                    on_video=advance,
                )
        return read_jsonl(file)

    def measure(self, samples: list[Sample], when: str, model: str, mode: str) -> EvalResult:
        """Evaluate ``model``; replies of an interrupted run are used."""
        from timesight.artifacts import ITEMS_FILE, write_records
        from timesight.cli.console import progress
        from timesight.evaluation import score_replies
        from timesight.evaluation.runner import collect_replies
        from timesight.generate.local import LocalGenerator
        from timesight.infer.answer import InferenceConfig
        from timesight.model.load import load_policy

        config = InferenceConfig(
            self.recipe.video,
            temperature=MODES[mode],
            batch_size=64,
            max_new_tokens=self.recipe.grpo.max_completion_length,
            seed=self.seed,
        )
        folder = self.out / "eval" / f"{when}-{mode}"
        with progress(f"{when}, {mode}", len(samples)) as advance:
            generator = LocalGenerator(load_policy(model))
            replies = collect_replies(generator, samples, config, folder, advance)
        result = score_replies("synthetic world, held out", samples, replies, think=False)
        write_records(folder / ITEMS_FILE, result.items)
        return result

    def ask_one(self, samples: list[Sample]) -> dict[str, Any]:
        """Ask the trained model about one held-out video."""
        from timesight.infer.ask import ask
        from timesight.model.load import load_policy
        from timesight.tasks import TASKS
        from timesight.types import Question

        sample: Any = samples[self.seed % len(samples)]
        question = Question(TASKS.of(sample).question(sample), sample.task)
        reply = ask(load_policy(self.out), sample.video, question, budget=self.recipe.video)
        answer = {
            "question": f"When does this happen: {sample.query}?",
            "text": reply.text,
            "truth": " and ".join(f"{start} to {end} s" for start, end in sample.spans),
            "video": str(sample.video.path),
        }
        (self.out / "answer.json").write_text(json.dumps(answer), encoding="utf-8")
        return answer

    def compare(self, before: dict[str, EvalResult], after: dict[str, EvalResult]) -> dict[str, Any]:
        """Compare the figures before and after training, and write them for the report."""
        from timesight.evaluation.compare import compare

        greedy = (before["greedy"], after["greedy"])
        changes = compare(*({item.id: item for item in result.items} for result in greedy)).parts[0].metrics[METRIC]
        columns = [
            {"name": f"{when}, {mode}", **result.to_json()["results"]["official"]}
            for when, results in (("before", before), ("after", after))
            for mode, result in results.items()
        ]
        baselines = greedy[0].results["official"].baselines
        comparison = {
            mode: {
                "before": before[mode].results["official"].metrics[METRIC],
                "after": after[mode].results["official"].metrics[METRIC],
            }
            for mode in MODES
        } | {
            "difference": {"mean": changes.difference, "low": changes.low, "high": changes.high},
            "num_items": greedy[0].num_items,
            "num_videos": greedy[0].num_videos,
            "num_unparsable": {"before": greedy[0].num_unparsable, "after": greedy[1].num_unparsable},
            "columns": columns + [{"name": name, "metrics": metrics} for name, metrics in baselines.items()],
            "note": NOTE,
        }
        (self.out / "comparison.json").write_text(json.dumps(comparison, indent=1), encoding="utf-8")
        return comparison

    def keep_timelines(self, samples: list[Sample], before: EvalResult, after: EvalResult) -> None:
        """Pick items for the report and write their frames next to it."""
        from timesight.cli.timelines import write_timelines

        write_timelines(self.out, samples, before, after, self.recipe.video, self.seed)

    def show(
        self,
        before: dict[str, EvalResult],
        after: dict[str, EvalResult],
        comparison: dict[str, Any],
        answer: dict[str, Any],
        report: Path,
    ) -> None:
        """Print the summary."""
        from timesight.cli.console import OUT, metric_table, percent
        from timesight.statistics import FEW_NOTE, are_few

        columns: dict[str, dict[str, str]] = {}
        for mode in MODES:
            for when, results in (("before", before), ("after", after)):
                metrics = results[mode].results["official"].metrics
                columns[f"{when}\n{mode}"] = {name: percent(value) for name, value in metrics.items()}
        for name, metrics in before["greedy"].results["official"].baselines.items():
            columns[name.replace(" ", "\n", 1)] = {key: percent(value) for key, value in metrics.items()}
        difference = comparison["difference"]
        OUT.print(
            metric_table(
                f"{comparison['num_items']} questions on {comparison['num_videos']} held-out videos, percent",
                columns,
            )
        )
        OUT.print(
            f"GRPO, greedy: [bold]{100 * difference['mean']:+.1f}[/bold] mIoU, "
            f"95% interval {100 * difference['low']:+.1f} to {100 * difference['high']:+.1f} (paired, over videos)"
        )
        if are_few(comparison["num_videos"]):
            OUT.print(FEW_NOTE)
        OUT.print(f"{answer['question']}\n  {answer['text']}  [dim]truth {answer['truth']}[/dim]")
        OUT.print(f"Set-up aside this took {self.seconds() / 60:.1f} minutes. Report: {report}", soft_wrap=True)
