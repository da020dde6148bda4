"""A study is opened once: held to its end, read anew only after a write."""

from pathlib import Path

import pytest

from helpers import Told, measurement, study
from phonelm_search.core.errors import StoreError
from phonelm_search.core.latency import LatencySummary
from phonelm_search.quality import ScoreSettings
from phonelm_search.stages import run_score, train
from phonelm_search.stages.session import open_session
from phonelm_search.store import study_lock


def test_a_view_is_read_anew_only_after_a_write(tmp_path: Path) -> None:
    store, _ = study(tmp_path, [(10.0, 2.0), (20.0, 1.5)])
    with open_session(store, "study", report=Told()) as session:
        first = session.view
        assert session.view is first
        session.configure("pick", "best")
        assert session.view is not first
        assert session.view.record.config["pick"] == "best"
        session.configure("pick", "best")  # nothing changes
        again = session.view
        assert session.view is again
        row = again.rows[0]
        extra = measurement(
            [10**6] * 9, round=3, shape_id=row.shape.shape_id, workload=first.scenario.workloads[0],
            device="fake-phone", environment={"soc": "x"}, cache_mode="warm",
        )  # fmt: skip
        store.add_measurements(row.shape, [extra])
        prefill = session.view.rows[0].time.prefill
        assert isinstance(prefill, LatencySummary)
        assert prefill.rounds == 4


def test_parts_of_the_configuration_are_added_to_as_they_are_now(tmp_path: Path) -> None:
    store, _ = study(tmp_path, [(10.0, 2.0)])
    with open_session(store, "study", report=Told()) as session:
        assert session.view.record.config["score"] == {"settings_id": "s"}
        session.extend("score", {"budget": 1})
        assert store.study("study").config["score"] == {"settings_id": "s", "budget": 1}


def test_a_study_is_held_until_its_files_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _ = study(tmp_path, [(10.0, 2.0), (20.0, 1.5)])
    monkeypatch.setattr(train, "score", lambda *arguments, **options: None)
    refusals: list[str] = []

    def held(*_: object) -> None:
        with pytest.raises(StoreError) as caught, study_lock(store.results, "study"):
            pass
        refusals.append(str(caught.value))

    monkeypatch.setattr("phonelm_search.stages.decide.write_tables", held)
    run_score(store, "study", ScoreSettings(), top=2, report=Told(), rule="best")
    assert len(refusals) == 1
    assert "must be run by one process at a time" in refusals[0]
    with study_lock(store.results, "study"):
        assert store.study("study").config["pick"] == "best"
