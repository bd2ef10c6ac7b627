from __future__ import annotations

import math
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from timesight.errors import RecipeError
from timesight.training.losses import LOSSES, LossInputs, LossOutput, find_loss, replies_weight, sft_loss
from timesight.training.losses.surrogate import kl_estimate
from timesight.training.options import LOSS_TYPES as KNOWN_LOSSES
from timesight.training.options import LossAverage
from timesight.training.recipe import load_recipe
from timesight.training.settings import GrpoSettings

LOSS_TYPES = ["grpo", "bnpo", "dr_grpo", "dapo"]


def grpo_loss(
    logps: torch.Tensor,
    old: torch.Tensor,
    gain: torch.Tensor,
    mask: torch.Tensor,
    settings: GrpoSettings,
    ref: torch.Tensor | None = None,
    sampling: torch.Tensor | None = None,
) -> LossOutput:
    """The loss that ``settings`` ask for, of a step of one pass."""
    inputs = LossInputs(
        logps,
        old,
        gain,
        mask,
        float(mask.sum()),
        settings.max_completion_length,
        ref_logps=ref,
        sampling_logps=sampling,
    )
    return find_loss(settings.loss_type, settings.loss_options())(inputs)


def objective(
    logps: torch.Tensor,
    old: torch.Tensor,
    gain: torch.Tensor,
    mask: torch.Tensor,
    epsilon: float,
    beta: float,
    ref: torch.Tensor,
) -> float:
    """Equation 2 token by token, in plain Python."""
    rows = []
    for r in range(len(logps)):
        total, count = 0.0, 0
        for c in range(logps.shape[1]):
            if mask[r, c]:
                ratio = math.exp(logps[r, c] - old[r, c])
                clipped = min(max(ratio, 1 - epsilon), 1 + epsilon)
                d = float(ref[r, c] - logps[r, c])
                total += min(ratio * float(gain[r]), clipped * float(gain[r])) - beta * (math.exp(d) - d - 1)
                count += 1
        rows.append(total / max(count, 1))
    return -sum(rows) / len(rows)


@pytest.fixture
def tensors() -> dict[str, torch.Tensor]:
    """Six replies of different lengths, one of them empty."""
    generator = torch.Generator().manual_seed(0)
    logps, old, ref = (-torch.rand(6, 9, generator=generator) * 2 for _ in range(3))
    mask = (torch.arange(9)[None] < torch.tensor([9, 5, 1, 0, 3, 7])[:, None]).long()
    return {
        "logps": logps * mask,
        "old": old * mask,
        "ref": ref * mask,
        "gain": torch.randn(6, generator=generator),
        "mask": mask,
    }


@pytest.mark.parametrize("beta", [0.0, 0.04])
def test_loss_is_the_papers_equation(tensors: dict[str, torch.Tensor], beta: float) -> None:
    t = tensors
    parts = grpo_loss(t["logps"], t["old"], t["gain"], t["mask"], GrpoSettings(beta=beta), t["ref"])
    assert float(parts.loss) == pytest.approx(
        objective(t["logps"], t["old"], t["gain"], t["mask"], 0.2, beta, t["ref"]), rel=1e-5
    )


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
@pytest.mark.parametrize("level", ["token", "sequence"])
def test_loss_equals_trls(tensors: dict[str, torch.Tensor], loss_type: str, level: str) -> None:
    """The same tensors through TRL's own trainer method."""
    from trl import GRPOTrainer

    t = tensors
    ours = GrpoSettings.model_validate(
        {
            "loss_type": loss_type,
            "importance_sampling_level": level,
            "beta": 0.04,
            "epsilon": 0.1,
            "epsilon_high": 0.3,
            "max_completion_length": 9,
        }
    )
    loss = float(grpo_loss(t["logps"], t["old"], t["gain"], t["mask"], ours, t["ref"]).loss)
    theirs = GRPOTrainer._compute_loss(_TrlTrainer(ours, t["logps"]), None, _trl_inputs(t))
    assert loss == pytest.approx(float(theirs), rel=1e-5)


class _TrlTrainer(SimpleNamespace):
    """As much of a GRPOTrainer as its loss looks at; everything else is off."""

    def __init__(self, ours: GrpoSettings, logps: torch.Tensor) -> None:
        accelerator = SimpleNamespace(gather=lambda x: x, num_processes=1, reduce=lambda x, reduction: x)
        super().__init__(
            beta=ours.beta,
            epsilon_low=ours.epsilon,
            epsilon_high=ours.epsilon_high,
            loss_type=ours.loss_type,
            importance_sampling_level=ours.importance_sampling_level,
            max_completion_length=ours.max_completion_length,
            args=SimpleNamespace(delta=None, use_bias_correction_kl=False, steps_per_generation=1),
            model=SimpleNamespace(training=True),
            current_gradient_accumulation_steps=1,
            top_entropy_quantile=1.0,
            accelerator=accelerator,
            logps=logps,
            _metrics=defaultdict(lambda: defaultdict(list)),
        )

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return None

    def _get_per_token_logps_and_entropies(self, *args: Any, **kwargs: Any) -> Any:
        return self.logps, torch.zeros_like(self.logps), None


def _trl_inputs(t: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    prompt = torch.zeros(6, 2, dtype=torch.long)
    return {
        "prompt_ids": prompt,
        "prompt_mask": prompt,
        "completion_ids": torch.zeros_like(t["mask"]),
        "completion_mask": t["mask"],
        "advantages": t["gain"],
        "old_per_token_logps": t["old"],
        "ref_per_token_logps": t["ref"],
        "num_items_in_batch": t["mask"].sum(),
    }


def test_clipping_stops_the_gradient_only_where_the_step_went_too_far() -> None:
    logps = torch.tensor([[0.5], [0.5], [-0.5], [-0.5]], requires_grad=True)  # ratios 1.65 and 0.61
    gain = torch.tensor([1.0, -1.0, 1.0, -1.0])
    parts = grpo_loss(logps, torch.zeros(4, 1), gain, torch.ones(4, 1), GrpoSettings())
    parts.loss.backward()
    assert logps.grad is not None
    assert (logps.grad[:, 0] != 0).tolist() == [False, True, True, False]
    assert (parts.metrics["clip_low_share"], parts.metrics["clip_high_share"]) == (0.25, 0.25)


def test_the_upper_clip_can_be_wider() -> None:
    logps = torch.tensor([[0.3]], requires_grad=True)  # a ratio of 1.35
    wide = GrpoSettings(epsilon=0.2, epsilon_high=0.4)
    grpo_loss(logps, torch.zeros(1, 1), torch.ones(1), torch.ones(1, 1), wide).loss.backward()
    assert logps.grad is not None
    assert logps.grad.item() != 0


def test_on_policy_the_gradient_is_that_of_the_policy_gradient() -> None:
    logps = torch.randn(3, 4, requires_grad=True)
    gain = torch.tensor([1.0, -2.0, 0.5])
    grpo_loss(logps, logps.detach(), gain, torch.ones(3, 4), GrpoSettings()).loss.backward()
    torch.testing.assert_close(logps.grad, -gain[:, None].expand(3, 4) / 12)


def test_kl_estimators_by_hand() -> None:
    logp, ref = torch.tensor([-1.0]), torch.tensor([-1.5])
    assert float(kl_estimate(logp, ref, "k1")) == pytest.approx(0.5)
    assert float(kl_estimate(logp, ref, "k2")) == pytest.approx(0.125)
    assert float(kl_estimate(logp, ref, "k3")) == pytest.approx(math.exp(-0.5) + 0.5 - 1)


def test_kl_estimators_agree_on_average() -> None:
    """k1 and k3 are unbiased: over many samples both come to the KL itself."""
    policy, reference = (torch.log_softmax(torch.tensor(x), 0) for x in ([0.3, -0.2, 1.0], [0.0, 0.1, 0.5]))
    exact = float((policy.exp() * (policy - reference)).sum())
    for estimator in ("k1", "k3"):
        expected = float((policy.exp() * kl_estimate(policy, reference, estimator)).sum())
        assert expected == pytest.approx(exact, rel=1e-4)


LOGP = st.one_of(st.floats(-1e6, 0), st.just(-math.inf), st.just(-math.nan))


@settings(max_examples=300)
@given(
    st.lists(st.tuples(LOGP, LOGP, LOGP, st.integers(0, 3)), min_size=1, max_size=6),
    st.sampled_from(LOSS_TYPES),
    st.sampled_from(["token", "sequence"]),
    st.sampled_from(["k1", "k2", "k3"]),
)
def test_nothing_infinite_comes_out(
    rows: list[tuple[float, float, float, int]], loss_type: str, level: str, estimator: str
) -> None:
    """Any log-probs, any lengths: empty replies, one token, all truncated, one reply."""
    chosen = GrpoSettings.model_validate(
        {"loss_type": loss_type, "importance_sampling_level": level, "kl_estimator": estimator, "beta": 0.1}
    )
    logps, old, ref = (torch.tensor([[row[i]] * 3 for row in rows]) for i in range(3))
    logps.requires_grad_()
    mask = (torch.arange(3)[None] < torch.tensor([row[3] for row in rows])[:, None]).long()
    gain = torch.linspace(-2, 2, len(rows))
    parts = grpo_loss(logps, old, gain, mask, chosen, ref)
    parts.loss.backward()
    assert parts.loss.isfinite()
    assert logps.grad is not None
    assert logps.grad.isfinite().all()
    assert (logps.grad[mask == 0] == 0).all()
    assert all(math.isfinite(value) for value in parts.metrics.values())


@pytest.mark.parametrize("average", ["token", "square", "reply"])
@given(lengths=st.lists(st.integers(0, 6), min_size=1, max_size=5), seed=st.integers(0, 999))
def test_sft_loss_weighs_tokens_by_the_length_of_their_reply(
    average: LossAverage, lengths: list[int], seed: int
) -> None:
    logps = -torch.rand(len(lengths), 6, generator=torch.Generator().manual_seed(seed))
    mask = (torch.arange(6) < torch.tensor(lengths)[:, None]).long()
    weight = {"token": lambda n: 1.0, "square": lambda n: n**-0.5, "reply": lambda n: 1 / n}[average]
    total = sum(weight(n) * -float(logps[r, c]) for r, n in enumerate(lengths) for c in range(n))
    expected = total / sum(weight(n) * n for n in lengths if n) if any(lengths) else 0.0
    assert float(sft_loss(logps, mask, average)) == pytest.approx(expected, abs=1e-5)


def test_what_the_generator_gave_is_compared_with_the_trainers() -> None:
    old = torch.tensor([[-1.0, -2.0], [-1.0, -1.0]])
    sampling = torch.tensor([[-1.0, -3.5], [-1.0, -1.1]])
    mask, gain = torch.ones(2, 2), torch.tensor([1.0, -1.0])
    plain = grpo_loss(old, old, gain, mask, GrpoSettings(beta=0), None, sampling)
    d = torch.tensor([0.0, 1.5, 0.0, 0.1])  # trainer minus generator
    assert plain.metrics["sampler_kl"] == pytest.approx(float((d.exp() - d - 1).mean()), rel=1e-5)
    assert float(plain.loss) == 0.0
    chosen: dict[str, Any] = {"beta": 0, "importance_sampling_clip_max": 2.0}
    truncated = GrpoSettings(importance_sampling_correction="token_truncate", **chosen)
    weights = [[1.0, 2.0], [1.0, math.exp(0.1)]]
    expected = (-sum(weights[0]) / 2 + sum(weights[1]) / 2) / 2
    assert float(grpo_loss(old, old, gain, mask, truncated, None, sampling).loss) == pytest.approx(
        expected, rel=1e-5
    )
    masked = GrpoSettings(importance_sampling_correction="sequence_mask", **chosen)
    expected = (0.0 + math.exp(0.1)) / 2  # the first sequence is e^1.5 times as likely: beyond the cap
    assert float(grpo_loss(old, old, gain, mask, masked, None, sampling).loss) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("mode", ["token_truncate", "sequence_mask"])
def test_the_corrected_loss_equals_trls(tensors: dict[str, torch.Tensor], mode: str) -> None:
    """TRL's trainer weighs tokens by the ratio it has computed before; here by the formula of its ``mode``."""
    from trl import GRPOTrainer

    t = tensors
    sampling = t["old"] + 0.05 * t["ref"] * t["mask"]
    ours = GrpoSettings.model_validate(
        {"beta": 0.04, "importance_sampling_correction": mode, "importance_sampling_clip_max": 1.2}
        | {"max_completion_length": 9, "epsilon_high": 0.2}
    )
    loss = grpo_loss(t["logps"], t["old"], t["gain"], t["mask"], ours, t["ref"], sampling).loss
    difference = (t["old"] - sampling) * t["mask"]
    if mode == "token_truncate":
        ratio = difference.exp().clamp(max=1.2)
    else:
        ratio = difference.sum(-1, keepdim=True).exp()
        ratio = ratio.masked_fill(ratio > 1.2, 0.0)
        assert len(set(ratio.flatten().tolist())) > 2  # some are beyond the cap and some are not
        assert bool((ratio == 0).any())
    trl = _TrlTrainer(ours, t["logps"])
    trl.use_vllm = trl.vllm_importance_sampling_correction = True
    trl.vllm_importance_sampling_mode = mode
    inputs = _trl_inputs(t) | {"importance_sampling_ratio": ratio}
    assert float(loss) == pytest.approx(float(GRPOTrainer._compute_loss(trl, None, inputs)), rel=1e-5)


def custom_loss(inputs: LossInputs, *, beta: float) -> LossOutput:
    return LossOutput(beta * inputs.logps.sum())


def test_a_loss_of_ones_own_is_named_by_its_path() -> None:
    loss = find_loss(f"{__name__}:custom_loss", {"beta": 2.0, "epsilon": 0.1})
    ones = torch.ones(1, 2)
    assert float(loss(LossInputs(ones, ones, ones[0, :1], ones, 2.0, 2)).loss) == 4.0
    with pytest.raises(RecipeError, match=r"no_such_module:x: cannot be imported .* is one of grpo, bnpo"):
        find_loss("no_such_module:x", {})
    with pytest.raises(RecipeError, match="ppo is not known: it is one of grpo, bnpo, dr_grpo, dapo, or module"):
        find_loss("ppo", {})
    with pytest.raises(RecipeError, match="loss_type: ppo is not known"):
        load_recipe("tiny/grpo", ["grpo.loss_type=ppo"])
    with pytest.raises(RecipeError, match="scale_rewards: std is not known: it is one of group, batch"):
        load_recipe("tiny/grpo", ["grpo.scale_rewards=std"])
    assert list(LOSSES) == list(KNOWN_LOSSES)


@pytest.mark.parametrize("loss_type", ["grpo", "dr_grpo", "dapo"])
def test_a_reply_weighs_the_same_in_a_large_pass_and_a_small_one(
    tensors: dict[str, torch.Tensor], loss_type: str
) -> None:
    t, loss = tensors, LOSSES[loss_type]
    names = ("logps", "old", "gain", "mask")
    tokens = float(t["mask"].sum())
    whole = loss(LossInputs(*(t[name] for name in names), tokens, 9, replies_per_pass=6)).loss
    passes = [
        loss(LossInputs(*(t[name][rows] for name in names), tokens / 2, 9, replies_per_pass=3)).loss
        for rows in (slice(4), slice(4, 6))
    ]
    torch.testing.assert_close(sum(passes) / 2, whole)


@pytest.mark.parametrize("average", ["token", "square", "reply"])
def test_sft_weighs_replies_over_the_whole_step(tensors: dict[str, torch.Tensor], average: LossAverage) -> None:
    logps, mask = tensors["logps"], tensors["mask"]
    total = replies_weight(mask.sum(1).tolist(), average)
    passes = [sft_loss(logps[rows], mask[rows], average, total / 2) for rows in (slice(4), slice(4, 6))]
    torch.testing.assert_close(sum(passes) / 2, sft_loss(logps, mask, average))
