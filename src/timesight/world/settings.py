"""The settings of a synthetic world."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator

from timesight.tasks.multiple_choice import MultipleChoice

Share = Annotated[float, Field(ge=0, le=1)]
# What may differ from the videos and questions that a model is trained on.
Shift = Literal["longer", "background", "pair", "wording"]
SHIFTS: tuple[Shift, ...] = get_args(Shift)


class WorldSettings(BaseModel):
    """Settings of a synthetic world; the same ones and the same seed give the same samples and frames.

    Args:
        tasks: Tasks of the samples; None: all. Only with quality assessment do some videos have defects.
        duration_s: Least and largest duration of a video.
        radii: Least and largest radius of a shape, as a share of the frame's shorter side; above 0.24 they overlap.
        max_shapes: Largest number of shapes in a video; the least is 1.
        visible_s: Least and largest time for which a shape is visible; None: a share of the video.
        details: Dots and sparks, which only a second look shows, and questions about them.
        dot_share: Least and largest radius of a dot and of a spark, as a share of the shape's radius.
        general: Multiple choice about number, order, direction, before and after, instead of what is in the video.
        shifts: Out of domain: scenes differ from others in one of these, in turns (``meta.shift``).
        label_noise: Share of the answers that are wrong, for pretraining (``Corruption``).
        boundary_jitter_s: The ends of all other spans move by up to so many seconds, for pretraining.
        boundary_delay_s: These spans come late by up to so many seconds: people react to what they mark.
        named_share: Share of the questions with options that name their answer and need no video: from them an
            untrained model learns what a letter stands for.
        listings: Also ask for a listing of what is visible when, from which an untrained model learns to see.
        changing_defects: Every second has another defect, or none, and the picture is asked about second by second,
            from which an untrained model learns what defects are.
        second_look_share: Share of the questions about a part of the video that show only a segment around it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    tasks: tuple[str, ...] | None = None
    duration_s: tuple[float, float] = (3.0, 8.0)
    radii: tuple[Share, Share] = (0.19, 0.24)
    max_shapes: int = Field(default=3, ge=1, le=4)
    visible_s: tuple[float, float] | None = None
    details: bool = False
    dot_share: tuple[Share, Share] = (0.3, 0.4)
    general: bool = False
    shifts: tuple[Shift, ...] = ()
    label_noise: Share = 0.0
    boundary_jitter_s: float = Field(default=0.0, ge=0)
    boundary_delay_s: float = Field(default=0.0, ge=0)
    named_share: Share = 0.0
    listings: bool = False
    changing_defects: bool = False
    second_look_share: Share = 0.0

    @field_validator("duration_s", "radii", "dot_share", "visible_s")
    @classmethod
    def _least_first(cls, ends: tuple[float, float] | None) -> tuple[float, float] | None:
        if ends is not None and ends[0] > ends[1]:
            raise ValueError(f"the least comes first: [{ends[1]:g}, {ends[0]:g}]")
        return ends


# What models are trained on and measured on: everything, details in long videos, out of domain, general ability.
WORLDS: dict[str, WorldSettings] = {
    "short": WorldSettings(),
    "long": WorldSettings(duration_s=(60.0, 120.0), visible_s=(1.0, 3.0), max_shapes=4, details=True),
    "out-of-domain": WorldSettings(shifts=SHIFTS),
    "general": WorldSettings(tasks=(MultipleChoice.name,), general=True),
}
