"""Engine parameters: from what was declared alone, each with a reason."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from deepseek_planner.asked import request
from deepseek_planner.demand import Measured
from deepseek_planner.digest import digest
from deepseek_planner.engine import (
    EngineQuestion,
    cache_ratio,
    most_sequences,
    parameters,
    sequence_bytes,
    step_tokens,
    wanted,
)
from deepseek_planner.engine_reasons import reasons
from deepseek_planner.hardware import InterNode
from deepseek_planner.legal import Wiring
from deepseek_planner.memory import CACHE_UNIT_BYTES, Fit, fit
from deepseek_planner.models import Precision
from deepseek_planner.plan import EngineReason
from deepseek_planner.precision import PrecisionChoice, choices
from deepseek_planner.service import Replica
from deepseek_planner.service import lengths as lengths_of
from deepseek_planner.sizing import size
from deepseek_planner.snapshot import DeploymentInput, Shape
from support.planning import CATALOG, demand, deployment, lengths, objectives, offering, planned, weighed


def question(
    model: str, accelerator: str, precision: str, tensor: int = 1, data: int = 1, **changed: Any
) -> EngineQuestion:
    return about(deployment(model, **changed), accelerator, precision, tensor, data)


def about(asked: DeploymentInput, accelerator: str, precision: str, tensor: int = 1, data: int = 1) -> EngineQuestion:
    found = CATALOG.accelerator(accelerator)
    model = CATALOG.model(asked.model)
    legal = choices(model, found, asked.objectives.accuracy_class)
    choice = next(item for item in legal if isinstance(item, PrecisionChoice) and item.precision == precision)
    expert = tensor * data if data > 1 else 1
    return EngineQuestion(
        model=model,
        shape=Shape(accelerator, Precision(precision), tensor, 1, data, expert, 1),
        accelerator=found,
        choice=choice,
        wanted=wanted(asked, lengths_of(asked.demand)),
    )


def memory_of(asked: EngineQuestion) -> Fit:
    tokens, sequences = step_tokens(asked.accelerator), most_sequences(asked.accelerator)
    return fit(asked.model, asked.shape, asked.accelerator, batched_tokens=tokens, sequences=sequences)


def with_cache(asked: EngineQuestion, bytes_: float) -> Fit:
    return replace(memory_of(asked), cache=bytes_)


def reason(asked: EngineQuestion, name: str, memory: Fit | None = None) -> EngineReason:
    memory = memory or memory_of(asked)
    return next(item for item in told(asked, memory) if item.parameter == name)


def told(asked: EngineQuestion, memory: Fit) -> tuple[EngineReason, ...]:
    return reasons(asked, memory, parameters(asked, memory), prefill_share=0.36)


R1_DISTILL = ("deepseek-r1-distill-qwen-7b", "l4", "int8")


def test_neither_load_nor_measurement_changes_a_parameter() -> None:
    asked = question(*R1_DISTILL)
    busy = replace(
        asked.wanted.deployment,
        demand=replace(asked.wanted.deployment.demand, expected_requests_per_min=9000, peak_requests_per_min=90000),
        measured=Measured(900, 900, 77, 99, 17, 3, 1, None, None, 9, 9),
    )
    again = about(busy, "l4", "int8")
    assert parameters(again, memory_of(again)) == parameters(asked, memory_of(asked))
    assert told(again, memory_of(again)) == told(asked, memory_of(asked))


def test_sequences_are_what_the_cache_holds_of_them() -> None:
    asked = question(*R1_DISTILL)
    memory = memory_of(asked)
    engine = parameters(asked, memory)
    # 1200 tokens in and 60 % of 300 out, of 28 layers x 4 heads x 128 x 4 bytes.
    held = int(engine.kv_cache_bytes / (1380 * 28 * 4 * 128 * 4))
    assert engine.max_num_seqs == held < most_sequences(asked.accelerator)
    assert f"holds {held} requests of 1380 tokens on average" in reason(asked, "maxNumSeqs").reason


def test_a_shared_prefix_is_held_once() -> None:
    asked = question(*R1_DISTILL, demand=demand(shared_prefix_tokens=600))
    memory = memory_of(asked)
    engine = parameters(asked, memory)
    # Prompts shorter than the prefix keep one token, so the mean saved is a little below 600.
    prefix = asked.wanted.declared.input_mean - asked.wanted.declared.prefill_mean
    assert 500 < prefix <= 600
    bytes_ = 28 * 4 * 128 * 4
    held = (engine.kv_cache_bytes - prefix * bytes_) / ((asked.wanted.declared.prefill_mean + 180) * bytes_)
    assert engine.max_num_seqs == min(256, int(held))


@pytest.mark.parametrize(("accelerator", "most"), [("h200", 1024), ("b200", 1024), ("a100-80gb", 256), ("l40s", 256)])
def test_a_large_cache_meets_the_engines_own_limit(accelerator: str, most: int) -> None:
    short = demand(input_tokens=lengths((64, 20.0, 1.0)))
    asked = question("deepseek-r1-distill-qwen-7b", accelerator, "bf16", demand=short)
    assert parameters(asked, memory_of(asked)).max_num_seqs == most


def test_sparse_attention_runs_no_more_than_its_kernels_bear() -> None:
    asked = question("deepseek-v3.2", "h200", "fp8", 8)
    assert parameters(asked, memory_of(asked)).max_num_seqs == 256
    assert "usual limit on sparse attention; the cache would hold 3" in reason(asked, "maxNumSeqs").reason


def test_one_request_runs_even_where_the_cache_holds_less_than_a_typical_one() -> None:
    asked = question(*R1_DISTILL)
    assert parameters(asked, with_cache(asked, CACHE_UNIT_BYTES // 2)).max_num_seqs == 1


def test_a_cpu_takes_no_more_memory_than_its_longest_requests_need() -> None:
    short = demand(input_tokens=lengths((512, 200.0, 1.0)), output_tokens=lengths((256, 100.0, 1.0)))
    asked = question("deepseek-tiny", "cpu", "bf16", demand=short)
    engine = parameters(asked, memory_of(asked))
    assert engine.kv_cache_bytes == CACHE_UNIT_BYTES < memory_of(asked).cache_budget_bytes
    assert engine.max_num_batched_tokens == 768, "a prompt in one piece"
    assert "16 of the longest requests" in reason(asked, "kvCacheBytes").reason


class TestCacheFormat:
    """fp8 where kernels take it, the class allows it, somebody measured it, and the cache binds."""

    def test_a_measured_model_whose_cache_binds_keeps_it_in_fp8(self) -> None:
        asked = question("deepseek-v3.2", "h200", "fp8", 8)
        memory = with_cache(asked, 15e9)
        engine = parameters(asked, memory)
        assert engine.kv_cache_dtype == "fp8_ds_mla"
        assert engine.max_num_seqs > memory.cache / memory.sequence_bytes(asked.wanted.held_tokens)
        # 656 bytes and the indexer's 132 of 1152 and 132, by hand.
        assert cache_ratio(asked.model, "fp8_ds_mla") == pytest.approx((656 + 132) / (1152 + 132))
        assert sequence_bytes(asked, memory, engine.kv_cache_dtype, 1000) == pytest.approx(61 * (656 + 132) * 1000)
        assert "61 % of the bytes" in reason(asked, "kvCacheDtype", memory).reason

    def test_not_where_the_class_is_critical(self) -> None:
        asked = question("deepseek-v3.2", "h200", "fp8", 8, objectives=objectives(accuracy="Critical"))
        small = with_cache(asked, 15e9)
        assert parameters(asked, small).kv_cache_dtype == "auto"
        assert "Critical" in reason(asked, "kvCacheDtype", small).reason

    def test_not_where_nobody_measured_it(self) -> None:
        asked = question("deepseek-v3", "h200", "fp8", 8)
        assert parameters(asked, memory_of(asked)).kv_cache_dtype == "auto"
        assert "nobody measured" in reason(asked, "kvCacheDtype").reason

    def test_not_where_the_cache_does_not_bind(self) -> None:
        asked = question("deepseek-v3.2", "h200", "fp8", 8)
        roomy = with_cache(asked, 1e12)
        assert parameters(asked, roomy).kv_cache_dtype == "auto"
        assert "does not bind at 256" in reason(asked, "kvCacheDtype", roomy).reason

    def test_not_where_there_are_no_kernels(self) -> None:
        asked = question("deepseek-v3.2", "h200", "fp8", 8)
        old = asked._replace(accelerator=replace(asked.accelerator, compute_capability=(8, 9)))
        small = with_cache(old, 15e9)
        assert parameters(old, small).kv_cache_dtype == "auto"
        assert "start at sm90; this is sm89" in reason(old, "kvCacheDtype", small).reason


class TestStep:
    """The token budget: usual for the capability, twice that where first tokens of long prompts are asked for soon."""

    def asked(self, ttft_s: float | None, longest: int = 16384) -> EngineQuestion:
        long = demand(input_tokens=lengths((longest, longest * 0.75, 1.0)))
        soon = objectives(ttft_s=ttft_s, tpot_s=None)
        return question("deepseek-r1-distill-llama-70b", "h200", "fp8", 4, demand=long, objectives=soon)

    # 2 x 70.6e9 x 15565 tokens at 40 % of 4 x 1.979e15: 0.69 s, 10 % of 6.9 s.
    @pytest.mark.parametrize(("ttft_s", "tokens"), [(6.7, 16384), (7.1, 8192), (None, 8192)])
    def test_it_follows_the_limit_for_first_tokens(self, ttft_s: float | None, tokens: int) -> None:
        asked = self.asked(ttft_s)
        assert parameters(asked, memory_of(asked)).max_num_batched_tokens == tokens

    def test_it_grows_until_the_prompt_takes_one_step_and_to_four_times_at_most(self) -> None:
        for longest, tokens in ((16384, 16384), (17500, 32768), (100_000, 32768)):
            asked = self.asked(1.0, longest)
            assert parameters(asked, memory_of(asked)).max_num_batched_tokens == tokens

    def test_prompts_of_one_step_need_no_longer_one(self) -> None:
        asked = self.asked(0.1, longest=8192)
        assert parameters(asked, memory_of(asked)).max_num_batched_tokens == 8192

    def test_a_longer_step_takes_its_room_from_the_cache_and_never_much_of_it(self) -> None:
        asked = self.asked(1.0)
        memory, usual = memory_of(asked), self.asked(None)
        longer, shorter = parameters(asked, memory), parameters(usual, memory)
        assert longer.kv_cache_bytes < shorter.kv_cache_bytes
        assert longer.max_num_seqs < shorter.max_num_seqs
        small = with_cache(asked, 8e9)
        assert parameters(asked, small).max_num_batched_tokens == 8192
        assert (
            "the p95 prompt of 15565 tokens takes one step instead of 2 steps"
            in reason(asked, "maxNumBatchedTokens").reason
        )


class TestDrafts:
    """The model's next-token layer helps few requests and hurts many."""

    def few(self, model: str = "deepseek-v3", accelerator: str = "h200", precision: str = "fp8") -> EngineQuestion:
        """Requests so long that eleven fill 10 GB."""
        long = demand(input_tokens=lengths((16384, 12000.0, 1.0)))
        return question(model, accelerator, precision, 8, demand=long)

    def test_on_where_few_can_run_and_its_weights_come_out_of_the_cache(self) -> None:
        asked = self.few()
        memory = with_cache(asked, 10e9)
        engine = parameters(asked, memory)
        assert (engine.speculative_tokens, engine.max_num_seqs) == (1, 9)
        # One layer of 256 experts of 3 x 7168 x 2048 and a shared one in fp8, over 8 ranks: 1.4 GB and its attention.
        assert 1.4e9 < memory.cache_budget_bytes - engine.kv_cache_bytes < 1.8e9
        assert "at most 9 requests run at once" in reason(asked, "speculativeTokens", memory).reason
        assert "GB drafting layer" in reason(asked, "kvCacheBytes", memory).reason

    @pytest.mark.parametrize(
        ("model", "accelerator", "precision"),
        [("deepseek-v3", "h200", "int4"), ("deepseek-r1-distill-llama-70b", "h200", "bf16")],
    )
    def test_off_without_next_token_layers(self, model: str, accelerator: str, precision: str) -> None:
        asked = self.few(model, accelerator, precision)
        assert parameters(asked, with_cache(asked, 10e9)).speculative_tokens == 0

    def test_off_where_many_run(self) -> None:
        asked = question("deepseek-v3", "h200", "fp8", 8)
        assert parameters(asked, memory_of(asked)).speculative_tokens == 0
        assert "sized to run 394" in reason(asked, "speculativeTokens").reason

    def test_off_where_the_longest_request_needs_the_room(self) -> None:
        asked = self.few()
        small = with_cache(asked, memory_of(asked).sequence_bytes(asked.wanted.longest_tokens) + CACHE_UNIT_BYTES)
        assert parameters(asked, small).speculative_tokens == 0
        assert "longest request needs" in reason(asked, "speculativeTokens", small).reason


@pytest.mark.parametrize(("longest", "shared", "on"), [(16384, 0, True), (16384, 600, True), (15, 0, False)])
def test_prefixes_are_kept_where_a_prompt_can_fill_a_block(longest: int, shared: int, on: bool) -> None:
    asked = question(
        *R1_DISTILL,
        demand=demand(input_tokens=lengths((longest, longest / 2, 1.0)), shared_prefix_tokens=shared),
    )
    assert parameters(asked, memory_of(asked)).prefix_caching is on
    assert ("592 declared prefix tokens" in reason(asked, "prefixCaching").reason) == bool(shared), "whole blocks of 16"


def test_disaggregation_says_what_it_would_save_and_what_it_lacks() -> None:
    found = reason(question("deepseek-v3", "h200", "fp8", 8), "disaggregatedPrefill")
    # 1200 tokens of 61 x 1152 bytes.
    assert found.value == "off"
    assert "36 % of the time" in found.reason
    assert "84.3 MB of cache a request" in found.reason
    assert "no router" in found.reason


EVERY = (
    "maxModelLen",
    "maxNumSeqs",
    "maxNumBatchedTokens",
    "kvCacheBytes",
    "kvCacheDtype",
    "prefixCaching",
    "dataParallel",
    "expertParallel",
    "disaggregatedPrefill",
    "speculativeTokens",
    "dtype",
)


@pytest.mark.parametrize(
    ("model", "accelerator", "precision", "tensor", "data"),
    [
        ("deepseek-v3", "h200", "fp8", 8, 1),
        ("deepseek-v3", "h200", "fp8", 1, 8),
        ("deepseek-v3.2", "b200", "fp8", 8, 1),
        ("deepseek-v4-flash", "b200", "fp4", 4, 1),
        ("deepseek-v2-lite", "a100-80gb", "bf16", 1, 1),
        ("deepseek-r1-distill-qwen-7b", "t4", "int4", 1, 1),
        ("deepseek-r1-distill-llama-70b", "l40s", "fp8", 4, 1),
        ("deepseek-tiny", "cpu", "bf16", 1, 1),
    ],
)
def test_every_parameter_has_its_value_and_one_sentence(
    model: str, accelerator: str, precision: str, tensor: int, data: int
) -> None:
    short = demand(input_tokens=lengths((2048, 900.0, 1.0)), output_tokens=lengths((512, 200.0, 1.0)))
    asked = question(model, accelerator, precision, tensor, data, demand=short)
    memory = memory_of(asked)
    engine = parameters(asked, memory)
    found = told(asked, memory)
    assert tuple(item.parameter for item in found) == EVERY
    values = {item.parameter: item.value for item in found}
    assert values["maxNumSeqs"] == str(engine.max_num_seqs)
    assert values["kvCacheBytes"] == str(engine.kv_cache_bytes)
    assert values["dtype"] == engine.data_type
    for item in found:
        assert 0 < len(item.reason) <= 256, item
        assert "\n" not in item.reason
        assert not item.reason.endswith("."), item


def test_a_plan_says_why_each_setting_of_its_engines_is_as_it_is() -> None:
    result = planned(deployment("deepseek-r1-distill-qwen-7b"), offering("h100", "20", gpus_per_node=1))
    (placement,) = result.placements
    assert tuple(item.parameter for item in placement.engine_reasons) == EVERY


def test_weights_of_another_precision_are_planned_in_it_and_variants_in_their_own() -> None:
    relaxed = objectives(ttft_s=5.0, tpot_s=0.1, per_hour="400")
    own = deployment("deepseek-v3.2", own_weights=True, own_precision=Precision.INT4, objectives=relaxed)
    (placement,) = planned(own, offering("h200", "40", max_nodes=8)).placements
    assert (placement.shape.precision, placement.model) == (Precision.INT4, "")

    other = replace(own, variants=("deepseek-r1-distill-qwen-7b",))
    (placement,) = planned(other, offering("h100", "20", gpus_per_node=1, max_nodes=16)).placements
    assert placement.model == "deepseek-r1-distill-qwen-7b"


def test_the_same_reasons_change_no_digest() -> None:
    result = planned(deployment("deepseek-r1-distill-qwen-7b"), offering("h100", "20", gpus_per_node=1))
    reworded = tuple(replace(item, engine_reasons=()) for item in result.placements)
    assert digest(replace(result, placements=reworded)) == result.digest


def test_hardly_any_shape_would_sustain_more_with_another_step() -> None:
    """The budget is not searched for each shape, since that would double the time of a plan: what it would gain."""
    ratios: dict[float, list[float]] = {0.5: [], 2.0: []}
    for model in ("deepseek-v3", "deepseek-r1-distill-qwen-7b", "deepseek-r1-distill-llama-70b"):
        for accelerator in ("l4", "l40s", "a100-80gb", "h200", "b200"):
            for ttft_s, tpot_s in ((1.0, 0.05), (2.0, 0.1), (0.5, None), (None, 0.03)):
                wanted = objectives(ttft_s=ttft_s, tpot_s=tpot_s)
                asked = request(deployment(model, objectives=wanted), CATALOG, is_measured=False)
                wiring = Wiring(accelerator, 8, CATALOG.accelerator(accelerator).intra_node, InterNode.ETHERNET)
                ((found, _),) = weighed(asked, wiring)
                for factor, seen in ratios.items():
                    others = [with_step(item.replica, factor) for item in found]
                    for item, other in zip(found, size(others), strict=True):
                        seen.append(other.capacity.rate_per_s / item.capacity.rate_per_s if other.capacity else 0.0)
    gaining = {factor: sum(ratio > 1.05 for ratio in seen) / len(seen) for factor, seen in ratios.items()}
    losing = sum(ratio < 0.95 for ratio in ratios[0.5]) / len(ratios[0.5])
    assert len(ratios[2.0]) > 300
    assert gaining[0.5] < 0.01
    assert gaining[2.0] < 0.01
    assert losing > 0.03, "half of it would cost more often than it gains"


def with_step(replica: Replica, factor: float) -> Replica:
    tokens = int(replica.engine.max_num_batched_tokens * factor)
    return replica._replace(engine=replace(replica.engine, max_num_batched_tokens=tokens))
