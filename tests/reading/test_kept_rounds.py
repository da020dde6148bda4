"""Rounds are read when there is another one, and otherwise what was kept of them."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from helpers import SCENARIO, measurement, small_shape, study
from phonelm_search.measure import REFERENCE
from phonelm_search.outputs import study_rows
from phonelm_search.outputs.report.rounds import study_rounds
from phonelm_search.reading import StudyView, load_view
from phonelm_search.store import Store

SHAPES = [small_shape(num_hidden_layers=n + 1) for n in range(4)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return study(tmp_path, [(10.0 + n, None) for n in range(4)], shapes=SHAPES)[0]


def told(store: Store) -> str:
    """All that rounds come to, in rows and in the report's cards."""
    view = load_view(store, "study")
    return json.dumps([study_rows(view), list(map(str, study_rounds(store, view).places))])


def another_round(store: Store, view: StudyView, **changes: Any) -> None:
    of = {"device": "fake-phone", "environment": {"soc": "x"}, "shape_id": SHAPES[0].shape_id}
    rounds = [
        measurement(
            [10**6] * 9, workload=w, cache_mode=view.device.cache_mode(w), **{**of, **changes}
        )
        for w in SCENARIO.workloads
    ]
    store.add_measurements(SHAPES[0], rounds)


def test_no_round_is_read_where_there_is_no_other_one(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = told(store)
    for name in ("judged_rounds", "companion_rounds", "round_conditions"):
        monkeypatch.setattr(Store, name, lambda *_, **__: pytest.fail("it was kept"))
    assert told(Store(store.results, create=False)) == first


@pytest.mark.parametrize(
    "change",
    [
        {"round": 3},
        {"round": 3, "verdict": "rejected"},  # counts in no comparison
        {"round": 3, "verdict": "suspect"},
        {"round": 3, "twin": True},
        {"round": 3, "shape_id": REFERENCE.shape_id},
    ],
)
def test_another_round_is_heard_of(store: Store, change: dict[str, Any]) -> None:
    view = load_view(store, "study")
    before = told(store), store.rounds_state(view.places[0].environment_id)
    another_round(store, view, **change)
    after = told(store), store.rounds_state(view.places[0].environment_id)
    assert before[1] != after[1]
    assert (before[0] != after[0]) or "shape_id" in change or "twin" in change
    for file in (store.results / "cache").rglob("*.npz"):
        file.unlink()
    assert told(store) == after[0]


def test_a_dropped_round_and_a_changed_one_are_heard_of(store: Store) -> None:
    where = load_view(store, "study").places[0].environment_id
    whole = told(store)
    states = [store.rounds_state(where)]
    keys = sorted({m.key for m in store.measurements(shape_ids=[SHAPES[0].shape_id])})
    store.forget_measurements(keys, below_round=1)
    states.append(store.rounds_state(where))
    less = told(store)
    assert less != whole
    with create_engine(f"sqlite:///{store.results}/phonelm.db").begin() as connection:
        connection.execute(text("UPDATE phonelm_measurements SET paired_ns = 2 * paired_ns"))
        connection.execute(text("UPDATE phonelm_measurements SET verdict = 'suspect'"))
    states.append(store.rounds_state(where))
    assert len(set(states)) == 3
    assert told(store) not in (whole, less)


def test_rounds_of_other_environments_change_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = load_view(store, "study")
    first = told(store)
    another_round(store, view, environment={"soc": "another"})
    monkeypatch.setattr(Store, "judged_rounds", lambda *_, **__: pytest.fail("it was kept"))
    assert told(store) == first


def damaged(whole: bytes) -> Iterator[bytes]:
    """A file that was cut off, emptied, or hit somewhere."""
    yield b""
    yield whole[: len(whole) // 2]
    yield whole.replace(b"[", b"{")
    yield whole.replace(b'"', b"'")


@pytest.mark.parametrize("number", range(4))
def test_what_was_damaged_is_made_again(store: Store, number: int) -> None:
    first = told(store)
    files = [*(store.results / "cache").rglob("*.rounds.npz")]
    files += [*(store.results / "cache").rglob("*.judged.npz")]
    files += [*(store.results / "cache/rounds").glob("*.npz")]
    assert len(files) == len(SCENARIO.workloads) + 2
    for file in files:
        file.write_bytes(list(damaged(file.read_bytes()))[number])
    assert told(store) == first


def test_kept_rounds_are_fitted_as_those_of_the_database(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = told(store)
    for file in (store.results / "cache/effects").iterdir():
        if ".rounds." not in file.name and ".judged." not in file.name:
            file.unlink()
    monkeypatch.setattr(Store, "companion_rounds", lambda *_, **__: pytest.fail("it was kept"))
    assert told(store) == first


def test_an_unknown_environment_has_a_state(store: Store) -> None:
    assert store.rounds_state("nowhere") == store.rounds_state("neither")


def test_columns_say_what_rows_say(store: Store) -> None:
    view = load_view(store, "study")
    keys = sorted({m.key for m in store.measurements(shape_ids=[SHAPES[0].shape_id])})
    for number in range(3, 6):
        another_round(store, view, round=number, verdict="suspect")
    store.forget_measurements(keys, below_round=3)
    view = load_view(store, "study")
    times = view.table.times("fake-phone")
    for i, row in enumerate(view.rows):
        for name in ("ttft", "tpot", "end_to_end"):
            span = getattr(row.time, name)
            assert getattr(times, name)[i] == pytest.approx(tuple(span), rel=1e-12)
        assert view.table.judgements[i] == row.judgement
    assert {j.verdict for j in view.table.judgements} == {"valid", "suspect"}
    assert replace(view.rows[0], doubts=()).judgement.reasons == ()
