"""Training on what is neither too easy nor too hard, by the rewards of a preview (``data.difficulty``)."""

from __future__ import annotations

from timesight.artifacts import PreviewEntry, read_records
from timesight.data.mixture import Mixture
from timesight.errors import InputError, SampleError
from timesight.training.settings import DifficultySettings


def by_difficulty(mixture: Mixture, difficulty: DifficultySettings) -> Mixture:
    """The samples of ``mixture`` that a preview found neither too easy nor too hard.

    Those whose video it could not read are left out.

    Raises:
        InputError: If one of them was not previewed, or the file holds previews with several settings.
        SampleError: If none is left.
    """
    previewed = read_records(difficulty.preview, PreviewEntry)
    if len({entry.settings for entry in previewed}) > 1:
        raise InputError(
            f"{difficulty.preview}: holds previews of several models or settings: preview again into another --out"
        )
    entries = {entry.id: entry for entry in previewed}
    unknown = [sample.id for sample in mixture.samples if sample.id not in entries]
    if unknown:
        total = len(mixture.samples)
        raise InputError(
            f"{difficulty.preview}: {len(unknown)} of {total} samples are not in it, such as {unknown[0]}: preview "
            f"all of them (--preview --num-prompts {total})"
        )
    kept = mixture.only(lambda sample: _suits(entries[sample.id], difficulty))
    if not kept.samples:
        raise SampleError(f"data.difficulty: keeps none of the {len(mixture.samples)} samples; widen its bounds")
    return kept


def _suits(entry: PreviewEntry, difficulty: DifficultySettings) -> bool:
    if entry.mean_reward is None:
        return False
    low, high = difficulty.min_reward, difficulty.max_reward
    in_bounds = low <= entry.mean_reward and (high is None or entry.mean_reward <= high)
    return in_bounds and entry.reward_std >= difficulty.min_std
