"""Bad input: one clear line on stderr, exit 1 (2 for wrong usage), nothing lost."""

import json
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from phonelm_search.cli.main import run_command

FAKE = "name: fake-phone\nruntime: fake\nthreads: 2\n"
SEARCH = [
    "search", "tiny", "--device", "fake-phone", "--trials", "4",
]  # fmt: skip


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "device_profiles").mkdir()
    (tmp_path / "device_profiles" / "fake-phone.yaml").write_text(FAKE)
    return tmp_path


def complaint(capsys: pytest.CaptureFixture[str], arguments: list[str], code: int = 1) -> str:
    """Run a command that must fail; returns its one line."""
    capsys.readouterr()
    assert run_command(arguments) == code
    lines = [x for x in capsys.readouterr().err.splitlines() if x.startswith("phonelm-search:")]
    assert len(lines) == 1
    return lines[0]


def local_space(**lines: str) -> None:
    folder = Path("search_spaces")
    folder.mkdir(exist_ok=True)
    base = {
        "name": "mine",
        "hidden_size": "[64]",
        "num_hidden_layers": "[2]",
        "head_dim": "[32]",
        "ffn_ratio": "[2.0]",
    }
    text = "\n".join(f"{k}: {v}" for k, v in {**base, **lines}.items())
    (folder / "mine.yaml").write_text(text + "\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "nope"], "unknown search space 'nope'; known: phonelm-0.5b"),
        (
            ["run", "tiny", "--device", "pixel"],
            "unknown device profile 'pixel'; known: android-arm64",
        ),
        (["run", "tiny", "--precision", "int3"], "unknown precision 'int3'; known: fp32"),
        (["run", "tiny", "--objective", "x"], "unknown objective 'x'; known: latency"),
        (["run", "tiny", "--sampler", "x"], "unknown sampler 'x'; known: model, tpe"),
        (["run", "tiny", "--pick", "x"], "unknown pick rule 'x'; known: knee"),
        (["run", "tiny", "--scenario", "x"], "a scenario must read NAME=PROMPT:GENERATED"),
        (["run", "tiny", "--study", "a/b"], "a study's name must be"),
        (["run", "tiny", "--proxy-parameters", "lots"], "--proxy-parameters: a count must be"),
        (["run", "tiny", "--train-tokens", "lots"], "--train-tokens: a count must be a number"),
        (["score", "x", "--train-tokens", "0"], "--train-tokens must be positive, got 0"),
        (["run", "tiny", "--storage", "x"], "--storage must be an SQLAlchemy URL"),
        (["profile", "gpt5"], "unknown shape 'gpt5'; known: PhoneLM-0.5B"),
        (["run", "tiny", "--train-tokens", "9" * 26], "--train-tokens: a count must be less than"),
        (["run", "tiny", "--scenario", "chat=9:" + "9" * 19], "a scenario must be of at most 1"),
        (["profile"], "at least one shape must be given"),
        (["pareto", "x"], "there is no database results/phonelm.db; run"),
        (["spaces", "copy", "nope"], "unknown search space 'nope'"),
        (["devices", "show", "nope"], "unknown device profile 'nope'"),
    ],
)
def test_unknown_names_are_one_line_with_what_is_known(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert message in complaint(capsys, arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--trials", "0"],
        ["run", "--seed", "-1"],
        ["run", "--what"],
        ["nope"],
        ["plot"],
        ["plot", "x", "--kind", "y"],
        ["score", "x", "--minutes", "0"],
        ["score", "x", "--minutes", "nan"],
        ["run", "--minutes", "inf"],
        ["run", "--tokens-per-parameter", "1e20"],
        ["run", "--trials", "9" * 26],
        ["run", "--seed", "9" * 26],
        ["run", "--vocab-size", "9" * 26],
        ["profile", "x", "--context-tokens", "9" * 26],
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(arguments) == 2
    assert "Usage:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run", "tiny", "--law", ""], "--law must have a value"),
        (["run", "tiny", "--results="], "--results must have a value"),
        (["run", "tiny", "--storage", "", "--json"], "--storage must have a value"),
        (["run", "tiny", "--data", "", "--dry-run"], "--data must have a value"),
        (["search", "tiny", "--study", ""], "--study must have a value"),
        (["report", "x", "-o", ""], "-o must have a value"),
        (["profile", ""], "the argument after profile must have a value"),
        ([""], "the argument after phonelm-search must have a value"),
    ],
)
def test_an_empty_argument_is_no_value(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told in complaint(capsys, arguments, code=2)
    assert not Path("phonelm.db").exists()


def test_malformed_files_name_file_and_key(capsys: pytest.CaptureFixture[str]) -> None:
    local_space(hidden_sizes="[1]")
    line = complaint(capsys, ["spaces", "check", "mine"])
    assert "search_spaces/mine.yaml: hidden_sizes: unknown key; allowed: name, vocab_size" in line
    local_space(parameters="{target: 900M}")
    assert "tightest constraint: decoder parameters 900M ± 5%" in complaint(capsys, ["run", "mine"])
    Path("search_spaces/mine.yaml").write_text("a: [")
    assert "must be valid YAML" in complaint(capsys, ["run", "mine"])
    Path("config.json").write_text("{")
    assert "config.json must be valid JSON" in complaint(capsys, ["profile", "config.json"])
    Path("device_profiles/bad.yaml").write_text("name: bad\nprecision: int3\n")
    line = complaint(capsys, ["devices", "check", "bad"])
    assert "bad.yaml: precision: unknown precision 'int3'; known: fp32" in line
    Path("device_profiles/worse.yaml").write_text("name: worse\nruntime: tvm\n")
    assert "unknown runtime 'tvm'" in complaint(capsys, ["devices", "check", "worse"])


def test_a_study_is_not_continued_with_another_space_device_or_scenario(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_command(SEARCH) == 0
    again = [*SEARCH, "--study", "tiny.fake-phone"]
    line = complaint(capsys, [*again, "--vocab-size", "4096"])
    assert "must be continued as it was started; differs: space.vocab_size was [2048]" in line
    line = complaint(capsys, [*again, "--scenario", "chat=8:8"])
    assert 'scenario was "chat=256:128", is "chat=8:8"' in line
    profile = Path("device_profiles/fake-phone.yaml")
    profile.write_text(FAKE.replace("threads: 2", "threads: 1"))
    assert 'environment.threads was "2", is "1"' in complaint(capsys, SEARCH)
    profile.write_text(FAKE)
    assert run_command(SEARCH) == 0


def test_unknown_studies_and_shapes_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(SEARCH) == 0
    assert "unknown study 'x'; known: tiny.fake-phone" in complaint(capsys, ["pareto", "x"])
    line = complaint(capsys, ["export", "tiny.fake-phone", "-o", "w", "--shape", "zzz"])
    assert "unknown measured shape 'zzz'" in line
    line = complaint(capsys, ["plot", "tiny.fake-phone", "--kind", "validation"])
    assert "must have two trainings of its largest size" in line
    line = complaint(capsys, ["plot", "tiny.fake-phone", "-o", "x.gif"])
    assert "must end in .png, .svg, .pdf" in line


def test_a_results_folder_that_is_not_writable(capsys: pytest.CaptureFixture[str]) -> None:
    Path("results").write_text("a file")
    assert "results folder results must be writable" in complaint(capsys, SEARCH)


def test_a_database_of_a_newer_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(SEARCH) == 0
    with sqlite3.connect("results/phonelm.db") as connection:
        connection.execute("UPDATE phonelm_schema SET version = 10")
    assert "must be of schema 9 or older, it is 10" in complaint(capsys, SEARCH)


def test_every_trial_failing_ends_with_the_first_reason(
    capsys: pytest.CaptureFixture[str],
) -> None:
    profile = Path("device_profiles/fake-phone.yaml")
    profile.write_text(FAKE + "execution_provider: FailingExecutionProvider\n")
    line = complaint(capsys, SEARCH)
    assert "at least one shape must be measured; all" in line
    assert "the fake provider fails on purpose (stage: load)" in line
    line = complaint(capsys, ["export", "tiny.fake-phone", "-o", "w"])
    assert "must have a measured shape to pick; run `phonelm-search search`" in line
    line = complaint(capsys, ["score", "tiny.fake-phone"])
    assert "must have measured shapes to train for; run `phonelm-search search` first" in line


def test_a_reference_that_the_kernels_refuse_is_listed_and_not_fatal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    local_space(
        hidden_size="[128, 256]",
        references="[{name: odd, hidden_size: 96, intermediate_size: 128, num_hidden_layers: 2, "
        "num_attention_heads: 3}]",
    )
    command = ["search", "mine", "--device", "fake-phone", "--trials", "2"]
    assert run_command([*command, "--precision", "int4-b128", "--json"]) == 0
    captured = capsys.readouterr()
    assert "reference odd left out: hidden_size must be a multiple of 128" in captured.err
    assert json.loads(captured.out)["rows"]


def hear_ctrl_c() -> None:
    """What a shell starts in the background ignores it, and so does what that starts."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def child(arguments: list[str], limit: Callable[[], None] = hear_ctrl_c) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "phonelm_search.cli.main", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=limit,
    )  # fmt: skip


def measured() -> int:
    with sqlite3.connect("results/phonelm.db") as connection:
        return int(connection.execute("SELECT COUNT(*) FROM phonelm_measurements").fetchone()[0])


def test_a_full_disk_is_one_line_and_loses_nothing() -> None:
    assert run_command(SEARCH) == 0
    before = measured()
    size = Path("results/phonelm.db").stat().st_size

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 8192, size + 8192))

    process = child([*SEARCH[:-1], "40"], small_files)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "Traceback" not in err
    assert "is kept" in err.splitlines()[-1]
    assert measured() >= before
    assert run_command([*SEARCH[:-1], "6"]) == 0


@pytest.mark.parametrize(("signal", "code"), [(2, 130), (15, 143), (1, 129), (9, -9)])
def test_killed_at_any_moment_a_rerun_continues(signal: int, code: int) -> None:
    process = child([*SEARCH[:-1], "500"])
    for _ in range(3600):
        if Path("results/phonelm.db").exists() and process.poll() is None:
            try:
                if measured() >= 6:
                    break
            except sqlite3.OperationalError:
                pass
        time.sleep(0.05)
    os.kill(process.pid, signal)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in err
    assert open_trials() == 0 or signal == 9
    if signal != 9:
        assert "everything finished so far is kept" in err.splitlines()[-1]
    kept = rounds()
    assert len(kept) >= 6
    begun = begun_shapes()
    assert run_command([*SEARCH[:-1], str(begun + 1)]) == 0
    assert kept <= rounds()
    assert complete_shapes() == begun + 1  # what was cut off among them


def begun_shapes() -> int:
    with sqlite3.connect("results/phonelm.db") as connection:
        query = "SELECT COUNT(*) FROM phonelm_study_shapes WHERE role = 'trial'"
        return int(connection.execute(query).fetchone()[0])


def open_trials() -> int:
    with sqlite3.connect("results/phonelm.db") as connection:
        query = "SELECT COUNT(*) FROM trials WHERE state = 'RUNNING'"
        return int(connection.execute(query).fetchone()[0])


def rounds() -> set[tuple[int, str, str]]:
    with sqlite3.connect("results/phonelm.db") as connection:
        query = "SELECT id, key, samples_ns FROM phonelm_measurements"
        return set(connection.execute(query).fetchall())


def complete_shapes() -> int:
    with sqlite3.connect("results/phonelm.db") as connection:
        query = (
            "SELECT COUNT(DISTINCT value_json) FROM trials JOIN trial_user_attributes "
            "USING (trial_id) WHERE state = 'COMPLETE' AND key = 'shape_id'"
        )
        return int(connection.execute(query).fetchone()[0])
