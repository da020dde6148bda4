"""The ask/tell driver on a space with a known front, with latencies from a formula."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from moocore import hypervolume
from optuna.trial import TrialState

from formula import FEASIBLE, INT4, SPACE, Formula, PerShape, driver, goals, ignore, summary
from helpers import SCENARIO, trials_of
from phonelm_search.core.errors import UnknownNameError
from phonelm_search.core.latency import LatencySummary
from phonelm_search.core.pareto import non_dominated
from phonelm_search.core.records import StudyRecord
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.workload import Workload
from phonelm_search.search import SearchDriver, TrialReport, choose_objectives
from phonelm_search.space import Coordinates, enumerate_space
from phonelm_search.store import Store


def test_trials_carry_the_decoded_shape_and_its_values(tmp_path: Path) -> None:
    source = Formula()
    reports: list[TrialReport] = []
    driver(tmp_path, source).run(5, reports.append)
    trials = trials_of(Store(tmp_path), "st")
    assert [r.number for r in reports] == [1, 2, 3, 4, 5]
    for trial, report in zip(trials, reports, strict=True):
        shape = report.shape
        assert trial.user_attrs["shape_id"] == shape.shape_id
        assert trial.user_attrs["num_hidden_layers"] == shape.num_hidden_layers
        latencies = source.latencies(shape, SCENARIO.workloads)
        assert trial.values == goals().values(shape, latencies) == list(report.values or ())
        assert trial.values[1] == shape.decoder_parameters


class TwoBowls(PerShape):
    """Prefill and decode are squared distances to two shapes: the front is known, and narrow."""

    coordinates = Coordinates(FEASIBLE)
    bowls = (4000, 20000)

    def position(self, shape: ModelShape) -> np.ndarray:
        point = {
            "hidden_size": shape.hidden_size,
            "num_hidden_layers": shape.num_hidden_layers,
            "kv_groups": shape.kv_groups,
            "ffn_ratio": shape.ffn_ratio,
            "hidden_act": SPACE.hidden_act.index(shape.hidden_act),
        }
        scaled = [(point[d.name] - d.low) / (d.high - d.low) for d in self.coordinates.dimensions]
        return np.array(scaled)

    def distances(self, shape: ModelShape) -> list[float]:
        centres = [self.position(FEASIBLE.shape(row)) for row in self.bowls]
        return [float(np.square(self.position(shape) - c).sum()) for c in centres]

    def latencies(
        self, shape: ModelShape, workloads: Sequence[Workload]
    ) -> dict[Workload, LatencySummary]:
        return {w: summary(d) for w, d in zip(workloads, self.distances(shape), strict=True)}


@pytest.mark.usefixtures("trials_in_memory")
def test_nsga2_reaches_later_generations_and_beats_random_on_a_known_front(
    tmp_path: Path,
) -> None:
    source = TwoBowls()
    far = source.distances(FEASIBLE.shape(TwoBowls.bowls[0]))[1]
    every = np.array([source.distances(FEASIBLE.shape(r)) for r in range(len(FEASIBLE))])
    best = hypervolume(every[non_dominated(every)], ref=[far, far])
    shares: dict[str, list[float]] = {"nsga2": [], "random": []}
    for sampler, found in shares.items():
        for seed in (0, 1):
            folder = tmp_path / f"{sampler}{seed}"
            wanted = goals("prefill", "decode")
            driver(folder, source, sampler=sampler, seed=seed, wanted=wanted).run(120, ignore)
            values = [t.values for t in trials_of(Store(folder), "st")]
            found.append(hypervolume(values, ref=[far, far]) / best)
    assert min(shares["nsga2"]) > max(shares["random"])
    generations = [
        value
        for trial in trials_of(Store(tmp_path / "nsga20"), "st")
        for name, value in trial.system_attrs.items()
        if "generation" in name
    ]
    assert max(generations) >= 2


@pytest.mark.usefixtures("trials_in_memory")
@pytest.mark.parametrize("sampler", ["tpe", "random", "nsga2", "grid"])
def test_trials_are_distinct_shapes_until_a_space_is_exhausted(
    tmp_path: Path, sampler: str
) -> None:
    small = SPACE.model_copy(
        update={"hidden_size": (64, 128), "num_hidden_layers": (2, 3), "ffn_ratio": (2.0, 3.0)}
    )
    feasible = enumerate_space(small, INT4)
    store, source = Store(tmp_path), Formula()
    store.save_study(StudyRecord(name="st", config={}, environment_id="e"))
    wanted = goals(feasible=feasible)
    found = SearchDriver(store, "st", feasible, source, wanted, sampler=sampler)
    found.run(10, ignore)
    assert len({s.shape_id for s in source.asked}) == len(source.asked) == 10
    found.run(1000, ignore)
    assert len(source.asked) == len(feasible)


def test_a_continued_grid_fills_the_gaps_of_the_finer_one(tmp_path: Path) -> None:
    source = Formula()
    driver(tmp_path, source, sampler="grid").run(5, ignore)
    driver(tmp_path, source, sampler="grid").run(9, ignore)
    expected = {FEASIBLE.shape(round(i * (len(FEASIBLE) - 1) / 8)).shape_id for i in range(9)}
    assert {s.shape_id for s in source.asked} == expected
    states = {t.state for t in trials_of(Store(tmp_path), "st")}
    assert states == {TrialState.COMPLETE}


def test_grid_spreads_over_the_enumeration(tmp_path: Path) -> None:
    source = Formula()
    driver(tmp_path, source, sampler="grid").run(7, ignore)
    expected = [FEASIBLE.shape(round(i * (len(FEASIBLE) - 1) / 6)) for i in range(7)]
    assert source.asked == expected


@pytest.mark.usefixtures("trials_in_memory")
@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random"])
def test_the_same_seed_asks_the_same_shapes(tmp_path: Path, sampler: str) -> None:
    asked = []
    for run in ("a", "b"):
        source = Formula()
        driver(tmp_path / run, source, sampler=sampler, seed=5).run(14, ignore)
        asked.append(source.asked)
    assert asked[0] == asked[1]


def test_objectives_are_chosen_by_name_or_by_what_differs() -> None:
    sized = SPACE.model_copy(update={"num_hidden_layers": (3,), "hidden_size": (64,),
                                     "ffn_ratio": (2.0,), "kv_groups": (1,)})  # fmt: skip
    one_size = enumerate_space(sized, INT4)
    assert choose_objectives([], FEASIBLE) == ("latency", "parameters")
    assert choose_objectives([], one_size) == ("latency",)
    assert goals("memory", "prefill").objectives == ("prefill", "memory")
    assert goals("prefill", "parameters").directions == ["minimize", "maximize"]
    with pytest.raises(UnknownNameError, match="unknown objective 'speed'; known: latency"):
        choose_objectives(["speed"], FEASIBLE)
    with pytest.raises(ValueError, match="objectives must be distinct"):
        choose_objectives(["latency", "latency"], FEASIBLE)


def test_memory_counts_weights_and_the_cache_of_the_scenario() -> None:
    shape = FEASIBLE.shape(0)
    (memory,) = goals("memory").values(shape, Formula().latencies(shape, SCENARIO.workloads))
    cache = 24 * shape.kv_bytes_per_token(4)
    assert memory == shape.weight_bytes(INT4).total + cache


def test_studies_open_in_optuna_dashboard(tmp_path: Path) -> None:
    import optuna_dashboard

    driver(tmp_path, Formula()).run(3, ignore)
    app = optuna_dashboard.wsgi(optuna.storages.RDBStorage(Store(tmp_path).url))
    status: list[str] = []
    environ = {
        "REQUEST_METHOD": "GET", "PATH_INFO": "/api/studies", "SERVER_NAME": "x",
        "SERVER_PORT": "1", "wsgi.url_scheme": "http", "QUERY_STRING": "",
    }  # fmt: skip
    body = b"".join(app(environ, lambda s, h, e=None: status.append(s)))
    assert status == ["200 OK"]
    assert b'"st"' in body


def test_what_optuna_logs_stays_the_host_programs_choice(
    tmp_path: Path, optuna_records: list[logging.LogRecord]
) -> None:
    class Broken(Formula):
        def latencies(self, shape: ModelShape, workloads: Sequence[Workload]) -> Any:
            raise RuntimeError("gone")

    search = driver(tmp_path, Broken())
    with pytest.raises(RuntimeError, match="gone"):
        search.run(2, ignore)
    driver(tmp_path, Formula()).run(12, ignore)
    assert optuna.logging.get_verbosity() == optuna.logging.INFO
    assert optuna_records == []
