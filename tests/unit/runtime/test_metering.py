from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from deepseek_runtime import shared_state as slots
from deepseek_runtime.engine_metrics import EngineMetrics, Relay
from deepseek_runtime.exposition import Exposition
from deepseek_runtime.metering import Meter, Tokens
from deepseek_runtime.pricing import Price, PriceFile, parse
from deepseek_runtime.shared_state import SharedState
from support.launch_specs import launch_spec

HOUR = Decimal("3.60")  # a tenth of a cent per second


def meter(accelerators: int = 1, window_s: float = 60.0) -> Meter:
    return Meter(accelerators=accelerators, now=0.0, window_s=window_s)


def test_every_second_is_paid_for_and_put_down_once() -> None:
    each = meter(accelerators=8)
    each.tick(10, state="cold_start", usd_per_hour=HOUR)
    each.tick(20, state="useful", usd_per_hour=HOUR, busy=4)
    each.tick(25, state="draining", usd_per_hour=HOUR, busy=4)
    each.tick(26, state="lost", usd_per_hour=HOUR, busy=4)
    assert each.seconds == {"useful": 32, "idle": 48, "cold_start": 80, "draining": 40, "lost": 8}
    assert each.usd == Decimal("0.026")


def test_served_is_what_finished_less_what_the_pod_asked_itself() -> None:
    each = meter()
    each.asked_ourselves(Tokens(input=5, output=1))
    each.engine_counted(Tokens(input=3))  # of our own request, half of it seen
    each.engine_counted(Tokens(input=105, cached=20, output=51))
    assert each.tokens == Tokens(input=100, cached=20, output=50)


def test_counts_never_go_backwards_when_read_in_the_middle_of_a_change() -> None:
    each = meter()
    each.engine_counted(Tokens(input=100, cached=50, output=10))
    each.engine_counted(Tokens(input=130, cached=20, output=10))  # computed counted, its prompt not yet
    each.engine_counted(Tokens(input=130, cached=50, output=20))
    assert each.tokens == Tokens(input=130, cached=50, output=20)


def test_dollars_per_million_tokens_over_the_window() -> None:
    each = meter(window_s=60)
    for second in range(1, 121):
        each.engine_counted(Tokens(output=second * 100.0))
        each.tick(second, state="useful", usd_per_hour=HOUR)
    assert each.usd_per_hour == HOUR
    assert each.usd_per_million_tokens == Decimal(10)
    for second in range(121, 182):
        each.tick(second, state="useful", usd_per_hour=HOUR)
    assert each.usd_per_million_tokens is None  # nothing was served in the last minute
    assert each.usd_per_hour == HOUR


def test_without_a_price_there_are_no_dollars() -> None:
    each = meter()
    each.tick(10, state="useful", usd_per_hour=None)
    assert each.usd_per_hour is None
    assert not each.priced


def test_totals_go_on_in_the_next_container_and_the_gap_is_lost(tmp_path: Path) -> None:
    first = meter(accelerators=2)
    first.engine_counted(Tokens(input=10, output=20))
    first.tick(100, state="useful", usd_per_hour=HOUR, busy=100)
    first.save(tmp_path / "meter.json", identity="a", wall_s=1000)
    second = meter(accelerators=2)
    assert second.restore(tmp_path / "meter.json", identity="a", wall_s=1010, usd_per_hour=HOUR)
    assert second.tokens == Tokens(input=10, output=20)
    assert second.seconds["useful"] == 200
    assert second.seconds["lost"] == 20
    assert second.usd == Decimal("0.11")
    second.engine_counted(Tokens(output=5))
    assert second.tokens.output == 25


@pytest.mark.parametrize(("identity", "wall_s"), [("b", 1010.0), ("a", 999.0), ("a", 9999.0)])
def test_totals_of_another_engine_or_time_are_not_taken(tmp_path: Path, identity: str, wall_s: float) -> None:
    meter().save(tmp_path / "meter.json", identity="a", wall_s=1000)
    assert not meter().restore(tmp_path / "meter.json", identity=identity, wall_s=wall_s, usd_per_hour=None)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"identity": "a", "wallSeconds": 1, "tokens": [1]}'])
def test_broken_totals_are_not_taken(tmp_path: Path, text: str) -> None:
    (tmp_path / "meter.json").write_text(text)
    assert not meter().restore(tmp_path / "meter.json", identity="a", wall_s=2, usd_per_hour=None)


def test_a_price_changes_without_a_restart_and_a_broken_one_changes_nothing(tmp_path: Path) -> None:
    said: list[str] = []
    path = tmp_path / "price.json"
    price = PriceFile(path, say=said.append)
    price.refresh()
    assert price.price is None
    path.write_text('{"usdPerReplicaHour": "1.50", "source": "list", "asOf": "2026-11-01"}')
    price.refresh()
    assert price.price == Price(Decimal("1.50"), "list", "2026-11-01")
    path.write_text('{"usdPerReplicaHour": "free"}')
    price.refresh()
    price.refresh()
    assert price.price is not None
    assert price.price.usd_per_hour == Decimal("1.50")
    assert len(said) == 3
    assert "usdPerReplicaHour: 'free': must be dollars" in said[-1]


@pytest.mark.parametrize("text", ["[]", "{}", '{"usdPerReplicaHour": -1}', '{"usdPerReplicaHour": "NaN"}', "x"])
def test_what_is_no_price(text: str) -> None:
    with pytest.raises(ValueError, match=r"usdPerReplicaHour|Expecting"):
        parse(text)


VLLM = """\
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 2.0
vllm:num_requests_running{engine="1",model_name="m"} 3.0
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="m"} 0.5
# TYPE vllm:request_success_total counter
vllm:request_success_total{engine="0",finished_reason="stop",model_name="m"} 4.0
# TYPE vllm:request_success_created gauge
vllm:request_success_created{engine="0",finished_reason="stop",model_name="m"} 1.7e9
# TYPE vllm:request_prompt_tokens histogram
vllm:request_prompt_tokens_bucket{engine="0",le="+Inf",model_name="m"} 4.0
vllm:request_prompt_tokens_count{engine="0",model_name="m"} 4.0
vllm:request_prompt_tokens_sum{engine="0",model_name="m"} 400.0
# TYPE vllm:request_prefill_kv_computed_tokens histogram
vllm:request_prefill_kv_computed_tokens_sum{engine="0",model_name="m"} 300.0
# TYPE vllm:request_generation_tokens histogram
vllm:request_generation_tokens_sum{engine="0",model_name="m"} 80.0
# TYPE vllm:estimated_flops_per_gpu_total counter
vllm:estimated_flops_per_gpu_total{engine="0",model_name="m"} 1e9
# TYPE python_info gauge
python_info{version="3"} 1.0
"""


def test_the_engines_own_counts_are_read() -> None:
    engine = EngineMetrics(VLLM)
    assert engine.finished_tokens == Tokens(input=300, cached=100, output=80)
    assert engine.requests == 5


def test_only_the_whitelist_is_relayed_and_under_our_labels() -> None:
    samples = [sample for family in Relay({"name": "chat"}).show(EngineMetrics(VLLM)) for sample in family.samples]
    values = {(sample.name, *sorted(sample.labels.items())): sample.value for sample in samples}
    assert values["vllm:num_requests_running", ("name", "chat")] == 5
    assert values["vllm:kv_cache_usage_perc", ("name", "chat")] == 0.5
    assert values["vllm:request_success_total", ("finished_reason", "stop"), ("name", "chat")] == 4
    assert values["vllm:request_prompt_tokens_bucket", ("le", "+Inf"), ("name", "chat")] == 4
    assert not [name for name, *_ in values if "flops" in name or "python" in name or "created" in name]


def shown(relay: Relay, text: str) -> dict[str, float]:
    samples = [sample for family in relay.show(EngineMetrics(text)) for sample in family.samples]
    return {sample.name + sample.labels.get("le", ""): sample.value for sample in samples}


def test_what_the_pod_asked_itself_is_no_demand_and_counts_never_fall() -> None:
    relay = Relay({})
    first = shown(relay, VLLM)
    relay.asked_ourselves(Tokens(input=100, output=1))
    assert shown(relay, VLLM) == first  # noted before the engine counted it
    after = VLLM
    for before, now in (("_sum{engine=\"0\",model_name=\"m\"} 400.0", "_sum{engine=\"0\",model_name=\"m\"} 500.0"),
                        ("_count{engine=\"0\",model_name=\"m\"} 4.0", "_count{engine=\"0\",model_name=\"m\"} 5.0"),
                        ("le=\"+Inf\",model_name=\"m\"} 4.0", "le=\"+Inf\",model_name=\"m\"} 5.0")):  # fmt: skip
        assert before in after
        after = after.replace(before, now)
    later = shown(relay, after)
    for name in ("_sum", "_count", "_bucket+Inf"):
        assert later["vllm:request_prompt_tokens" + name] == first["vllm:request_prompt_tokens" + name]


def test_every_series_carries_the_labels_that_are_api(tmp_path: Path) -> None:
    spec = launch_spec()
    each, state = meter(), SharedState(tmp_path / "state", create=True)
    state.observe(slots.TTFT, slots.TTFT_BOUNDS, 0.06)
    each.engine_counted(Tokens(output=1e6))
    each.tick(3600, state="useful", usd_per_hour=HOUR)
    exposition = Exposition(spec, each, state, {"weights": 1.5})
    families = {family.name: family for family in exposition.collect()}
    assert {"deepseek_tokens", "deepseek_gpu_seconds", "deepseek_spend_usd", "deepseek_actual_usd_per_hour",
            "deepseek_actual_usd_per_million_tokens", "deepseek_cold_start_seconds"} <= set(families)  # fmt: skip
    common = {"namespace", "name", "model", "accelerator", "precision", "capacity_type", "pool"}
    assert all(common <= set(sample.labels) for family in families.values() for sample in family.samples)
    buckets = {
        sample.labels.get("le"): sample.value for sample in families["deepseek_time_to_first_token_seconds"].samples
    }
    assert (buckets["0.05"], buckets["0.1"], buckets["+Inf"]) == (0, 1, 1)


def test_an_idle_or_unpriced_replica_shows_no_price_per_token(tmp_path: Path) -> None:
    state = SharedState(tmp_path / "state", create=True)
    each = meter()
    each.tick(10, state="useful", usd_per_hour=None)
    names = {family.name for family in Exposition(launch_spec(), each, state, {}).collect()}
    assert "deepseek_spend_usd" not in names
    each.tick(20, state="useful", usd_per_hour=HOUR)
    names = {family.name for family in Exposition(launch_spec(), each, state, {}).collect()}
    assert "deepseek_actual_usd_per_hour" in names
    assert "deepseek_actual_usd_per_million_tokens" not in names


def test_a_follower_shows_nothing_because_its_leader_does(tmp_path: Path) -> None:
    exposition = Exposition(launch_spec(), meter(), SharedState(tmp_path / "state", create=True), {})
    exposition.follows = True
    assert list(exposition.collect()) == []
