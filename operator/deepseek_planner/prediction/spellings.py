"""How others spell what a run is made of: models, accelerators, number formats and engines.

Files of runs, leaderboards and repositories write one thing in many ways. What is read as something here is what the
words say; a word that is not known stays as it is, and is refused by whoever looks it up.
"""

from __future__ import annotations

import re

ABSENT = frozenset({"", "nan", "none", "null", "na", "n/a", "auto", "unknown", "-"})
"""Cells that say nothing."""

FORMATS = {
    "bfloat16": "bf16",
    "float16": "fp16",
    "half": "fp16",
    "fp8block": "fp8",
    "fp8blockwise": "fp8",
    "fp8e4m3": "fp8",
    "fp8static": "fp8",
    "fp8dynamic": "fp8",
    "fp8pertensor": "fp8",
    "fp8w8a8": "fp8",
    "w8a8fp8": "fp8",
    "mxfp8": "fp8",
    "nvfp4": "fp4",
    "mxfp4": "fp4",
    "modeloptfp4": "fp4",
    "w4a8mxfp4mxfp8": "fp4",
    "w4a8mxfp4fp8": "fp4",
    "w4a16mxfp4": "fp4",
    "w4a8nvfp4fp8": "fp4",
    "w4a16": "int4",
    "w4a8": "int4",
    "w4afp8": "int4",
    "int4wo": "int4",
    "int4awq": "int4",
    "w4a8awq": "int4",
    "awq": "int4",
    "awqint4": "int4",
    "awqmarlin": "int4",
    "gptq": "int4",
    "gptqint4": "int4",
    "gptqmarlin": "int4",
    "w8a8": "int8",
    "w8a8int8": "int8",
    "int8wo": "int8",
    "int8sq": "int8",
}
"""Names that files of runs have for the formats; MXFP4's scales are half of NVFP4's."""

ENGINES = {
    "trt": "trtllm",
    "tensorrt": "trtllm",
    "tensorrtllm": "trtllm",
    "dynamotrt": "trtllm",
    "dynamotrtllm": "trtllm",
    "sgl": "sglang",
    "dynamosglang": "sglang",
    "dynamovllm": "vllm",
    "vllmv1": "vllm",
    "trtllmpytorch": "trtllm",
}

CHECKPOINT_FORMATS = (
    ("nvfp4", "fp4"),
    ("mxfp4", "fp4"),
    ("fp4", "fp4"),
    ("fp8", "fp8"),
    ("w4a16", "int4"),
    ("w4afp8", "int4"),
    ("awq", "int4"),
    ("gptq", "int4"),
    ("int4", "int4"),
    ("int8", "int8"),
    ("w8a8", "int8"),
    ("bf16", "bf16"),
)
"""Words in a checkpoint's name, and the format of its weights."""
_EDITIONS = frozenset(
    {"instruct", "chat", "base", "it", "hf", "thinking", "terminus", "meta", "moe"} | {"2507", "0528", "0324", "0905"}
)
"""Words that say how a model was trained on, and nothing about its layers."""
_STORED = frozenset(
    {word for word, _ in CHECKPOINT_FORMATS} | {"dynamic", "static", "pertensor", "block", "v2", "w", "a"}
)
"""Words that say how its weights are stored."""
_COMMON = re.compile(r"(16|24|48|80|141|180|192|288)gb|hbm\d?e?|nvl\d+|sxm\d?|nvidia|tesla|tensor|core|gpu|ac")
"""Words of accelerators' names that tell none from another: what all of a kind have, or most. ``40gb`` and ``32gb`` do.
"""


def is_absent(text: str) -> bool:
    """Whether a cell says nothing."""
    return text.strip().lower() in ABSENT


def said(text: str | None) -> str:
    """What a cell says; empty where it says nothing."""
    found = (text or "").strip()
    return "" if is_absent(found) else found


def squashed(text: str) -> str:
    """Small letters, digits and dots: what is left when nobody agrees on hyphens."""
    return re.sub(r"[^a-z0-9.]", "", text.lower())


def number_format(text: str) -> str:
    """One of ours (``bf16 fp16 fp8 int8 int4 fp4``), empty where the cell says nothing, else the cell."""
    if is_absent(text):
        return ""
    whole = squashed(text)
    first = squashed(re.split(r"[\s(+/]", text.strip(), maxsplit=1)[0])
    return FORMATS.get(whole) or FORMATS.get(first) or first


def is_block_scaled(text: str) -> bool:
    """Whether the format's name says that scales are per block."""
    return squashed(text).startswith("fp8block")


def checkpoint_format(model: str) -> str:
    """Format that a checkpoint's name ends on or names; empty where it names none."""
    words = re.split(r"[^a-z0-9.]+", model.lower())
    return next((found for word, found in CHECKPOINT_FORMATS if word in words), "")


def engine(text: str) -> str:
    """``vllm``, ``sglang``, ``trtllm``, or what the cell says; vLLM where it says nothing."""
    if is_absent(text):
        return "vllm"
    name = squashed(text.partition("(")[0])
    return ENGINES.get(name, name)


def accelerator(text: str) -> str:
    """The name without what all of its kind share: memory, socket, vendor."""
    return "".join(word for word in re.split(r"[^a-z0-9]+", text.lower()) if not _COMMON.fullmatch(word))


def layers_of(model: str) -> tuple[str, str]:
    """The name without its owner and what says how weights are stored, and that without its edition: models of one
    such name have the same layers, if no two known ones share it.
    """
    # What stands in brackets behind the name, as leaderboards add it, says nothing new.
    words = re.split(r"[-_ /]+", re.sub(r"\(.*\)", "", model.lower()).strip().rpartition("/")[2])
    kept = [word for word in words if word not in _STORED]
    return "".join(kept), "".join(word for word in kept if word not in _EDITIONS)
