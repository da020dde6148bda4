"""The command line on a fake phone."""

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from helpers import small_shape, study
from phonelm_search.cli.main import run_command
from phonelm_search.core.records import StudyShape
from phonelm_search.reading import choose, front_pairs, load_view, trust

ROOT = Path(__file__).parents[2]
ACTIONS = (
    "run", "search", "score", "profile", "pareto", "plot", "report", "explain", "export",
    "sensitivity",
)  # fmt: skip


LOADS_NOTHING = """
import contextlib, io, json, sys
from phonelm_search.cli.main import run_command
outputs = []
for words in json.loads(sys.argv[2]):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        code = run_command(words)
    heavy = set(sys.argv[1].split()) & set(sys.modules)
    assert code == 0 and not heavy, (words, code, heavy)
    outputs.append(out.getvalue())
print(json.dumps(outputs))
"""


def outputs_without(modules: str, commands: Sequence[Sequence[str]]) -> list[str]:
    """What commands print in a process of their own; it fails where one loads such a module."""
    command = [sys.executable, "-c", LOADS_NOTHING, modules, json.dumps(commands)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    outputs: list[str] = json.loads(done.stdout)
    return outputs


def test_help_is_quick_because_nothing_heavy_is_imported() -> None:
    heavy = "torch onnxruntime optuna pandas numpy onnx sqlalchemy matplotlib"
    names = (*ACTIONS, "studies", "spaces", "devices")
    commands = [["--help"], ["--version"], *([name, "--help"] for name in names)]
    assert all(outputs_without(heavy, commands))


def test_commands_that_read_a_study_load_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study(tmp_path, [(10.0, 2.0), (20.0, 1.5)])
    monkeypatch.chdir(tmp_path)
    heavy = "torch onnxruntime optuna pandas onnx matplotlib scipy"
    reading = ("pareto study", "pareto study --all", "explain study", "studies check study")
    outputs_without(heavy, [[*line.split(), "--results", "."] for line in reading])
    outputs_without(f"{heavy} numpy", [["studies", "list", "--results", "."]])
    outputs_without("torch", [["export", "study", "--to", "hf", "-o", "w", "--results", "."]])


@pytest.mark.parametrize("failed", [0, 2])
def test_a_study_without_a_measurement_is_read_by_every_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], failed: int
) -> None:
    store, _ = study(tmp_path, [])
    for layers in range(1, failed + 1):
        shape = small_shape(num_hidden_layers=layers)
        part = StudyShape(shape_id=shape.shape_id, role="trial", reason="it was too large")
        store.set_study_shape("study", shape, part)
    lines = {
        "studies list": 0, "studies show study": 0, "studies check study": 0, "report study": 0,
        "pareto study --all --json": 0, "pareto study": 0, "pareto study --max-ttft 1ms": 0,
        "explain study": 1, "explain study w64": 1, "plot study --kind all": 0,
        "export study -o out": 1, "sensitivity study": 1,
    }  # fmt: skip
    for line, code in lines.items():
        given = run_command([*line.split(), "--results", str(tmp_path)])
        said = capsys.readouterr().err
        assert "internal error" not in said, line
        assert given == code, (line, said)


def test_every_command_explains_itself_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ACTIONS:
        assert run_command([name, "--help"]) == 0
        assert "Example" in capsys.readouterr().out


def test_pinned_versions_are_the_installed_ones() -> None:
    from importlib.metadata import PackageNotFoundError, version

    pins = dict(
        line.split("==")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    )
    assert (pins["torch"], pins["onnxruntime"]) == ("2.13.0", "1.32.0")
    for name, pinned in pins.items():
        try:
            found = version(name).split("+")[0]
        except PackageNotFoundError:
            continue
        assert found == pinned, name


@pytest.fixture
def fake_phone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("device_profiles").mkdir()
    Path("device_profiles/fake-phone.yaml").write_text("name: fake-phone\nruntime: fake\n")


FEW = """
name: few
vocab_size: 512
hidden_size: [64, 96]
num_hidden_layers: {min: 2, max: 4}
head_dim: [32]
ffn_ratio: [2.0]
multiple_of: 32
hidden_act: [relu]
references:
  - {name: tiny-llama, hidden_size: 128, intermediate_size: 352, num_hidden_layers: 3,
     num_attention_heads: 4, hidden_act: silu}
"""


@pytest.mark.usefixtures("fake_phone")
def test_tables_come_in_every_format(capsys: pytest.CaptureFixture[str]) -> None:
    Path("search_spaces").mkdir()
    Path("search_spaces/few.yaml").write_text(FEW)
    search = ["search", "few", "--device", "fake-phone", "--trials", "5", "--json"]
    assert run_command(search) == 0
    document = json.loads(capsys.readouterr().out)
    assert {r["device"] for r in document["rows"]} == {"fake-phone"}
    ids = [r["shape_id"] for r in document["rows"]]
    for fmt in ("table", "md", "csv", "jsonl"):
        assert run_command(["pareto", "few.fake-phone", "--format", fmt]) == 0
        out = capsys.readouterr().out
        assert all(i in out for i in ids), fmt
    assert run_command(["pareto", "few.fake-phone", "--all", "--format", "jsonl"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert any(r["name"] == "tiny-llama" for r in rows)
    assert all(r["bits_per_byte"] is None for r in rows)


def test_bits_per_byte_are_shown_only_where_an_earlier_release_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder, bits in (("new", None), ("old", 2.0)):
        study(tmp_path / folder, [(10.0, bits), (20.0, bits)])
    shown = {}
    for folder in ("new", "old"):
        words = ["pareto", "study", "--results", str(tmp_path / folder), "--format", "md"]
        assert run_command(words) == 0
        shown[folder] = capsys.readouterr().out.splitlines()[0].strip("| ").split(" | ")
    of_old = {"bits/byte", "±", "quantised", "seeds"}
    assert set(shown["old"]) - set(shown["new"]) == of_old
    assert {"loss by the law", "of it prior", "P(front)"} <= set(shown["new"])


SHAPES = [
    small_shape(
        hidden_size=256, head_dim=64, intermediate_size=640, num_hidden_layers=n, hidden_act=act
    )
    for n, act in ((2, "silu"), (4, "relu"), (8, "silu"))
]


@pytest.mark.usefixtures("inline_training", "small_text")
def test_a_score_tells_pick_pairs_and_trust(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    store, _ = study(Path("results"), [(10.0, None), (20.0, None), (30.0, None)], shapes=SHAPES)
    words = ["score", "study", "--proxy-parameters", "60k", "--tokens-per-parameter", "0.05"]
    words += ["--minutes", "0.05", "--train-tokens", "2B", "--validate", "--json"]
    assert run_command(words) == 0
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    view = load_view(store, "study")
    pick = choose(view)
    assert view.train_tokens == 2e9
    assert document["pick"] == {
        "shape_id": pick.row.shape.shape_id,
        "why": pick.why,
        "provisional": list(pick.provisional),
        "tied": [r.shape.shape_id for r in pick.tied],
        "equals": [r.shape.shape_id for r in pick.equals],
    }
    assert any("a quick look" in doubt for doubt in pick.provisional)
    front = len(view.front)
    assert len(document["pairs"]) == front * (front - 1) // 2
    assert document["pairs"] == front_pairs(view)
    assert document["trust"] == trust(view)
    assert document["trust"].startswith("trust: of ")
    assert [r["shape_id"] for r in document["rows"] if r["pick"]] == [pick.row.shape.shape_id]
    assert {r["train_tokens"] for r in document["rows"]} == {2e9}
    assert "`phonelm-search plot study --kind validation`" in captured.err
    assert run_command(["plot", "study", "--kind", "validation", "-o", "v.png"]) == 0
    assert Path("v.png").read_bytes().startswith(b"\x89PNG")
    capsys.readouterr()
    assert run_command(["studies", "list", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert row["trained"] == len(view.trainings) > 2
    # For people: the pick's loss with where it comes from, and how far to trust it.
    assert run_command(["explain", "study"]) == 0
    out = capsys.readouterr().out
    assert f"the provisional pick: {pick.why}" in out
    assert "against the reference shape, by the law" in out
    assert "of the prior's variance is left" in out


@pytest.mark.usefixtures("fake_phone")
def test_profiles_of_several_shapes_and_contexts(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["profile", "tiny-llama", "PhoneLM-0.5B", "--device", "fake-phone", "--json"]
    command += ["--context-tokens", "64", "--context-tokens", "2000", "--prompt-tokens", "16"]
    assert run_command(command) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    asked = [(r["name"], r["prompt_tokens"], r["context_tokens"]) for r in rows]
    assert asked == [
        (name, prompt, context)
        for name in ("tiny-llama", "PhoneLM-0.5B")
        for prompt, context in ((16, None), (None, 64), (None, 2000))
    ]
    assert all(r["latency_ms"] > 0 and r["kind"] == "measured" for r in rows)


@pytest.mark.usefixtures("fake_phone")
def test_a_scenario_gives_ttft_tpot_and_end_to_end_time(
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["profile", "tiny-llama", "--device", "fake-phone", "--scenario", "talk=16:33"]
    assert run_command([*command, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [r["phase"] for r in rows] == ["prefill", "decode", "ttft", "tpot", "end-to-end"]
    assert {frozenset(r) for r in rows} == {frozenset(rows[0])}
    pp16, tg32, ttft, tpot, total = rows
    assert (pp16["prompt_tokens"], tg32["context_tokens"]) == (16, 32)
    assert (ttft["latency_ms"], tpot["latency_ms"]) == (pp16["latency_ms"], tg32["latency_ms"])
    assert total["latency_ms"] == pytest.approx(ttft["latency_ms"] + 32 * tpot["latency_ms"])
    assert total["ci_low_ms"] <= total["latency_ms"] <= total["ci_high_ms"]
    assert total["tokens_per_s"] == pytest.approx(33_000 / total["latency_ms"])
    assert [r["scenario"] for r in rows] == [None, None, *["talk=16:33"] * 3]
    assert run_command(command) == 0
    assert "talk=16:33 end-to-end" in capsys.readouterr().out


@pytest.mark.usefixtures("fake_phone")
def test_a_shape_that_fails_has_rows_with_its_reason_and_exit_1(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("c").mkdir()
    config = {
        "model_type": "llama", "hidden_size": 96, "intermediate_size": 128, "vocab_size": 512,
        "num_hidden_layers": 2, "num_attention_heads": 3,
    }  # fmt: skip
    Path("c/config.json").write_text(json.dumps(config))
    command = ["profile", "c/config.json", "tiny-llama", "--device", "fake-phone", "--json"]
    assert run_command([*command, "--precision", "int4-b128"]) == 1
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [r["latency_ms"] is None for r in rows] == [True, True, False, False]
    assert "multiple of 128" in rows[0]["reasons"][0]
    assert rows[0]["verdict"] == "rejected"


@pytest.mark.usefixtures("fake_phone")
def test_dry_run_touches_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["run", "tiny", "--device", "fake-phone", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "130 feasible shapes" in out
    told = re.search(r"would train (\d+) relatives of \S+ to \S+ decoder parameters: about", out)
    assert told
    assert not Path("results").exists()
    dry = ["run", "tiny", "--dry-run", "--json"]
    assert run_command(dry) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["trials"] == 24
    assert plan["trainings"] == int(told[1]) > 0
    assert plan["tokens"] > 0
    assert run_command([*dry, "--minutes", "1"]) == 0
    less = json.loads(capsys.readouterr().out)
    assert 0 < less["trainings"] < plan["trainings"]
    assert less["score_seconds"] < plan["score_seconds"]
