"""Qwen2-VL: time positions count frames, not seconds."""

from timesight.model.families.base import Family
from timesight.model.positions import use_authors_positions

FAMILY = Family(model_type="qwen2_vl", packs=True, install_positions=use_authors_positions)
