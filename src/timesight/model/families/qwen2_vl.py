"""Qwen2-VL: time positions count frames, not seconds."""

from transformers import Qwen2VLConfig

from timesight.model.families.base import Family
from timesight.model.positions import use_authors_positions

QWEN2_7B = {  # the language model, which Qwen2.5-VL-7B has too
    "vocab_size": 152064,
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
}
_QWEN2_VL_7B = Qwen2VLConfig(
    text_config=QWEN2_7B,
    vision_config={"depth": 32, "embed_dim": 1280, "hidden_size": 3584, "num_heads": 16, "patch_size": 14},
    tie_word_embeddings=False,
)

FAMILY = Family(
    model_type="qwen2_vl",
    packs=True,
    install_positions=use_authors_positions,
    published={"Qwen/Qwen2-VL-7B-Instruct": _QWEN2_VL_7B},
)
