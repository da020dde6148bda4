"""What a person is told of an NPU that nobody here has, and where it never appears."""

import contextlib
import io
import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from cli.test_commands import run_command
from helpers import small_texts
from npu.chip import shape, written
from phonelm_search.backends.qnn import check_key
from phonelm_search.core.hf_config import load_hf_config
from phonelm_search.core.workload import prefill
from phonelm_search.devices import load_device
from phonelm_search.store import Store
from phonelm_search.train.text import Text

pytestmark = pytest.mark.xdist_group("simulator")

SIM = ["--device", "snapdragon-npu-sim"]


def profile(config: str, *words: str) -> list[str]:
    lengths = ["--prompt-tokens", "16", "--context-tokens", "24"]
    return ["profile", config, *SIM, *lengths, *words]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(written(tmp_path_factory.mktemp("small"), shape(num_hidden_layers=3)))


@dataclass(frozen=True)
class Seen:
    """What ``profile --json`` told, and where it keeps that."""

    results: Path
    out: str
    err: str


@pytest.fixture(scope="module")
def seen(config: str, text: Text, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    results, out, err = tmp_path_factory.mktemp("results"), io.StringIO(), io.StringIO()
    with (
        small_texts(text),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        code = run_command(profile(config, "--json", "--results", str(results)))
    assert code == 0, err.getvalue()
    return Seen(results, out.getvalue(), err.getvalue())


def test_profile_tells_coverage_and_numerics_and_no_latency(seen: Seen) -> None:
    rows = json.loads(seen.out)["rows"]
    assert [r["phase"] for r in rows] == ["prefill", "decode"]
    for row in rows:
        assert (row["kind"], row["coverage"], row["compiled_layers"]) == ("simulated", 1.0, 2)
        assert row["num_hidden_layers"] == 3
        for none in ("latency_ms", "ci_low_ms", "ci_high_ms", "tokens_per_s", "verdict"):
            assert row[none] is None
        assert row["reasons"][0].startswith("no latency: it was computed here as the chip would")
        assert 0 < row["logits_error"] < 0.10
        assert 0 < row["kv_error"] < 0.05
        assert row["context_bytes"] > 100_000
    assert "2 of 3 layers were compiled; no latency" in seen.err
    assert "WARNING" not in seen.err


def test_what_was_compiled_is_kept_and_is_no_measurement(
    seen: Seen, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(profile(config, "--json", "--results", str(seen.results))) == 0
    # Seconds of compiling among it: it was not compiled again.
    assert json.loads(capsys.readouterr().out) == json.loads(seen.out)
    store = Store(seen.results, create=False)
    assert store.measurements() == []
    assert store.studies() == []


def test_the_table_has_no_number_where_there_is_no_latency(
    seen: Seen, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(profile(config, "--format", "md", "--results", str(seen.results))) == 0
    head, _, *lines = capsys.readouterr().out.splitlines()
    column = [c.strip() for c in head.split("|")].index("ms")
    assert len(lines) == 2
    for line in lines:
        cells = [c.strip() for c in line.split("|")]
        assert cells[column] == "–"
        assert "simulated" in cells
        assert "100.0%" in cells
        assert "2 of 3" in cells


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("command", ["run", "search"])
def test_a_simulated_npu_cannot_be_searched_on(
    command: str, nowhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command([command, "tiny", *SIM, "--trials", "2"]) == 1
    assert "snapdragon-npu-sim has no latency" in capsys.readouterr().err
    assert Store(nowhere / "results").studies() == []


def test_a_dry_run_counts_compiling_every_shape_whole(
    nowhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def seconds(device: str, trials: int) -> float:
        words = ["run", "tiny", "--device", device, "--trials", str(trials)]
        assert run_command([*words, "--dry-run", "--json"]) == 0
        return float(json.loads(capsys.readouterr().out)["search_seconds"])

    assert seconds("snapdragon-8-gen-3", 20) > seconds("android-arm64", 20)
    # Trials are measured whole, so that twice as many take twice as long but for the reference.
    twice = seconds("snapdragon-8-gen-3", 80) / seconds("snapdragon-8-gen-3", 40)
    assert 1.8 < twice < 2.2
    assert run_command(["run", "tiny", "--device", "snapdragon-8-gen-3", "--dry-run"]) == 0


def test_sensitivity_refuses_it_too(nowhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["sensitivity", "tiny", *SIM]) == 1
    assert "snapdragon-npu-sim has no latency" in capsys.readouterr().err


def test_other_precisions_are_refused_with_those_that_fit(
    nowhere: Path, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(profile(config, "--precision", "int4-b32")) == 1
    error = capsys.readouterr().err
    assert "QNNExecutionProvider takes a precision of qdq-a16w8, qdq-a8w8, got int4-b32" in error
    assert run_command(["profile", config, "--precision", "qdq-a8w8"]) == 1
    assert "CPUExecutionProvider takes a precision of fp32" in capsys.readouterr().err


def test_devices_check_tells_the_chip_and_the_compiler(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_command(["devices", "check", "snapdragon-npu-sim", "--json"]) == 0
    found = {r["key"]: r["value"] for r in json.loads(capsys.readouterr().out)["rows"]}
    assert (found["soc_model"], found["htp_arch"], found["latency"]) == ("57", "75", "none")
    assert found["onnxruntime-qnn"].startswith("2.")
    assert found["backend"] == "libQnnHtp.so"


def test_a_missing_compiler_is_said_with_how_to_get_it(
    nowhere: Path,
    config: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "phonelm_search.backends.qnn.compile.importlib.util.find_spec", lambda name: None
    )
    assert run_command(profile(config)) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()[-1:]
    assert (
        "needs onnxruntime-qnn, which is not installed; pip install 'phonelm-search[npu]'" in line
    )


def test_what_was_compiled_stands_on_no_front_and_in_no_plot(
    seen: Seen, config: str, nowhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A study of the fake phone reads the same beside compilations of its own shapes."""
    Path("device_profiles").mkdir()
    Path("device_profiles/fake-phone.yaml").write_text("name: fake-phone\nruntime: fake\n")
    search = ["search", "tiny", "--device", "fake-phone", "--trials", "2"]
    assert run_command(search) == 0
    reading = (["pareto", "tiny.fake-phone", "--all", "--json"],
               ["plot", "tiny.fake-phone", "--kind", "spread", "-o", "spread.svg"])  # fmt: skip

    def read() -> list[str]:
        capsys.readouterr()
        assert [run_command(list(words)) for words in reading] == [0, 0]
        return [capsys.readouterr().out, Path("spread.svg").read_text()]

    before = read()
    store = Store(nowhere / "results")
    device = load_device("snapdragon-npu-sim")
    key = check_key(load_hf_config(Path(config)), prefill(16), device)
    found = Store(seen.results).compilation(key)
    assert found
    ids = [row["shape_id"] for row in json.loads(before[0])["rows"]]
    for shape_id in ids:
        made = replace(found, key=shape_id[-12:], shape_id=shape_id)
        store.set_compilation(store.shape(shape_id), made)
        assert store.compilation(made.key) == made
    assert len(ids) > 1
    assert read() == before
