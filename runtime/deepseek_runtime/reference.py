"""What the checkpoint's logits should be: logprobs of a stored prompt, by transformers in float32.

``reference.json`` lies beside the checkpoint. An engine is ready only when its own logprobs agree with
it: an engine can answer fluently, or answer at all, with wrong logits.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

FILE: Final = "reference.json"
VERSION: Final = 1

PROMPT: Final = (
    "The harbour was quiet when the ferry turned at 06:45. Three sailors counted ropes: one, two, three, "
    "four; then they counted again. def area(width, height): return width * height  # 12 * 7 = 84. "
    "巴黎是法国的首都。 Das Wetter bleibt heute trocken, morgen regnet es."
)

# Largest mean |difference| of logprobs in nats. bfloat16 against float32 gave 0.01 on a trained model and
# 0.03 to 0.06 on random ones (AVX-512); int4 gave 0.05 on the trained one; a wrong rotary embedding gave 1.0 on either.
LIMITS: Final = {"bf16": 0.15, "fp16": 0.15, "fp8": 0.25, "int8": 0.25, "int4": 0.4, "fp4": 0.4}


class UnusableReferenceError(ValueError):
    """The stored reference cannot be used; the message says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Logprob of each prompt token but the first, given those before it."""

    checkpoint: str
    vocabulary: int
    prompt: str
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    computed_with: str

    def mean_difference(self, logprobs: tuple[float, ...]) -> float:
        """Mean absolute difference in nats to another computation of the same prompt."""
        if len(logprobs) != len(self.logprobs):
            raise UnusableReferenceError(f"{len(logprobs)} logprobs for {len(self.logprobs)} prompt tokens")
        return sum(abs(a - b) for a, b in zip(logprobs, self.logprobs, strict=True)) / len(logprobs)


def fingerprint(directory: Path) -> str:
    """Identity of a checkpoint, cheap at any size: its config's facts, and the names and sizes of its weight files."""
    digest = hashlib.sha256(json.dumps(json.loads((directory / "config.json").read_text()), sort_keys=True).encode())
    for path in sorted(directory.glob("*.safetensors")):
        digest.update(f"{path.name}:{path.stat().st_size}".encode())
    return digest.hexdigest()[:16]


def read(directory: Path) -> Reference | None:
    """The reference beside a checkpoint, or None where there is none."""
    path = directory / FILE
    if not path.is_file():
        return None
    remedy = f"write it again with `deepseek-runtime reference {directory}`"
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        version = raw.pop("version")
        reference = Reference(**{**raw, "token_ids": tuple(raw["token_ids"]), "logprobs": tuple(raw["logprobs"])})
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UnusableReferenceError(f"{path}: not a reference ({error!r}); {remedy}") from None
    if version != VERSION:
        raise UnusableReferenceError(f"{path}: version {version!r}, this runtime reads {VERSION}; {remedy}")
    if reference.checkpoint != fingerprint(directory):
        raise UnusableReferenceError(f"{path}: made for another checkpoint ({reference.checkpoint}); {remedy}")
    return reference


def write(directory: Path) -> Reference:
    """Compute the reference of the checkpoint in ``directory`` and store it there."""
    reference = compute(directory)
    text = json.dumps({"version": VERSION, **asdict(reference)}, ensure_ascii=False, sort_keys=True)
    temporary = directory / f".{FILE}"
    temporary.write_text(text + "\n", encoding="utf-8")
    temporary.replace(directory / FILE)
    return reference


def compute(directory: Path) -> Reference:
    """Run the stored prompt through transformers on the CPU; needs memory for the weights in float32."""
    import tokenizers  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415
    import torch  # noqa: PLC0415
    import transformers  # noqa: PLC0415

    ids: list[int] = (
        tokenizers.Tokenizer.from_file(str(directory / "tokenizer.json")).encode(PROMPT, add_special_tokens=False).ids
    )
    transformers.utils.logging.disable_progress_bar()
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(
        str(directory), dtype=torch.float32, local_files_only=True
    )
    model.eval()
    with torch.inference_mode():
        logits = model(torch.tensor([ids])).logits[0, :-1].double()
        chosen = logits.log_softmax(-1).gather(-1, torch.tensor(ids[1:])[:, None])[:, 0]
    return Reference(
        checkpoint=fingerprint(directory),
        vocabulary=int(model.config.vocab_size),
        prompt=PROMPT,
        token_ids=tuple(ids),
        logprobs=tuple(round(value, 6) for value in chosen.tolist()),
        computed_with=f"transformers {transformers.__version__}, torch {torch.__version__}, float32",
    )
