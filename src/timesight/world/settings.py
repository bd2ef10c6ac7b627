"""What a synthetic world is like: the one copy of its settings."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

Share = Annotated[float, Field(ge=0, le=1)]


class WorldSettings(BaseModel):
    """Settings of a synthetic world; the same ones and the same seed give the same samples and frames.

    Args:
        tasks: What is asked about the videos; only where quality is among them are some shown badly. None: all.
        duration_s: Least and most of a video.
        max_shapes: In a video, 1 to so many.
        label_noise: Share of the answers that are random, for pretraining.
        boundary_jitter_s: Ends of other spans move by up to so many seconds, for pretraining.
        named_share: Of the multiple-choice questions, those that name their answer and need no video: a model
            without any training learns from them what a letter stands for.
        details: Larger frames, marks and flashes, and questions about them.
        mark_share: Size of marks as a share of the shape's radius, least and most.
        second_look_share: Of the questions that rest on a part of the video, those that show a segment around it.
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
