"""What a dry run may not do."""

import json
from pathlib import Path

import pytest

from phonelm_search import api
from phonelm_search.backends import host, planned_cache_bytes
from phonelm_search.cli.main import run_command
from phonelm_search.core.errors import ConfigurationError
from phonelm_search.devices import DeviceProfile, load_device
from phonelm_search.store import Store


def test_a_dry_run_neither_builds_nor_starts_the_runner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PHONELM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert run_command(["run", "tiny", "--device", "host-native", "--dry-run"]) == 0
    assert "130 feasible shapes" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_a_plan_takes_the_cache_that_this_machine_tells() -> None:
    for name in ("host-native", "host-cpu"):
        assert planned_cache_bytes(load_device(name)) == host.last_level_cache_bytes()


def test_a_plan_refuses_what_a_run_would() -> None:
    profile = DeviceProfile(
        name="here", runtime="onnxruntime-native", precision="qdq-a16w8", threads=1,
        execution_provider="QNNExecutionProvider",
    )  # fmt: skip
    with pytest.raises(ConfigurationError, match="must be a phone"):
        planned_cache_bytes(profile)


@pytest.mark.parametrize("dry", [["--dry-run"], []], ids=["dry", "run"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data", "/nope"], "there is no /nope"),
        (["--data", "null.jsonl"], 'line 2 has a "text" that is null'),
        (
            ["--vocab-size", "1"],
            "vocab_size.0: input should be greater than or equal to 2",
        ),
        (["--vocab-size", "1000000000"], "should be less than or equal to 2097152, got 1000000000"),
        (["--study", "."], "a study's name must be"),
        (["--tokens-per-parameter", "1e20"], "'--tokens-per-parameter': Input should be less"),
        (["--proxy-parameters", "9" * 26], "--proxy-parameters: a count must be less than 2^63"),
        (["--law", "nope.json"], "nope.json must be readable: No such file"),
        (["--law", "null.jsonl"], "null.jsonl must be a law as `law fit` writes it"),
        (["--max-ttft", "soon"], "--max-ttft: a time must be such as 400ms or 1.2s"),
        (["--max-ttft", "pixel=4ms"], "unknown device of this study 'pixel'"),
        (["--sampler", "best"], "unknown sampler 'best'"),
        (["--minutes", "inf"], "'--minutes': Input should be less"),
    ],
)
def test_a_dry_run_and_a_run_refuse_the_same_before_anything_is_measured(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
    dry: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("null.jsonl").write_text('{"text": "a"}\n{"text": null}\n')
    Path("device_profiles").mkdir()
    Path("device_profiles/fake-phone.yaml").write_text("name: fake-phone\nruntime: fake\n")
    assert run_command(["run", "tiny", "--device", "fake-phone", *options, *dry]) == (
        2 if "Input" in message else 1
    )
    error = capsys.readouterr().err
    assert message in error
    assert "measuring" not in error
    if not dry and Path("results").exists():
        assert Store(Path("results")).studies() == []


def test_a_function_refuses_a_sampler_before_it_starts_a_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for call in (api.run, api.search):
        with pytest.raises(ConfigurationError, match="unknown sampler 'best'"):
            call("tiny", sampler="best")
    assert not Path("results").exists()


def test_what_is_there_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("device_profiles").mkdir()
    Path("device_profiles/fake-phone.yaml").write_text("name: fake-phone\nruntime: fake\n")
    words = ["tiny", "--device", "fake-phone"]

    def planned(*options: str) -> str:
        assert run_command(["run", *words, "--dry-run", *options]) == 0
        return capsys.readouterr().out

    assert "would measure 24 trials and 1 reference (" in planned()
    assert run_command(["search", *words, "--trials", "2"]) == 0
    capsys.readouterr()
    assert "22 more trials (2 of 24 are there) and 1 reference (1 of 1 are there) (" in planned()
    assert "would measure 1 more trial (2 of 3 are there)" in planned("--trials", "3")
    assert "would measure 0 more trials (2 are there)" in planned("--trials", "1")
    document = json.loads(planned("--json"))
    assert (document["trials"], document["finished_trials"]) == (22, 2)
    assert (document["references"], document["finished_references"]) == (1, 1)


FAKE = "name: fake-phone\nruntime: fake\n"
SEARCH = ["search", "tiny", "--device", "fake-phone", "--trials", "2", "--study", "st"]
RUN = ["run", "tiny", "--device", "fake-phone", "--study", "st"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "device_profiles").mkdir()
    (tmp_path / "device_profiles/fake-phone.yaml").write_text(FAKE)
    (tmp_path / "notes.txt").write_text("no database at all, but a text of some length\n" * 40)
    return tmp_path


def refusal(capsys: pytest.CaptureFixture[str], words: list[str]) -> str:
    capsys.readouterr()
    assert run_command(words) == 1
    lines = capsys.readouterr().err.splitlines()
    return next(line for line in lines if line.startswith("phonelm-search: "))


@pytest.mark.usefixtures("small_reference")
def test_a_dry_run_refuses_a_study_of_other_settings(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(SEARCH) == 0
    files = sorted(folder.rglob("*"))
    for options, message in (
        (["--scenario", "chat=8:8"], 'scenario was "chat=256:128", is "chat=8:8"'),
        (["--vocab-size", "4096"], "space.vocab_size was [2048], is [4096]"),
        (["--objective", "prefill"], "objectives was"),
    ):
        dry = refusal(capsys, [*RUN, *options, "--dry-run"])
        assert "must be continued as it was started; differs: " in dry
        assert message in dry
        assert refusal(capsys, [*RUN, *options]) == dry
    profile = folder / "device_profiles/fake-phone.yaml"
    profile.write_text(FAKE + "threads: 1\n")
    assert "device.threads was" in refusal(capsys, [*RUN, "--dry-run"])
    profile.write_text(FAKE)
    assert run_command([*RUN, "--dry-run"]) == 0
    assert "would measure 22 more trials (2 of 24 are there)" in capsys.readouterr().out
    assert {f for f in folder.rglob("*") if not f.name.startswith(".")} <= set(files)


@pytest.mark.parametrize("dry", [["--dry-run"], []], ids=["dry", "run"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--storage", "x"], "--storage must be an SQLAlchemy URL"),
        (["--storage", "sqlite:///notes.txt"], "cannot open the database notes.txt"),
        (["--storage", "sqlite:///nope/x.db"], "the database nope/x.db"),
        (["--storage", "sqlite:///device_profiles"], "the database device_profiles"),
        (["--storage", "mysql://u:p@host/x"], "SQLAlchemy URL of sqlite or postgresql, got mysql"),
        (["--storage", "postgresql+nope://u:p@host/x"], "--storage must be an SQLAlchemy URL"),
        (["--results", "notes.txt"], "the results folder notes.txt must be writable"),
        (["--results", "notes.txt/r"], "the results folder notes.txt/r must be writable"),
        (["--train-tokens", "1e30"], "--train-tokens: a count must be less than 2^63"),
        (["--train-tokens", "nan"], "--train-tokens: a count must be a number"),
        (["--train-tokens", "300Q"], "--train-tokens: a count must be a number"),
        (["--scenario", "chat=1e9:1e9"], "a scenario must read NAME=PROMPT:GENERATED"),
        (["--scenario", "chat=1000000000:9"], "a scenario must be of at most 1,048,576 tokens"),
    ],
)
def test_what_cannot_be_used_is_said_before(
    folder: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str,
    dry: list[str],
) -> None:  # fmt: skip
    assert message in refusal(capsys, [*RUN, *options, *dry])
    assert not (folder / "results/phonelm.db").exists()
    assert (folder / "notes.txt").read_text().startswith("no database")
