"""New, untrained models of a few million parameters, in the Qwen-VL families' own architectures.

They are ordinary Hugging Face folders: config, weights, own small tokenizer, own chat template, real
processor. The embedded default model starts as one of these and is trained by ``timesight train tiny/pretrain``.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForImageTextToText, AutoProcessor, PreTrainedTokenizerFast
from transformers.trainer_utils import get_last_checkpoint

from timesight.errors import InputError
from timesight.model.families import FAMILIES
from timesight.model.families.tiny_configs import END, Size

EMBEDDED = "tiny"
NEW = "new:"  # before a family: a model that a training run makes

PAD, START = "<|endoftext|>", "<|im_start|>"
VISION = ("<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>")
CONTROL_TOKENS = (PAD, START, END, *VISION)
VOCAB_SIZE = 512
# What a token may span: a tag; a single digit, so that times are read and written digit by digit; a word or
# punctuation with the space before it, and the space after it where a digit follows.
PIECES = r" ?</?\p{L}+>|\d| ?\p{L}+(?: (?=\d))?| ?[^\s\p{L}\d<]+(?: (?=\d))?|<|\s+"


def embedded_path() -> Path:
    """Folder of the embedded pretrained model."""
    return Path(str(files("timesight.model") / "embedded"))


def embed(trained: str | Path) -> None:
    """Make the newest checkpoint of the run directory ``trained`` the embedded model, weights in bfloat16."""
    checkpoint = get_last_checkpoint(str(trained))
    target = embedded_path()
    shutil.rmtree(target, ignore_errors=True)
    AutoModelForImageTextToText.from_pretrained(checkpoint, dtype=torch.bfloat16).save_pretrained(target)
    AutoProcessor.from_pretrained(checkpoint).save_pretrained(target)


def create(out: Path, family: str, seed: int, texts: Iterable[str], size: Size = "tiny") -> None:
    """Write a new model of ``family`` with random weights of ``seed`` to ``out``.

    Args:
        out: Folder of the model.
        family: ``model_type`` of a family that has tiny models.
        seed: Of the weights.
        texts: What the tokenizer is learned from; any other text still encodes, byte by byte.
        size: ``tiny`` has 2.7 million parameters, ``small`` 6 million.

    Raises:
        InputError: For a family without tiny models.
    """
    makers = {name: one.new_tiny for name, one in FAMILIES.items() if one.new_tiny is not None}
    if family not in makers:
        raise InputError(f"there are no new models of {family}: choose one of {', '.join(makers)}")
    tokenizer = _tokenizer(texts)
    torch.manual_seed(seed)
    model, processor = makers[family](tokenizer, size)
    model.generation_config.update(
        eos_token_id=tokenizer.convert_tokens_to_ids(END), pad_token_id=tokenizer.pad_token_id
    )
    model.save_pretrained(out)
    processor.save_pretrained(out)


def _tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Byte-level BPE inside ``PIECES``."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=list(CONTROL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=[START, *VISION],
        padding_side="left",
        model_max_length=32768,
    )
