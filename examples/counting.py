"""A task of the user: how many times does something happen? A recipe names this file, and that is all.

One sample is one line of JSONL:

    {"id": "gym#0", "task": "counting", "video": "gym.mp4", "query": "the rope is jumped", "count": 12}
"""

from collections.abc import Sequence

from timesight.tasks import Graded, Task
from timesight.tasks.form import ReplyForm, Tag
from timesight.types import Judge, Rewards, Sample


class CountingSample(Sample):
    """How many times does ``query`` happen? ``count`` times."""

    query: str
    count: int


class Counting(Task[CountingSample, int]):
    """Reply: ``<answer>12</answer>``. Rewards: right or not, and how close."""

    name = "counting"
    Sample = CountingSample
    form = ReplyForm((Tag("answer", "NUMBER"),))
    template = "How many times does this happen: {query}? {form}"
    components = ("accuracy", "closeness")

    def fields(self, sample: CountingSample) -> dict[str, str]:
        return {"query": sample.query}

    def problems(self, sample: CountingSample) -> list[str]:
        return ["the count is negative"] if sample.count < 0 else []

    def parse(
        self, reply: str, think: bool = False, strict: bool = True, sample: CountingSample | None = None
    ) -> int | None:
        said = (self.form.read(reply, "answer", think, strict) or "").strip()
        return int(said) if said.isascii() and said.isdigit() and len(said) <= 6 else None

    def write(self, answer: int) -> dict[str, str]:
        return {"answer": str(answer)}

    def truth(self, sample: CountingSample) -> int:
        return sample.count

    def reward_components(self, answer: int, sample: CountingSample) -> Rewards:
        error = abs(answer - sample.count)
        return {"accuracy": float(error == 0), "closeness": 1 / (1 + error)}

    def item_metrics(
        self, graded: Sequence[Graded[CountingSample, int]], protocol: str, judge: Judge | None = None
    ) -> list[dict[str, float] | None]:
        return [{"accuracy": float(answer == sample.count)} for sample, _, answer in graded]


TASKS = [Counting()]
