"""What timesight must know of a family of models beyond what ``transformers`` computes."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from timesight.model.attention import TEXT_PREFIX

# The language model's linear layers; the vision tower and its merger are left as they are.
LANGUAGE_MODEL_LINEARS = r".*language_model\.layers\.\d+\.(self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj)"


@dataclass(frozen=True)
class Family:
    """A family of video language models.

    Args:
        model_type: ``model_type`` of its configurations.
        packs: Whether its layers take packed rows (``prefix.layout``) and give what single rows give. Tests must
            show it; other families get the plain path.
        install_positions: Puts the positions that the weights were trained with into a loaded model, where
            ``transformers`` computes others.
        lora_targets: Regular expression of the modules that adapters are added to.
        published: Configurations of published models by hub id, so that planning needs no network.
        new_tiny: Makes a small untrained model and its processor from a tokenizer and a size.
    """

    model_type: str
    packs: bool = False
    install_positions: Callable[[Any], None] | None = None
    lora_targets: str = LANGUAGE_MODEL_LINEARS
    published: dict[str, Any] = field(default_factory=dict)
    new_tiny: Callable[[Any, str], tuple[Any, Any]] | None = None

    def prepare(self, model: Any) -> None:
        """Put what the family needs into a loaded model."""
        if self.install_positions is not None:
            self.install_positions(model)

    def packing_unsupported_reason(self, model: Any) -> str | None:
        """Why prompts cannot be shared in this model's passes, or None where they can."""
        text = model.config.get_text_config()
        if not self.packs:
            return f"{self.model_type} models are not known to take packed rows"
        if set(getattr(text, "layer_types", None) or ["full_attention"]) != {"full_attention"}:
            return "this model has layers that see a window only"
        if not text._attn_implementation.startswith(TEXT_PREFIX):
            return f"its attention is {text._attn_implementation}, not timesight's"
        return None

    def vision_part(self, parameter: str) -> str:
        """``tower`` or ``merger``, which leads to the text: the part of the vision tower a parameter belongs to."""
        return "merger" if "merger" in parameter else "tower"

    def pixels_per_token(self, vision_config: Any) -> int:
        """Pixels of a frame that one visual token stands for."""
        return int(vision_config.patch_size * vision_config.spatial_merge_size) ** 2

    def frames_per_token(self, vision_config: Any) -> int:
        """Consecutive frames that one visual token stands for."""
        return int(vision_config.temporal_patch_size)

    def banned_token_ids(self, tokenizer: Any, vocab_size: int, end_ids: Collection[int]) -> tuple[int, ...]:
        """Tokens that never belong in a reply: vision and control tokens, and ids without a token.

        ``<think>``-like added tokens are ordinary text and stay.
        """
        special = {int(i) for i in tokenizer.all_special_ids}
        special |= {i for i, token in tokenizer.added_tokens_decoder.items() if token.content.startswith("<|")}
        return (*sorted(special - set(end_ids)), *range(len(tokenizer), vocab_size))
