"""The contract between operator and pod: what is written is read, and what says nothing new changes no engine."""

from __future__ import annotations

import json

import pytest

from deepseek_runtime.launchspec import LaunchSpec, LaunchSpecError
from support.launch_specs import launch_spec


def test_what_is_written_is_read_again() -> None:
    spec = launch_spec(engine={"kv_cache_dtype": "fp8", "speculative_tokens": 2, "extra_args": ("--seed=1",)})
    assert LaunchSpec.from_json(spec.to_json()) == spec


def test_later_settings_at_their_defaults_leave_the_identity_as_it_was() -> None:
    engine = json.loads(launch_spec().to_json())["engine"]
    assert sorted(engine) == [
        "data_type",
        "env",
        "extra_args",
        "kv_cache_bytes",
        "max_model_len",
        "max_num_batched_tokens",
        "max_num_seqs",
        "prefix_caching",
    ]
    assert launch_spec(engine={"kv_cache_dtype": "auto", "speculative_tokens": 0}).digest == launch_spec().digest


@pytest.mark.parametrize("change", [{"kv_cache_dtype": "fp8"}, {"speculative_tokens": 1}, {"max_num_seqs": 9}])
def test_a_changed_setting_is_another_engine(change: dict[str, object]) -> None:
    assert launch_spec(engine=change).digest != launch_spec().digest


def test_a_setting_of_another_release_is_refused_by_name() -> None:
    document = json.loads(launch_spec().to_json())
    document["engine"]["chunks"] = 3
    with pytest.raises(LaunchSpecError, match=r"engine.chunks: not a field of version 1; use operator and runtime of"):
        LaunchSpec.from_json(json.dumps(document))
