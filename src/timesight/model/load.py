"""Loading a policy from a model folder, a run directory, an adapter or a hub id."""

from __future__ import annotations

import json
import logging
from inspect import signature
from pathlib import Path
from platform import machine
from typing import Any

import torch
from peft import PeftModel
from transformers import (
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    AutoConfig,
    AutoModelForImageTextToText,
    AutoProcessor,
    BitsAndBytesConfig,
    GenerationConfig,
)
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from transformers.utils import is_bitsandbytes_available

from timesight.errors import InputError
from timesight.model.families import family_of
from timesight.model.policy import Policy
from timesight.model.speed import speed_up
from timesight.model.tiny import EMBEDDED, embedded_path

LOGGER = logging.getLogger("timesight")
ADAPTER_FILE = "adapter_config.json"
# Of a checkpoint's files the one that is written last; before version 0.2 it was the other.
TRAINING_STATE, OLD_TRAINING_STATE = "training_state.json", "trainer_state.json"


def load_policy(
    path: str | Path = EMBEDDED, *, device: str | None = None, dtype: str = "auto", quantize: str | None = None
) -> Policy:
    """Load a Qwen-VL model.

    Args:
        path: Model folder, run directory (its newest checkpoint), PEFT adapter (merged into its base model), or hub
            id; the embedded tiny model by default.
        device: A GPU if there is one.
        dtype: ``float32``, ``bfloat16``, ``as_saved``; ``mixed``: float32 weights with bf16 matrix products where
            the CPU has bf16 instructions, as training needs (steps of 1e-6 vanish in bf16 weights);
            ``auto``: mixed on CPUs, as saved on GPUs.
        quantize: ``4bit`` keeps the weights of linear layers in four bits (NF4).

    Raises:
        InputError: If there is no such model, or it is of another kind.
    """
    where = resolve(path)
    adapter = Path(where) if (Path(where) / ADAPTER_FILE).is_file() else None
    base = base_folder(path)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    on_cpu = device.startswith("cpu")
    kinds: dict[str, Any] = {
        "float32": torch.float32,
        "bfloat16": torch.bfloat16,
        "mixed": torch.float32,
        "as_saved": "auto",
        "auto": torch.float32 if on_cpu else "auto",
    }
    quantization = {} if quantize is None else {"quantization_config": _four_bit(), "device_map": device}
    try:
        config = AutoConfig.from_pretrained(base, trust_remote_code=False)  # unset, it would ask on the terminal
        if not _is_qwen_vl_like(config):
            raise InputError(
                f"{path} is a {config.model_type} model; timesight trains models of the Qwen-VL families"
            )
        model = AutoModelForImageTextToText.from_pretrained(base, config=config, dtype=kinds[dtype], **quantization)
        processor = AutoProcessor.from_pretrained(where, trust_remote_code=False)
        if adapter is not None:
            model = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
    except (OSError, ValueError) as error:
        raise _not_loadable(base, error) from None
    if quantize is None:
        model = model.to(device)
    return as_policy(model, processor, str(path), autocast_bf16=dtype == "mixed" or (dtype == "auto" and on_cpu))


def load_encoder(path: str | Path) -> Policy:
    """A Qwen-VL model without its weights, which are on the meta device: it encodes prompts for a server.

    Args:
        path: As in ``load_policy``.

    Raises:
        InputError: As ``load_policy``.
    """
    base = base_folder(path)
    try:
        config = AutoConfig.from_pretrained(base, trust_remote_code=False)
        with torch.device("meta"):
            model = AutoModelForImageTextToText.from_config(config)
        model.generation_config = GenerationConfig.from_pretrained(base)
        processor = AutoProcessor.from_pretrained(resolve(path), trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise _not_loadable(base, error) from None
    return as_policy(model, processor, str(path))


def is_policy(path: str | Path) -> bool:
    """Whether the model at ``path`` is a Qwen-VL model; True too if its configuration cannot be read.

    ``load_policy`` then says why.
    """
    try:
        return _is_qwen_vl_like(AutoConfig.from_pretrained(base_folder(path), trust_remote_code=False))
    except (OSError, ValueError):
        return True


def resolve(path: str | Path) -> str | Path:
    """The folder to load: the embedded model by name, a run directory by its newest checkpoint."""
    if str(path) == EMBEDDED:
        return embedded_path()
    folder = Path(path)
    if folder.is_file():
        raise InputError(f"{path} is a file: a model is a folder or a hub id")
    if folder.is_dir() and not any((folder / name).exists() for name in ("config.json", ADAPTER_FILE)):
        newest = newest_checkpoint(folder)
        if newest is None:
            raise InputError(f"{path} holds no model: neither config.json nor a checkpoint")
        return newest
    inside = folder.parent != Path() and folder.parent.is_dir()  # runs/grop, where there is a folder runs
    looks_local = str(path).startswith((".", "/", "~")) or str(path).count("/") > 1 or inside
    if looks_local and not folder.exists():
        raise InputError(f"no model at {path}: there is no such folder")
    return path


def checkpoints(run_dir: Path) -> dict[int, Path]:
    """The checkpoints of a run by step, complete or not, the oldest first."""
    endings = {
        folder: folder.name.removeprefix(f"{PREFIX_CHECKPOINT_DIR}-")
        for folder in run_dir.glob(f"{PREFIX_CHECKPOINT_DIR}-*")
    }
    by_step = {int(ending): folder for folder, ending in endings.items() if ending.isdigit()}  # no "9-copy"
    return dict(sorted(by_step.items()))


def newest_checkpoint(run_dir: Path) -> Path | None:
    """The newest complete checkpoint of a run; incomplete ones are skipped with a warning."""
    for folder in reversed(checkpoints(run_dir).values()):
        problem = _checkpoint_problem(folder)
        if problem is None:
            return folder
        LOGGER.warning("%s is skipped: %s", folder, problem)
    return None


def _checkpoint_problem(folder: Path) -> str | None:
    """Why a checkpoint is not whole, or None if it is: all its files are there, as long as they were written."""
    if (folder / OLD_TRAINING_STATE).is_file():
        return None
    try:
        sizes = json.loads((folder / TRAINING_STATE).read_text(encoding="utf-8")).get("files", {})
    except (OSError, ValueError):
        return f"it was not written to its end (no readable {TRAINING_STATE})"
    for name, size in sizes.items():
        file = folder / name
        if not file.is_file():
            return f"{name} is missing"
        if file.stat().st_size != size:
            return f"{name} has {file.stat().st_size} bytes and not {size}"
    return None


def base_folder(path: str | Path) -> str | Path:
    """Where the configuration and weights of ``path`` are: an adapter's are those of its base model."""
    where = resolve(path)
    return _base_of(Path(where)) if (Path(where) / ADAPTER_FILE).is_file() else where


def _base_of(adapter: Path) -> str:
    """The model that ``adapter`` was trained on."""
    base = str(json.loads((adapter / ADAPTER_FILE).read_text(encoding="utf-8"))["base_model_name_or_path"])
    if Path(base).is_absolute() and not Path(base).exists():
        raise InputError(
            f"{adapter} is an adapter of {base}, which is not there: put the model back, or write where it is now "
            f"into base_model_name_or_path of {ADAPTER_FILE}"
        )
    return base


def _not_loadable(base: str | Path, error: Exception) -> InputError:
    first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return InputError(f"cannot load a model from {base}: {first_line}")


def _is_qwen_vl_like(config: Any) -> bool:
    """Whether models of this configuration take videos, positions and features as the Qwen-VL families do."""
    if type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        return False
    model_class: Any = MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING[type(config)]
    takes = signature(model_class.forward).parameters
    return {"mm_encoder_outputs", "video_grid_thw", "mm_token_type_ids"} <= takes.keys()


def _four_bit() -> BitsAndBytesConfig:
    if not is_bitsandbytes_available():
        raise InputError("four-bit weights need bitsandbytes: pip install 'timesight[qlora]'")
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )


def as_policy(model: Any, processor: Any, name: str, *, autocast_bf16: bool = False) -> Policy:
    """Wrap a model and processor that are already in memory."""
    if model.generation_config is None:
        model.generation_config = GenerationConfig()
    speed_up(model)
    family_of(model.config).prepare(model)
    is_fast = model.device.type != "cpu" or _multiplies_bf16()
    return Policy(model, processor, name, autocast_bf16=autocast_bf16 and is_fast)


def _multiplies_bf16() -> bool:
    """Whether this CPU has bf16 matrix instructions: where they are emulated, float32 is faster."""
    if machine() in ("x86_64", "AMD64"):  # mkldnn says yes to any AVX-512, and emulates: four to seven times slower
        return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
