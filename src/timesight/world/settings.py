"""The settings of a synthetic world."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

Share = Annotated[float, Field(ge=0, le=1)]


class WorldSettings(BaseModel):
    """Settings of a synthetic world; the same ones and the same seed give the same samples and frames.

    Args:
        tasks: Tasks of the samples; None: all. Only with quality assessment do some videos have defects.
        duration_s: Least and largest duration of a video.
        max_shapes: Largest number of shapes in a video; the least is 1.
        label_noise: Share of the answers that are random, for pretraining.
        boundary_jitter_s: The ends of all other spans move by up to so many seconds, for pretraining.
        named_share: Share of the multiple-choice questions that name their answer and need no video: from them an
            untrained model learns what a letter stands for.
        details: Larger frames, marks and flashes, and questions about them.
        mark_share: Least and largest radius of a mark, as a share of the shape's radius.
        second_look_share: Share of the questions about a part of the video that show only a segment around it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    tasks: tuple[str, ...] | None = None
    duration_s: tuple[float, float] = (3.0, 8.0)
    max_shapes: int = Field(default=2, ge=1, le=4)
    label_noise: Share = 0.0
    boundary_jitter_s: float = Field(default=0.0, ge=0)
    named_share: Share = 0.0
    details: bool = False
    mark_share: tuple[Share, Share] = (0.2, 0.3)  # marks are 3 to 7 pixels wide where the shorter side has 56
    second_look_share: Share = 0.0

    @field_validator("duration_s", "mark_share")
    @classmethod
    def _least_first(cls, ends: tuple[float, float]) -> tuple[float, float]:
        if ends[0] > ends[1]:
            raise ValueError(f"the least comes first: [{ends[1]:g}, {ends[0]:g}]")
        return ends
