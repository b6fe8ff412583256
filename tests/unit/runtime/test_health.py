from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from deepseek_runtime import health, reference
from deepseek_runtime.engine_client import EngineError
from deepseek_runtime.failure import Failure, Reason
from deepseek_runtime.metering import Tokens
from support.launch_specs import launch_spec, write_checkpoint, write_reference


class Client:
    """Answers like an engine whose logprobs are ``shift`` beside the reference's."""

    def __init__(self, shift: float = 0.01, tokens: tuple[int, ...] = (1, 2, 3, 4), *, generates: bool = True) -> None:
        self.shift, self.tokens, self.generates = shift, tokens, generates

    async def generate_one(self, prompt: object, *, timeout_s: float) -> Tokens:
        if not self.generates:
            # As the client passes on what an engine says of a kernel that it lacks.
            raise EngineError("/v1/completions: HTTP 500: NotImplementedError")
        return Tokens(input=4, output=1)

    async def tokenize(self, text: str) -> tuple[int, ...]:
        return self.tokens

    async def prompt_logprobs(self, ids: Sequence[int], *, timeout_s: float) -> tuple[tuple[float, ...], Tokens]:
        return (-1.0 + self.shift, -2.0 - self.shift, -3.0 + self.shift), Tokens(input=4, output=1)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    write_reference(write_checkpoint(tmp_path))
    return tmp_path


async def pass_gate(checkpoint: Path, client: Client, precision: str = "bf16") -> tuple[Tokens, list[str]]:
    asked, said = [Tokens()], list[str]()
    spec = launch_spec(precision=precision)
    await health.gate(
        client, spec, checkpoint, asked=lambda tokens: asked.append(asked[-1] + tokens), say=said.append  # type: ignore[arg-type]
    )  # fmt: skip
    return asked[-1], said


async def test_right_logits_pass_and_what_was_asked_is_not_served(checkpoint: Path) -> None:
    asked, said = await pass_gate(checkpoint, Client())
    assert asked == Tokens(input=8, output=2)
    assert "0.010 nats, at most 0.15 in bf16" in said[-1]


@pytest.mark.parametrize("shift", [1.0, float("nan")])
async def test_wrong_logits_do_not(checkpoint: Path, shift: float) -> None:
    with pytest.raises(Failure, match=r"mean \|logprob - reference\| = .* remove extraArgs") as caught:
        await pass_gate(checkpoint, Client(shift))
    assert caught.value.reason is Reason.WRONG_LOGITS


async def test_the_limit_is_the_precisions(checkpoint: Path) -> None:
    await pass_gate(checkpoint, Client(0.2), precision="fp8")
    with pytest.raises(Failure):
        await pass_gate(checkpoint, Client(0.2))


async def test_another_tokenizer_does_not_pass(checkpoint: Path) -> None:
    with pytest.raises(Failure, match=r"tokenizer: .* put the checkpoint's own tokenizer.json"):
        await pass_gate(checkpoint, Client(tokens=(1, 2)))


async def test_an_engine_that_cannot_generate_is_not_ready_whatever_health_says(checkpoint: Path) -> None:
    with pytest.raises(Failure, match="answers /health and cannot generate") as caught:
        await pass_gate(checkpoint, Client(generates=False))
    assert caught.value.reason is Reason.ENGINE_START_FAILED


async def test_without_a_reference_a_token_is_enough(tmp_path: Path) -> None:
    _, said = await pass_gate(write_checkpoint(tmp_path), Client(1.0))
    assert "taken on trust" in said[-1]


async def test_a_reference_of_another_checkpoint_is_refused(checkpoint: Path) -> None:
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps(config | {"vocab_size": 7}))
    with pytest.raises(Failure, match=r"made for another checkpoint .*`deepseek-runtime reference"):
        await pass_gate(checkpoint, Client())


@pytest.mark.parametrize("text", ["", "[]", '{"version": 1}', '{"version": 9}'])
def test_a_broken_reference_names_the_remedy(checkpoint: Path, text: str) -> None:
    (checkpoint / reference.FILE).write_text(text)
    with pytest.raises(reference.UnusableReferenceError, match="deepseek-runtime reference"):
        reference.read(checkpoint)


def watch() -> health.Watch:
    return health.Watch(0.0, probe_every_s=60, stalled_after_s=300, silent_after_s=20)


def test_requests_without_progress_are_a_stall() -> None:
    each = watch()
    for now in range(5, 300, 5):
        each.observe(now, work_done=100.0, in_flight=1)
    assert not each.is_stalled
    each.observe(305, work_done=100.0, in_flight=1)
    assert each.is_stalled
    each.observe(310, work_done=101.0, in_flight=1)
    assert not each.is_stalled


def test_an_idle_engine_never_stalls_but_is_asked_for_a_token() -> None:
    each = watch()
    each.observe(59, work_done=0.0, in_flight=0)
    each.observe(118, work_done=0.0, in_flight=0)
    assert not each.wants_probe(in_flight=0)
    each.observe(119, work_done=0.0, in_flight=0)
    assert each.wants_probe(in_flight=0)
    assert not each.wants_probe(in_flight=1)
    assert not each.is_stalled
    each.probed()
    assert not each.wants_probe(in_flight=0)


def test_counters_that_cannot_be_read_are_no_progress() -> None:
    each = watch()
    for now in (100, 200, 300, 400):
        each.observe(now, work_done=None, in_flight=1)
    assert each.is_stalled


def test_an_engine_that_says_it_is_dead_is_unready_at_once_and_one_lost_answer_is_not_death() -> None:
    each = watch()
    each.heard(1, status=200)
    each.heard(2, status=0)
    assert each.is_healthy
    each.heard(3, status=503)
    assert not each.is_healthy
    assert not each.is_dead
    each.heard(21, status=0)
    assert each.is_dead
