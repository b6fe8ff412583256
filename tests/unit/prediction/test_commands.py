"""The commands: predict adds its columns, calibrate writes files that predict reads, bad rows are named."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from xml.etree import ElementTree

import pytest

from deepseek_operator.__main__ import main
from deepseek_planner.prediction.corrections import read, shipped

HEAD = "id,model,system,backend,measured_engine_version,precision,isl,osl,concurrency,tp,attn_dp,moe_tp,moe_ep,gpus"
GOOD = "a,DeepSeek-R1/V3,h200_sxm,vllm,0.19.0,fp8,1024,1024,32.0,8.0,1.0,8.0,1.0,8.0"


def command(*arguments: str) -> int:
    try:
        return main(list(arguments)) or 0
    except SystemExit as stop:
        return int(stop.code or 0)


def predict(tmp_path, *rows, extra=()):
    source, out = tmp_path / "runs.csv", tmp_path / "out.csv"
    source.write_text("\n".join([HEAD, *rows]) + "\n", encoding="utf-8")
    code = command("predict", "--runs", str(source), "--out", str(out), *extra)
    with out.open(encoding="utf-8", newline="") as stream:
        return code, list(csv.DictReader(stream))


def test_columns_are_kept_and_added(tmp_path):
    code, (row,) = predict(tmp_path, GOOD)
    assert code == 0
    assert row["model"] == "DeepSeek-R1/V3"
    assert float(row["ttft_ms"]) > 0
    assert 5 < float(row["tpot_ms"]) < 100
    assert float(row["tok_s_gpu"]) == pytest.approx(
        32 * 1024 / (float(row["ttft_ms"]) + float(row["tpot_ms"]) * 1023) * 1e3 / 8, rel=1e-3
    )
    # One run of it on this accelerator was reported: too few to be calibrated.
    assert row["confidence"] == "SameModelOtherAccelerator"
    assert row["group"] == "vllm/deepseek-ai/DeepSeek-V3/h200_sxm/fp8"


def test_empty_cells_take_defaults(tmp_path):
    code, (row,) = predict(tmp_path, "b,Qwen/Qwen3-32B,gb200,trtllm,,,2000,500,8,2,0,0,0,0")
    assert code == 0
    assert float(row["tok_s_gpu"]) > 0


def test_what_other_programs_write_is_read(tmp_path):
    source, out = tmp_path / "runs.csv", tmp_path / "out.csv"
    spaced = HEAD.replace(",model,", ", model ,")
    source.write_text(f"\ufeff{spaced}\r\n{GOOD}\r\n", encoding="utf-8")
    assert command("predict", "--runs", str(source), "--out", str(out)) == 0
    _, (row,) = predict(tmp_path, GOOD)
    with out.open(encoding="utf-8", newline="") as stream:
        assert next(csv.DictReader(stream))["tpot_ms"] == row["tpot_ms"]


@pytest.mark.parametrize(
    ("known", "same"),
    [(",vllm,", ",,"), (",trtllm,", ",TensorRT-LLM,"), (",fp4,", ",nvfp4,"), (",bf16,", ",bfloat16,")],
)
def test_other_names_mean_the_same(tmp_path, known, same):
    row = GOOD.replace(",vllm," if "llm" in known else ",fp8,", known)
    (one,), (other,) = (predict(tmp_path, text)[1] for text in (row, row.replace(known, same)))
    assert one["tpot_ms"] == other["tpot_ms"]
    assert one["group"] == other["group"]


def test_a_bad_row_is_named_and_the_others_are_predicted(tmp_path, capsys):
    code, rows = predict(tmp_path, GOOD.replace("h200_sxm", "abacus"), GOOD, GOOD.replace(",1024,1024,", ",,1024,"))
    assert code == 2
    assert [bool(row["tpot_ms"]) for row in rows] == [False, True, False]
    errors = capsys.readouterr().err
    assert "row 2: system 'abacus' is not known" in errors
    assert "row 4: isl must be" in errors


def test_lines_are_counted_as_an_editor_does(tmp_path, capsys):
    code, _ = predict(tmp_path, GOOD, "", GOOD.replace("h200_sxm", "abacus"))
    assert code == 2
    assert "row 4: system 'abacus'" in capsys.readouterr().err


def test_pipelines_are_refused_and_not_ignored(tmp_path, capsys):
    source = tmp_path / "runs.csv"
    source.write_text(f"{HEAD},pp\n{GOOD},2\n", encoding="utf-8")
    assert command("predict", "--runs", str(source)) == 2
    assert "pp '2' must be 1" in capsys.readouterr().err


def test_every_problem_of_a_row_is_named_at_once(tmp_path, capsys):
    code, (row, other) = predict(
        tmp_path,
        "a,Nobody/Nothing,abacus,vllm,,fp9,x,-5,many,1.5,1,1,1,inf",
        "b,Qwen/Qwen3-8B,h100,vllm,,,8,8,8,1,1,1,1,1,9",
    )
    assert code == 2
    assert not row["tpot_ms"]
    assert not other["tpot_ms"]
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("row 2: model 'Nobody/Nothing' is not known")
    for problem in (
        "system 'abacus' is not known",
        "isl 'x' is not a number",
        "osl '-5' must not be negative",
        "concurrency 'many' is not a number",
        "tp '1.5' must be a whole number",
        "gpus 'inf' is not a finite number",
        "precision 'fp9' is not known",
    ):
        assert problem in first
    assert second == "row 3: the row has more cells than the first line has columns"


def test_rows_with_the_same_problem_share_a_line(tmp_path, capsys):
    code, _ = predict(tmp_path, *[GOOD.replace("h200_sxm", "abacus")] * 12)
    assert code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("rows 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 2 more: system 'abacus'")


def test_a_model_that_cannot_be_modelled_leaves_its_rows_empty(tmp_path, capsys):
    config = tmp_path / "config.json"
    facts = {"model_type": "nemotron_h", "hybrid_override_pattern": "M-M*", "num_hidden_layers": 4}
    config.write_text(json.dumps(facts), encoding="utf-8")
    code, rows = predict(
        tmp_path, GOOD.replace("DeepSeek-R1/V3", "me/Hybrid"), GOOD, extra=("--config", f"me/Hybrid={config}")
    )
    assert code == 2
    assert [bool(row["tpot_ms"]) for row in rows] == [False, True]
    error = capsys.readouterr().err
    assert "row 2: model 'me/Hybrid' cannot be predicted: config.json: hybrid_override_pattern 'M-M*'" in error
    assert "leave the run out" in error


@pytest.mark.parametrize("text", ["", "{", "[1, 2]"])
def test_a_broken_configuration_is_said(tmp_path, capsys, text):
    config = tmp_path / "config.json"
    config.write_text(text, encoding="utf-8")
    source = tmp_path / "runs.csv"
    source.write_text(f"{HEAD}\n{GOOD.replace('DeepSeek-R1/V3', 'me/Odd')}\n", encoding="utf-8")
    assert command("predict", "--runs", str(source), "--config", f"me/Odd={config}") == 2
    assert "config.json" in capsys.readouterr().err


def test_shapes_that_were_not_confirmed_make_a_prediction_unverified(tmp_path):
    row = GOOD.replace("h200_sxm", "h100_sxm").replace(",8.0,1.0,8.0,1.0,8.0", ",1,1,1,1,1")
    same, taken = (row.replace("DeepSeek-R1/V3", name) for name in ("Qwen/Qwen3-8B", "DeepSeek-R1-0528-Qwen3-8B"))
    code, found = predict(tmp_path, same, taken, same.replace("h100_sxm", "v100-32gb"))
    assert code == 0
    assert found[0]["confidence"] != "Unverified"
    assert found[1]["confidence"] == "Unverified"
    assert "DeepSeek-R1-0528-Qwen3-8B are not confirmed" in found[1]["group"]
    assert found[1]["tpot_ms"] == found[0]["tpot_ms"]
    assert found[2]["confidence"] == "Unverified"
    assert "memory size not confirmed" in found[2]["group"]


def test_output_that_cannot_be_written_is_said(tmp_path, capsys):
    source = tmp_path / "runs.csv"
    source.write_text(f"{HEAD}\n{GOOD}\n", encoding="utf-8")
    assert command("predict", "--runs", str(source), "--out", str(tmp_path / "no" / "out.csv")) == 2
    assert "No such file" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [("predict",), ("calibrate",), ("calibrate", "fit"), ("calibrate", "check")])
def test_help_has_an_example(capsys, arguments):
    assert command(*arguments, "--help") == 0
    shown = capsys.readouterr().out
    assert "example" in shown
    assert " ".join(("deepseek-operator", *arguments)) in shown


def test_calibrating_names_all_bad_rows_and_writes_nothing(tmp_path, capsys):
    source, out = tmp_path / "runs.csv", tmp_path / "data"
    head = HEAD + ",measured_ttft_ms,measured_tpot_ms"
    rows = [GOOD + ",200,30", GOOD + ",soon,30", GOOD.replace("h200_sxm", "abacus") + ",200,30"]
    source.write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    assert command("calibrate", "fit", "--runs", str(source), "--out", str(out)) == 2
    error = capsys.readouterr().err
    assert "runs.csv:3: measured_ttft_ms 'soon' is not a number" in error
    assert "runs.csv:4: system 'abacus' is not known" in error
    assert not out.exists()


def test_calibrating_needs_measured_runs(tmp_path, capsys):
    source, out = tmp_path / "runs.csv", tmp_path / "data"
    source.write_text(f"{HEAD}\n{GOOD}\n", encoding="utf-8")
    assert command("calibrate", "check", "--runs", str(source), "--out", str(out)) == 2
    assert "no column measured_ttft_ms, measured_tpot_ms" in capsys.readouterr().err
    source.write_text(f"{HEAD},measured_ttft_ms,measured_tpot_ms\n{GOOD},,\n", encoding="utf-8")
    assert command("calibrate", "fit", "--runs", str(source), "--out", str(out)) == 2
    assert "no measured run" in capsys.readouterr().err
    assert not out.exists()


def test_predicting_never_loads_numpy():
    code = (
        "import sys; from deepseek_operator.__main__ import main; import io; "
        f"sys.stdin = io.StringIO({HEAD + chr(10) + GOOD + chr(10)!r}); code = main(['predict', '--runs', '-']); "
        "print(sorted({'numpy', 'highspy', 'kopf', 'kubernetes'} & set(sys.modules)), code, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip().endswith("[] 0")


def test_a_model_by_its_configuration(tmp_path):
    config = tmp_path / "config.json"
    facts = {"model_type": "llama", "num_hidden_layers": 16, "hidden_size": 2048, "num_attention_heads": 32}
    facts |= {"num_key_value_heads": 8, "intermediate_size": 8192, "vocab_size": 128256, "tie_word_embeddings": True}
    config.write_text(json.dumps(facts), encoding="utf-8")
    row = GOOD.replace("DeepSeek-R1/V3", "me/Small-1B").replace(",8.0,1.0,8.0,1.0,8.0", ",1,1,1,1,1")
    assert predict(tmp_path, row)[0] == 2
    code, (found,) = predict(tmp_path, row, extra=("--config", f"me/Small-1B={config}"))
    assert code == 0
    assert float(found["tpot_ms"]) < 20


def test_fit_writes_what_predict_reads(tmp_path):
    source, out = tmp_path / "runs.csv", tmp_path / "data"
    rows = [HEAD + ",measured_ttft_ms,measured_tpot_ms"]
    for index, concurrency in enumerate((4, 8, 16, 32, 64)):
        rows.append(f"{index},Qwen/Qwen3-32B,l40s,vllm,0.19.0,fp8,1024,1024,{concurrency},2,1,1,1,2,200,{30 + index}")
    source.write_text("\n".join(rows) + "\n", encoding="utf-8")
    arguments = ("calibrate", "fit", "--runs", str(source), "--source", "a test", "--out", str(out))
    assert command(*arguments) == 0
    first = (out / "corrections.json").read_text(encoding="utf-8")
    found = read(json.loads(first))["vllm"]
    assert found.source == "a test"
    assert found.evidence["Qwen/Qwen3-32B/l40s/fp8"].points == 5
    assert found.evidence["Qwen/Qwen3-32B/l40s/fp8"].versions == ("0.19.0",)
    assert command(*arguments) == 0
    assert (out / "corrections.json").read_text(encoding="utf-8") == first


def test_check_writes_a_page_with_a_plot(tmp_path):
    source, out = tmp_path / "runs.csv", tmp_path / "reference"
    rows = [HEAD + ",measured_ttft_ms,measured_tpot_ms"]
    for model in ("Qwen/Qwen3-32B", "meta-llama/Llama-3.1-8B"):
        for tp in (1, 2, 4):
            for concurrency in (4, 8, 16, 32, 64, 96, 128):
                rows.append(f"x,{model},h100_sxm,vllm,0.19.0,fp8,1024,1024,{concurrency},{tp},1,1,1,{tp},200,{30 / tp}")
    source.write_text("\n".join(rows) + "\n", encoding="utf-8")
    known = ("--source", "a test", "--as-of", "2026-11-22")
    assert command("calibrate", "check", "--runs", str(source), "--out", str(out), *known) == 0
    page = (out / "prediction-accuracy.md").read_text(encoding="utf-8")
    assert "| vllm | shape |" in page
    assert "| vllm | model |" in page
    assert "Generated on 2026-11-22 by" in page
    assert "Source of the runs: a test." in " ".join(page.split())
    assert "- **vLLM**: " in page
    picture = (out / "prediction-accuracy.svg").read_text(encoding="utf-8")
    assert ElementTree.fromstring(picture).tag.endswith("svg")
    assert picture.count("h0") > len(rows)
    assert command("calibrate", "check", "--runs", str(source), "--out", str(out), *known) == 0
    assert (out / "prediction-accuracy.md").read_text(encoding="utf-8") == page
    assert (out / "prediction-accuracy.svg").read_text(encoding="utf-8") == picture


REPORTS = """\
id,model,engine,engine_version,gpu,gpus_total,precision,tp,dp,ep,isl,osl,concurrency_or_rate,metric,value,source,note
P1,Qwen3-32B,vLLM,0.11.0,A100-80GB,1,bf16,1,,,1000,500,8,tpot_mean,40,someone/runs@1,
P1,Qwen3-32B,vLLM,0.11.0,A100-80GB,1,bf16,1,,,1000,500,8,ttft_mean,300,someone/runs@1,
P2,Qwen3-32B,vLLM,0.11.0,A100-80GB,1,bf16,1,,,1000,500,many,tpot_mean,40,someone/runs@1,
"""


def test_reports_are_fitted_to_and_checked(tmp_path):
    source, reported, out = tmp_path / "runs.csv", tmp_path / "reports.csv", tmp_path / "out"
    rows = [HEAD + ",measured_ttft_ms,measured_tpot_ms"]
    for concurrency in range(4, 34):
        rows.append(f"x,Qwen/Qwen3-32B,h100_sxm,vllm,0.19.0,bf16,1024,1024,{concurrency},1,1,1,1,1,200,30")
    source.write_text("\n".join(rows) + "\n", encoding="utf-8")
    reported.write_text(REPORTS, encoding="utf-8")
    for action in ("fit", "check"):
        files = ("--runs", str(source), "--reports", str(reported), "--out", str(out))
        assert command("calibrate", action, *files) == 0
    found = read(json.loads((out / "corrections.json").read_text(encoding="utf-8")))["vllm"]
    assert found.evidence["Qwen/Qwen3-32B/a100_sxm/bf16"].points == 1
    page = (out / "prediction-accuracy.md").read_text(encoding="utf-8")
    assert "1 more runs of other publishers" in " ".join(page.split())
    assert "1 reported runs were left out: lengths, or how many requests there are at once, are not said (1)" in page
    assert "| someone/runs | vllm | Qwen/Qwen3-32B | a100_sxm | bf16 | 1 |" in page
    # They are no part of what is aimed at.
    assert "| vllm | fitted |" in page
    assert "| 30 |" in next(line for line in page.splitlines() if line.startswith("| vllm | fitted |"))


def test_unreadable_input_is_said(tmp_path, capsys):
    assert command("predict", "--runs", str(tmp_path / "nothing.csv")) == 2
    assert command("calibrate", "fit", "--runs", str(tmp_path / "nothing.csv"), "--out", str(tmp_path)) == 2
    bare = tmp_path / "bare.csv"
    bare.write_text("a,b\n1,2\n", encoding="utf-8")
    assert command("predict", "--runs", str(bare)) == 2
    assert "no column model, system, isl, osl" in capsys.readouterr().err


def test_shipped_corrections_cover_the_engines_with_evidence():
    for engine in ("vllm", "sglang", "trtllm"):
        found = shipped()[engine]
        assert found.source
        assert sum(group.points for group in found.evidence.values()) >= 200
