"""The commands as functions give what the commands print."""

import inspect
import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.figure import Figure

from documents import python_block
from helpers import study
from phonelm_search import api
from phonelm_search.cli import (
    devices,
    explain,
    export,
    law,
    pareto,
    plot,
    profile,
    report,
    run,
    score,
    search,
    sensitivity,
    spaces,
    studies,
)
from phonelm_search.cli.main import run_command
from phonelm_search.core.defaults import DEFAULT_DEVICE
from phonelm_search.core.errors import ConfigurationError, UnknownNameError
from phonelm_search.core.units import parse_count
from phonelm_search.store import Store

EXAMPLE = Path(__file__).parent / "examples" / "notebook.py"


@pytest.mark.xdist_group("clock")  # who measures elsewhere would be waited for
@pytest.mark.usefixtures("quick_flow")
def test_the_example_runs_and_the_lines_of_the_docs_go_on_with_its_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), str(tmp_path)])
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    assert "the front has" in capsys.readouterr().out
    assert (tmp_path / "report.html").exists()
    assert (tmp_path / "spread.png").read_bytes().startswith(b"\x89PNG")
    names: dict[str, Any] = {}
    exec(python_block("api"), names)
    assert len(names["shapes"]) >= 3
    scored = names["scored"]
    assert scored["pick"].sum() == 1
    assert scored["relative_loss"].notna().all()
    assert scored["prior_share"].between(0, 1, inclusive="right").all()
    record = Store(Path("results")).study("tiny.host-cpu")
    assert record.config["score"]["ladder"]
    assert type(names["figure"]).__name__ == "Figure"
    page = Path("results/tiny.host-cpu/report.html")
    assert names["page"] == page
    assert page.exists()


def test_frames_hold_what_the_command_prints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study(tmp_path, [(10.0, 3.0), (20.0, 3.1), (30.0, 2.0)])
    assert run_command(["pareto", "study", "--results", str(tmp_path), "--all", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)["rows"]
    frame = api.pareto("study", everything=True, results=tmp_path)
    assert list(frame.columns) == list(printed[0])
    for column in ("shape_id", "latency_ms", "relative_loss", "bits_per_byte", "pick", "front"):
        assert frame[column].tolist() == [row[column] for row in printed]
    front = api.pareto("study", results=tmp_path)
    marked = frame[frame["front"]]
    assert front["latency_ms"].tolist() == marked["latency_ms"].tolist()
    assert front["latency_ms"].iloc[0] == pytest.approx(10, rel=5e-3)
    assert front["relative_loss"].is_monotonic_decreasing
    assert isinstance(front, pd.DataFrame)


ONLY_TYPED = {"context", "as_json", "fmt", "dry_run"}
"""Options of the command line alone: how something is printed."""
COMMANDS = {
    **{m.NAME: m.command for m in (
        run, search, score, profile, pareto, plot, report, explain, export, sensitivity,
    )},
    **{c.callback.__name__: c.callback for g in (studies, spaces, devices, law)
       for c in g.app.registered_commands if c.callback},
}  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_function_with_the_same_options_and_defaults(name: str) -> None:
    options = inspect.signature(COMMANDS[name]).parameters
    function = inspect.signature(getattr(api, name)).parameters
    # A figure is saved by matplotlib.
    typed = ONLY_TYPED | ({"output"} if name == "plot" else set())
    assert set(options) - typed == set(function)
    for option in set(options) & set(function):
        theirs, ours = options[option].default, function[option].default
        if ours is inspect.Parameter.empty or theirs is inspect.Parameter.empty:
            assert ours is theirs, option
        elif theirs is None and ours == DEFAULT_DEVICE:
            assert option == "device"
        elif option == "proxy_parameters":
            assert parse_count(theirs) == ours
        else:
            assert (theirs or None) == (ours or None), option


def test_there_is_no_function_without_a_command() -> None:
    assert set(api.__all__) == set(COMMANDS)


@pytest.mark.parametrize(
    ("command", "of_api"),
    [
        (["studies", "list"], lambda: api.list_studies().to_dict("records")),
        (["studies", "show", "study"], lambda: [api.show_study("study")]),
        (["studies", "check", "study"], lambda: api.check_study("study").to_dict("records")),
        (["spaces", "list"], lambda: api.list_spaces().to_dict("records")),
        (["devices", "list"], lambda: api.list_devices().to_dict("records")),
    ],
    ids=["studies list", "studies show", "studies check", "spaces list", "devices list"],
)
def test_groups_print_what_their_functions_give(
    command: list[str],
    of_api: Callable[[], list[dict[str, Any]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    study(Path("results"), [(10.0, 3.0), (20.0, 3.1)], verdict="suspect")
    assert run_command([*command, *(["--json"] if command[1] != "show" else [])]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert rows
    assert rows == json.loads(json.dumps(of_api()))


def test_functions_of_spaces_and_devices_give_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for show, copied in (
        (api.show_space, api.copy_space("tiny")), (api.show_device, api.copy_device("host-cpu")),
    ):  # fmt: skip
        assert show(copied.stem) == copied.read_text()
    assert run_command(["spaces", "check", "tiny", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    counts = json.loads(json.dumps(api.check_space("tiny")))
    assert counts.items() <= printed.items()
    assert counts["feasible"] == sum(counts["hidden_size"].values()) > 0
    assert run_command(["devices", "check", "host-cpu", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    found = api.check_device("host-cpu")
    read = {"read_gb_per_s", "cold_turn_bytes", "cold_turn_by"}  # anew by each
    assert [r["key"] for r in rows] == list(found)
    assert read < found.keys()
    assert all(r["value"] == found[r["key"]] for r in rows if r["key"] not in read)


def test_an_empty_study_is_a_frame_with_the_same_columns(tmp_path: Path) -> None:
    study(tmp_path / "some", [(10.0, 3.0)])
    study(tmp_path / "none", [])
    some = api.pareto("study", results=tmp_path / "some")
    none = api.pareto("study", results=tmp_path / "none")
    assert list(none.columns) == list(some.columns)
    assert none["latency_ms"].tolist() == []


def test_calls_are_kept_as_commands_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("device_profiles").mkdir()
    Path("device_profiles/fake-phone.yaml").write_text("name: fake-phone\nruntime: fake\n")
    api.search("tiny", device="fake-phone", trials=2)
    record = Store(Path("results")).study("tiny.fake-phone")
    (kept,) = record.config["commands"]
    assert kept["command"] == ("phonelm_search.api.search('tiny', device='fake-phone', trials=2)")


def test_pictures_and_reports(tmp_path: Path) -> None:
    study(tmp_path, [(10.0, 3.0), (20.0, 2.0)])
    assert isinstance(api.plot("study", "bandwidth", results=tmp_path), Figure)
    assert api.report("study", results=tmp_path) == tmp_path / "study" / "report.html"


def test_errors_are_those_of_the_commands(tmp_path: Path) -> None:
    study(tmp_path, [])
    with pytest.raises(ConfigurationError, match="kind must be one of front, training"):
        api.plot("study", "pie", results=tmp_path)
    with pytest.raises(UnknownNameError, match="unknown study 'other'"):
        api.pareto("other", results=tmp_path)
