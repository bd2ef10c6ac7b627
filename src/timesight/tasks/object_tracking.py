"""Object tracking: where is an object in each of N frames, given its first box? (paper, section 3.3; GOT-10k)

Reply: ``<answer>[[x0, y0, x1, y1], …]</answer>``, a box for each of the N frames, as fractions of width and height.
Reward components: ``format`` (equation 3) and ``iou`` (equation 4), the mean over frames of the box IoU. The first
box is given, so it is not rewarded; under the paper's protocol it is. Frames where the object is absent are left
out under both.
Metrics, official: as GOT-10k's toolkit computes them: AO, the mean IoU over the pooled frames of all sequences, and
SR@{0.5, 0.75} with IoU > threshold; the first frame and those with the object absent are dropped. The toolkit moves
a box with a negative corner into the frame (``shift_into_frame``); figures agree with its own to 1e-12.
Metrics, paper: the mean over sequences of a sequence's mean IoU, every frame included, and R@{0.5, 0.7} on that
mean; boxes are clipped to the frame.
Metrics, ``official_on_n_frames``: the official formula over the N frames that a model was shown, with boxes
clipped; the official benchmark scores every frame.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache

from pydantic import model_validator

from timesight.errors import InputError
from timesight.geometry import box_iou, clip_box, rounded_box, shift_into_frame
from timesight.tasks.base import OFFICIAL, PAPER, Graded, QuestionForm, Task
from timesight.tasks.form import ReplyForm, Tag
from timesight.tasks.parsing import MAX_BOXES, parse_boxes, shortest
from timesight.types import Box, Evidence, FrameRequest, Judge, Question, Rewards, Sample, Video

Boxes = tuple[Box, ...]
BOX_DIGITS = 3  # replies give thousandths of the frame, so rewards round the truth to them
OFFICIAL_THRESHOLDS = (0.5, 0.75)
PAPER_THRESHOLDS = (0.5, 0.7)


class ObjectTrackingSample(Sample):
    """Where is ``object`` at each of ``times_s`` (N,)?

    ``boxes`` (N, 4) are fractions of the frame, possibly invalid. The first box is given to the model. At the frame
    indices in ``absent`` the object is not visible.
    """

    object: str
    times_s: tuple[float, ...]
    boxes: tuple[tuple[float, float, float, float], ...]
    absent: tuple[int, ...] = ()

    @model_validator(mode="after")
    def _one_box_a_time(self) -> ObjectTrackingSample:
        if len(self.times_s) != len(self.boxes) or not self.boxes:
            raise ValueError(f"{len(self.boxes)} boxes for {len(self.times_s)} times_s: there must be one for each")
        if any(not 0 <= index < len(self.boxes) for index in self.absent):
            raise ValueError(f"absent {list(self.absent)} names no frame: there are {len(self.boxes)}, from 0")
        if self.segments:
            raise ValueError("segments are not for tracking: its frames are those at times_s")
        return self

    def scored(self, first: bool) -> list[int]:
        """Indices of the frames that are scored, all with the object visible, with or without the ``first`` one."""
        return [n for n in range(0 if first else 1, len(self.boxes)) if n not in self.absent]


class ObjectTracking(Task[ObjectTrackingSample, Boxes]):
    """Where is an object in each frame?"""

    name = "object_tracking"
    Sample = ObjectTrackingSample
    form = ReplyForm((Tag("answer", "[[X0, Y0, X1, Y1], ...]"),))
    template = (
        "Follow the {object}, first seen at {first_box}. Give its box in each of the {num_frames} frames, this "
        "first one included, as fractions of width and height. {form}"
    )
    components = ("iou",)
    metric_protocols = ("official_on_n_frames", PAPER)
    question_form = QuestionForm("Follow", "Draw a box over it, and name it", command="/track", needs="box")

    def fields(self, sample: ObjectTrackingSample) -> dict[str, str]:
        """The template fields ``object``, ``first_box`` and ``num_frames``."""
        first = _clipped(sample.boxes[:1], BOX_DIGITS)[0]
        written = _written([first])[1:-1] if first else "an unknown place"
        return {"object": sample.object.strip(), "first_box": written, "num_frames": str(len(sample.boxes))}

    def frames(self, sample: ObjectTrackingSample) -> FrameRequest:
        """Exactly the frames at ``times_s``, whose boxes are known."""
        return FrameRequest(len(sample.times_s), sample.times_s)

    def problems(self, sample: ObjectTrackingSample) -> list[str]:
        """Reversed or non-finite boxes, too many boxes, no frame to score, no object in the first frame."""
        problems = [
            f"box {n} is reversed or not finite" for n in sample.scored(first=True) if not _is_box(sample.boxes[n])
        ]
        if not sample.scored(first=False):
            problems.append("no frame to score")
        if len(sample.boxes) > MAX_BOXES:
            problems.append(f"{len(sample.boxes)} boxes, more than a reply may hold")
        if 0 in sample.absent:
            problems.append("the object is absent from the first frame")
        return problems

    def parse(
        self, reply: str, think: bool = False, strict: bool = True, sample: ObjectTrackingSample | None = None
    ) -> Boxes | None:
        """The boxes in ``reply``; strictly, with ``sample`` given, exactly as many as it has frames."""
        content = self.form.read(reply, "answer", think, strict)
        boxes = parse_boxes(content, clip=not strict) if content is not None else None
        if boxes is not None and strict and sample is not None and len(boxes) != len(sample.boxes):
            return None
        return boxes

    def write(self, answer: Boxes) -> dict[str, str]:
        """A list of lists of four numbers."""
        return {"answer": _written(answer)}

    def truth(self, sample: ObjectTrackingSample) -> Boxes:
        """The true boxes, clipped to the frame and rounded; where the object is absent, its last visible box."""
        seen = sample.scored(first=True)
        last_seen = [max(n for n in seen if n <= frame) for frame in range(len(sample.boxes))]
        boxes = _clipped(tuple(sample.boxes[n] for n in last_seen), BOX_DIGITS)
        return tuple(box for box in boxes if box)

    def reward_components(self, answer: Boxes, sample: ObjectTrackingSample) -> Rewards:
        """``iou``: the mean box IoU (equation 4) over the frames that ``reward_protocol`` scores."""
        truth = _clipped(sample.boxes, BOX_DIGITS)
        return {"iou": _mean(_ious(answer, truth, sample.scored(first=self.reward_protocol == PAPER)))}

    def item_metrics(
        self,
        graded: Sequence[Graded[ObjectTrackingSample, Boxes]],
        protocol: str,
        judge: Judge | None = None,
    ) -> list[dict[str, float] | None]:
        """Mean IoU and success rates of each sequence; a frame without a predicted box has IoU 0."""
        rows: list[dict[str, float] | None] = []
        for sample, _, answer in graded:
            counted = list(range(len(sample.boxes))) if protocol == PAPER else sample.scored(first=False)
            if not counted:
                rows.append(None)
                continue
            truth = _shifted(sample.boxes) if protocol == OFFICIAL else _clipped(sample.boxes)
            ious = _ious(answer or (), truth, counted)
            if protocol == PAPER:
                overlap = _mean(ious)
                rows.append({"overlap": overlap} | {f"R@{t}": float(overlap >= t) for t in PAPER_THRESHOLDS})
            else:
                # An IoU of exactly one half must not pass ``> 0.5`` through rounding errors of fractional boxes.
                success = {f"SR@{t}": _mean([float(round(i, 12) > t) for i in ious]) for t in OFFICIAL_THRESHOLDS}
                rows.append({"AO": _mean(ious)} | success)
        return rows

    def item_weight(self, sample: ObjectTrackingSample, protocol: str) -> float:
        """The number of scored frames, since official metrics pool frames; 1 under the paper's protocol."""
        return 1.0 if protocol == PAPER else float(len(sample.scored(first=False)))

    def baselines(
        self, samples: Sequence[ObjectTrackingSample], durations_s: Sequence[float | None]
    ) -> Mapping[str, list[Boxes]]:
        """The given box in every frame."""
        given = [_clipped(sample.boxes[:1])[0] or Box(0, 0, 0, 0) for sample in samples]
        return {"repeat the given box": [(box,) * len(s.boxes) for box, s in zip(given, samples, strict=True)]}

    def from_question(self, question: Question, video: Video) -> ObjectTrackingSample:
        """Where is the object at ``num_boxes`` evenly spaced times from ``start_s`` to before ``end_s``?"""
        if question.box is None or question.end_s is None:
            raise InputError("tracking needs the object's first box, and from when to when to follow it")
        box = (question.box.x0, question.box.y0, question.box.x1, question.box.y1)
        if not all(0 <= edge <= 1 for edge in box):
            raise InputError("the object's first box leaves the frame: give it as fractions of the frame, 0 to 1")
        start_s, end_s, count = question.start_s, question.end_s, question.num_boxes
        if not 0 <= start_s < end_s < math.inf or count < 1:
            raise InputError("tracking needs a start of 0 s or more, and an end after it")
        return self._without_truth(
            video.model_copy(update={"start_s": start_s, "end_s": end_s}),
            object=question.text,
            times_s=[start_s + n * (end_s - start_s) / count for n in range(count)],
            boxes=[box] * count,
        )

    def question(self, sample: ObjectTrackingSample) -> str:
        """The ``object``."""
        return sample.object

    def evidence(self, answer: Boxes) -> Evidence:
        """The boxes themselves."""
        return Evidence(boxes=answer)


def _ious(answer: Boxes, truth: Sequence[Box | None], frames: Sequence[int]) -> list[float]:
    """IoU in each of ``frames``; 0 where a box is missing or the true one is invalid."""
    pairs = [(answer[n] if n < len(answer) else None, truth[n]) for n in frames]
    return [box_iou(mine, true) if mine is not None and true is not None else 0.0 for mine, true in pairs]


@lru_cache(maxsize=4096)  # the replies of a group share their truth
def _clipped(boxes: tuple[tuple[float, ...], ...], digits: int | None = None) -> tuple[Box | None, ...]:
    """Boxes clipped to the frame and rounded to ``digits``; None for an invalid box."""
    cut = [clip_box(*box) if _is_box(box) else None for box in boxes]
    return tuple(rounded_box(box, digits) if box and digits else box for box in cut)


def _shifted(boxes: Sequence[tuple[float, ...]]) -> tuple[Box | None, ...]:
    """Boxes moved into the frame as the official toolkit moves all boxes; None where no area is left."""
    shifted = (shift_into_frame(*box) if _is_box(box) else None for box in boxes)
    return tuple(box if box and box.x0 < box.x1 and box.y0 < box.y1 else None for box in shifted)


def _is_box(box: tuple[float, ...]) -> bool:
    return all(map(math.isfinite, box)) and box[0] <= box[2] and box[1] <= box[3]


def _written(boxes: Sequence[Box]) -> str:
    rows = (", ".join(shortest(v) for v in (b.x0, b.y0, b.x1, b.y1)) for b in boxes)
    return "[" + ", ".join(f"[{row}]" for row in rows) + "]"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
