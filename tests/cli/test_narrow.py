"""What commands print of names that others gave, in terminals of all widths."""

import csv
import io
import json
from pathlib import Path

import pytest

from helpers import small_shape, study
from phonelm_search.cli import output
from phonelm_search.cli.main import run_command
from phonelm_search.core.records import StudyShape

NAMES = ("base [ours]", "SmolLM2 [/v2]", "a|b`c\n\x1b[31md", "=1+1")
SHOWN = ("base [ours]", "SmolLM2 [/v2]", "a|b`c\\n\\x1b[31md", "=1+1")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study whose references have names that mean something to somebody."""
    folder = tmp_path_factory.mktemp("r")
    store, _ = study(folder, [(10.0 * i, None) for i in range(1, 6)])
    for i, name in enumerate(NAMES):
        shape = small_shape(num_hidden_layers=i + 1)
        part = StudyShape(shape_id=shape.shape_id, role="reference", name=name)
        store.set_study_shape("study", shape, part)
    shape = small_shape(num_hidden_layers=9)
    failed = StudyShape(shape_id=shape.shape_id, role="trial", reason="it [timed] out " * 9)
    store.set_study_shape("study", shape, failed)
    return folder


@pytest.fixture(params=[80, 60, 40, None])
def width(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int | None:
    monkeypatch.setattr(output, "terminal_width", lambda stream: request.param)
    found: int | None = request.param
    return found


def printed(capsys: pytest.CaptureFixture[str], results: Path, *words: str) -> str:
    capsys.readouterr()
    assert run_command([*words, "--results", str(results)]) == 0
    out = capsys.readouterr().out
    bold = out.replace("\x1b[1m", "").replace("\x1b[0m", "")
    assert "\x1b" not in bold
    assert all(line == line.rstrip() for line in bold.splitlines())
    return bold


def test_pareto_keeps_numbers_and_names_in_one_piece(
    width: int | None, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = json.loads(printed(capsys, results, "pareto", "study", "--all", "--json"))["rows"]
    out = printed(capsys, results, "pareto", "study", "--all")
    assert all(r["shape_id"] in out for r in rows)
    assert all(output.text(r["relative_latency"]) in out for r in rows)
    if width != 60:  # there an id leaves no room for them
        assert all(name in out for name in SHOWN)
    left_out = "columns are left out at this width: " in out
    assert left_out == (width in (80, 60))
    assert left_out == ("`--format csv`, `--json`, or a wider terminal" in " ".join(out.split()))
    if width is not None:
        assert max(map(len, out.splitlines())) <= width


def test_every_table_fits(
    width: int | None, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shape_id = small_shape().shape_id
    for words in ("studies list", "explain study", "studies check study"):
        out = printed(capsys, results, *words.split())
        if width is not None:
            assert max(map(len, out.splitlines())) <= max(width, len(shape_id) + 20), words
    explained = printed(capsys, results, "explain", "study", NAMES[2])
    assert explained.startswith(SHOWN[2])


def test_a_name_is_a_cell_of_markdown_and_of_csv(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = printed(capsys, results, "pareto", "study", "--all", "--format", "md").splitlines()
    assert {line.replace("\\|", "").count("|") for line in table} == {table[0].count("|")}
    assert any(line.startswith("| a\\|b\\`c\\\\n\\\\x1b[31md |") for line in table)
    text = printed(capsys, results, "pareto", "study", "--all", "--format", "csv")
    names = [row["name"] for row in csv.DictReader(io.StringIO(text, newline=""))]
    assert set(names) >= {"base [ours]", "'=1+1", "a|b`c\n\\x1b[31md"}


def test_errors_print_no_escape_sequence(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, code in (
        (["explain", "study", "\x1b[31m[x]", "--results", str(results)], 1),
        (["pareto", "\x1b]0;[/x]\x07", "--results", str(results)], 1),
        (["pareto", "--\x1b[31m"], 2),
    ):
        capsys.readouterr()
        assert run_command(words) == code
        err = capsys.readouterr().err
        assert "\\x1b" in err
        assert "\x1b" not in err


def test_a_profile_of_a_name_that_is_no_path_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_command(["devices", "add", "--name", "../x"]) == 1
    assert "devices add: name: " in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
