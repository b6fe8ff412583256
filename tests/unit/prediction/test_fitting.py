"""Fits find what made the data, shrink what the data do not show, and repeat exactly."""

from __future__ import annotations

from dataclasses import replace
from math import exp, log

import pytest

from deepseek_planner.plan import Confidence
from deepseek_planner.prediction.corrections import Corrections, keys
from deepseek_planner.prediction.fitting import Problem, default_priors, evidence
from deepseek_planner.prediction.known import known_architecture
from deepseek_planner.prediction.predictor import predict
from deepseek_planner.prediction.runs import parse
from deepseek_planner.prediction.terms import terms
from deepseek_planner.prediction.validation import cross_validate, folds, score

TRUTH = {"layer.decode": log(1.1e-5), "decode_attention.decode": 0.3, "first_token": log(0.06), "gemm.mixed": 0.12}


def runs(model="meta-llama/Llama-3.1-70B", system="h100_sxm", pace=0.0):
    base = {name: prior.center for name, prior in default_priors("vllm").items()} | TRUTH | {"pace": pace}
    truth = Corrections("", base, {}, {}, "")
    found = []
    for tp in (2, 4, 8):
        for prompt, output in ((1024, 1024), (8192, 1024), (1024, 8192)):
            for concurrency in (4, 16, 64):
                row = {"model": model, "system": system, "isl": str(prompt), "osl": str(output), "tp": str(tp)}
                row |= {"concurrency": str(concurrency), "precision": "fp8", "backend": "vllm"}
                one = parse(row, known_architecture(model), model)
                made = terms(one)
                tpot, ttft = (truth.seconds(part, keys(one)) * 1e3 for part in (made.tpot, made.ttft))
                found.append(replace(one, tpot_ms=tpot, ttft_ms=ttft))
    return found


def test_fit_explains_data_of_its_own_form():
    problem = Problem(runs())
    fitted = problem.fit(range(len(problem.runs)))
    for at, run in enumerate(problem.runs):
        made = problem.terms[at]
        assert fitted.seconds(made.tpot, keys(run)) * 1e3 == pytest.approx(run.tpot_ms, rel=0.015)
        assert fitted.seconds(made.ttft, keys(run)) * 1e3 == pytest.approx(run.ttft_ms, rel=0.06)


def test_fit_repeats_exactly():
    problem = Problem(runs())
    chosen = range(0, len(problem.runs), 2)
    assert problem.fit(chosen) == problem.fit(chosen)


def test_an_outlier_hardly_moves_the_fit():
    clean = Problem(runs())
    dirty_runs = runs()
    dirty_runs[5] = replace(dirty_runs[5], ttft_ms=dirty_runs[5].ttft_ms * 20)
    dirty = Problem(dirty_runs)
    everything = range(len(clean.runs))
    before, after = clean.fit(everything), dirty.fit(everything)
    for at, run in enumerate(clean.runs):
        expected = before.seconds(clean.terms[at].ttft, keys(run))
        assert after.seconds(clean.terms[at].ttft, keys(run)) == pytest.approx(expected, rel=0.15)


def test_a_slow_model_does_not_spoil_the_others():
    usual, slow = runs(), runs("Qwen/Qwen3-32B", pace=0.25)
    problem = Problem(usual + slow)
    fitted = problem.fit(range(len(problem.runs)))
    errors = [
        abs(fitted.seconds(problem.terms[at].tpot, keys(run)) * 1e3 / run.tpot_ms - 1)
        for at, run in enumerate(problem.runs)
    ]
    assert sum(errors[: len(usual)]) / len(usual) < 0.05
    assert sum(errors[len(usual) :]) / len(slow) < 0.08


def test_evidence_sets_the_confidence():
    problem = Problem(runs())
    everything = range(len(problem.runs))
    fitted = problem.fit(everything)
    known = {"vllm": replace(fitted, engine="vllm", evidence=evidence(problem, fitted, everything))}
    measured = problem.runs[0]
    cases = {
        Confidence.CALIBRATED: measured,
        Confidence.SAME_MODEL_OTHER_ACCELERATOR: replace(measured, system="h200_sxm"),
        Confidence.OTHER_MODEL: runs("Qwen/Qwen3-32B")[0],
        Confidence.ROOFLINE_ONLY: runs("Qwen/Qwen3-32B", "a100_sxm")[0],
        Confidence.UNVERIFIED: runs("Qwen/Qwen3-32B", "v100")[0],
    }
    found = {confidence: predict(run, known) for confidence, run in cases.items()}
    assert {confidence: one.confidence for confidence, one in found.items()} == {one: one for one in cases}
    margins = [found[confidence].margin_percent for confidence in cases]
    assert margins == sorted(margins)
    assert known["vllm"].evidence["meta-llama/Llama-3.1-70B/h100_sxm/fp8"].points == len(problem.runs)


def test_few_runs_are_not_called_calibrated():
    problem = Problem(runs()[:3])
    fitted = problem.fit(range(3))
    known = {"vllm": replace(fitted, engine="vllm", evidence=evidence(problem, fitted, range(3)))}
    assert predict(problem.runs[0], known).confidence is Confidence.SAME_MODEL_OTHER_ACCELERATOR


@pytest.mark.parametrize(("system", "expected"), [("t4", Confidence.UNVERIFIED), ("l4", Confidence.ROOFLINE_ONLY)])
def test_a_known_model_says_nothing_of_an_accelerator_unlike_all_that_were_measured(system, expected):
    problem = Problem(runs("meta-llama/Llama-3.1-8B"))
    everything = range(len(problem.runs))
    fitted = problem.fit(everything)
    known = {"vllm": replace(fitted, engine="vllm", evidence=evidence(problem, fitted, everything))}
    assert predict(replace(problem.runs[0], system=system), known).confidence is expected


def test_a_run_without_a_first_token_is_fitted_by_its_others():
    known = runs()
    silent = [replace(run, ttft_ms=float("nan")) for run in known]
    problem = Problem(silent)
    assert len(problem.runs) == len(known)
    assert not any(problem.has_ttft)
    fitted = problem.fit(range(len(silent)))
    at = problem.runs[0]
    assert fitted.seconds(problem.terms[0].tpot, keys(at)) * 1e3 == pytest.approx(at.tpot_ms, rel=0.02)
    assert evidence(problem, fitted, [0])["meta-llama/Llama-3.1-70B/h100_sxm/fp8"].ttft_error_percent is None


def test_folds_keep_what_they_hold_out_apart():
    everything = runs() + runs("Qwen/Qwen3-32B") + runs(system="h200_sxm")
    for way in ("shape", "accelerator", "model"):
        seen = []
        for training, held_out in folds(everything, way):
            assert not set(training) & set(held_out)
            seen += held_out
        assert len(seen) == len(set(seen))
    models = [{everything[at].model for at in training} for training, _ in folds(everything, "model")]
    assert all(len(training) == 1 for training in models)


def test_cross_validation_of_clean_data_is_good():
    problem = Problem(runs() + runs("Qwen/Qwen3-32B") + runs(system="h200_sxm"))
    found = score(cross_validate(problem, "shape"))
    assert found.points == len(problem.runs)
    assert found.tpot_percent < 2.0


def test_what_a_release_makes_of_a_model_goes_along_to_other_accelerators():
    slow = [replace(run, version="2", tpot_ms=run.tpot_ms * 1.2) for run in runs()]
    known = [replace(run, version="1") for run in runs()] + slow
    problem = Problem([replace(run, engine="sglang") for run in known])
    fitted = problem.fit(range(len(problem.runs)))
    elsewhere = replace(problem.runs[0], system="h200_sxm")
    old, new = (fitted.logarithm("pace", keys(replace(elsewhere, version=version))) for version in "12")
    assert new > old + 0.02


@pytest.mark.parametrize("engine", ["vllm", "sglang", "trtllm"])
def test_factors_have_a_positive_base(engine):
    for name, prior in default_priors(engine).items():
        assert exp(prior.center) > 0, name
        assert prior.width > 0, name
        assert all(width > 0 for width in prior.levels.values()), name


def test_rows_that_do_not_say_where_they_ran_are_left_out():
    model = "Qwen/Qwen3-32B"
    row = {"model": model, "system": "gb200", "isl": "2000", "osl": "500", "concurrency": "8", "tp": "2"}
    row |= {"measured_ttft_ms": "500", "measured_tpot_ms": "30"}
    sound, unsound = (parse(row | {"gpus": gpus}, known_architecture(model), model) for gpus in ("2", "0"))
    assert Problem([sound, unsound]).runs == [sound]


def test_a_cold_start_is_not_fitted():
    usual = runs()
    usual[3] = replace(usual[3], ttft_ms=usual[3].ttft_ms * 40)
    before, after = Problem(runs()).has_ttft, Problem(usual).has_ttft
    assert [at for at, has in enumerate(before) if has != after[at]] == [3]
