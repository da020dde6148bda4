"""What was checked of a study's latencies, in words."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from helpers import SCENARIO, measurement, small_shape, study
from phonelm_search.cli.main import run_command
from phonelm_search.core.latency import Extent
from phonelm_search.outputs import resolution_row, resolution_sentences
from phonelm_search.outputs.report.document import document
from phonelm_search.reading import StudyView, TwinPair, load_view
from phonelm_search.store import Store


def with_twin(folder: Path, slower: float) -> tuple[Store, StudyView]:
    """A study of two shapes; the first was measured twice, the second time so many times slower."""
    store, view = study(folder, [(10.0, None), (20.0, None)])
    row = view.rows[0]
    for workload, part in zip(SCENARIO.workloads, row.time.parts, strict=True):
        rounds = [
            measurement(
                [round(1e6 * slower * part.latency_ms)] * 9, round=number, workload=workload,
                twin=True, shape_id=row.shape.shape_id, device=view.device.name,
                environment={"soc": "x"}, cache_mode=view.device.cache_mode(workload), place=2,
            )
            for number in range(3)
        ]  # fmt: skip
        store.add_measurements(row.shape, rounds)
    return store, load_view(store, "study")


def test_a_pair_that_misses_one_says_so_everywhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, view = with_twin(tmp_path, 1.2)
    (pair,) = resolution_row(view)["twins"]
    assert pair["holds_one"] is False
    assert pair["note"].startswith(
        "that interval misses 1, which one pair in twenty does by chance"
    )
    (facts,) = [dict(c["facts"]) for c in document(store, view)["cards"]]
    assert facts["A/A pair"].endswith(pair["note"])
    words = ["studies", "check", "study", "--results", str(tmp_path)]
    assert run_command(words) == 0
    assert f"; {pair['note']}" in capsys.readouterr().err
    assert run_command([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["resolution"]["twins"] == [pair]


def test_a_pair_that_holds_one_is_as_it_should_be(tmp_path: Path) -> None:
    store, view = with_twin(tmp_path, 1.0)
    (pair,) = resolution_row(view)["twins"]
    assert pair["holds_one"]
    assert pair["note"] is None
    (told,) = [s for s in resolution_sentences(view) if s.startswith("A/A pair on fake-phone, one")]
    assert told.endswith("; 1 lies within, as it should")
    (facts,) = [dict(c["facts"]) for c in document(store, view)["cards"]]
    assert facts["A/A pair"].endswith(")")


def test_a_study_without_doubt_has_no_empty_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study(tmp_path, [(10.0, 3.0), (20.0, 3.1)])
    words = ["studies", "check", "study", "--results", str(tmp_path)]
    assert run_command(words) == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "0 doubtful shapes" in printed.err
    assert run_command([*words, "--format", "csv"]) == 0
    assert capsys.readouterr().out == "shape_id,verdict,why\n"


def test_an_end_at_one_holds_it() -> None:
    for ratio, holds in (
        ((1.1, 1.0, 1.2), True),
        ((0.9, 0.8, 1.0), True),
        ((1.1, 1.01, 1.2), False),
    ):
        pair = TwinPair(shape=small_shape(), device="d", ratio=Extent(*ratio))
        assert pair.holds_one is holds


def test_what_was_checked_and_what_it_means_for_the_pick_is_said_in_words(tmp_path: Path) -> None:
    _, view = study(tmp_path / "near", [(10.0, 2.0), (10.002, 2.0), (30.0, 2.0)])
    view = replace(view, budgets=())
    valid, difference, pick = resolution_sentences(view)
    assert valid == (
        "3 of 3 shapes have a valid latency: known, as a share of the reference shape, to ± 3% or "
        "better (95 %), by rounds that ran under like conditions"
    )
    assert view.smallest_difference is not None
    assert (
        f"differ by {view.smallest_difference:.1%} of their end-to-end time are told" in difference
    )
    assert pick.startswith("for the pick that means: of 2 other shapes one is too near in time")
    _, apart = study(tmp_path / "apart", [(10.0, 2.0), (20.0, 2.0)])
    assert resolution_sentences(apart)[2] == (
        "for the pick that means: its time is told apart from that of the other shape"
    )
    _, doubted = study(tmp_path / "doubted", [(10.0, 2.0), (20.0, 2.0)], verdict="suspect")
    assert resolution_sentences(doubted)[0].startswith("0 of 2 shapes have a valid latency: ")
    _, empty = study(tmp_path / "empty", [])
    assert resolution_sentences(empty) == ()
