"""The measuring half of a run: contenders, what was left out, what was cut off."""

import time
from collections.abc import Callable, Collection
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import Told, fake_device, trials_of
from phonelm_search.backends import Result
from phonelm_search.backends.registry import RUNTIMES
from phonelm_search.core.budget import parse_budgets
from phonelm_search.core.deadline import Deadline
from phonelm_search.core.shape import ModelShape
from phonelm_search.graph import fnv1a64
from phonelm_search.reading import StudyView, choose
from phonelm_search.stages import SearchPlan, Setup, prepare, run_search
from phonelm_search.stages.measure import search_on
from phonelm_search.stages.session import SETTINGS, open_measuring
from phonelm_search.store import Store
from recorder import Recorder, measured_depths, slower

ROUNDS = SETTINGS.rounds


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setup:
    monkeypatch.chdir(tmp_path)
    Path("device_profiles").mkdir()
    device = fake_device()
    Path(f"device_profiles/{device.name}.yaml").write_text(
        f"name: {device.name}\nruntime: fake\nthreads: 2\n"
    )
    Path("search_spaces").mkdir()
    Path("search_spaces/dense.yaml").write_text(DENSE)
    return prepare("tiny", [device.name], scenario="chat=16:8")


DENSE = """
name: dense
vocab_size: 512
hidden_size: [128]
num_hidden_layers: {min: 2, max: 4}
head_dim: [32]
kv_groups: [1, 2]
ffn_ratio: {min: 2.0, max: 3.0, step: 0.25}
multiple_of: 32
ffn: [gated]
hidden_act: [relu]
"""
"""Sizes differ, so that larger and slower shapes make a long front."""
REFERENCES = """
references:
  - {name: small-llama, hidden_size: 128, intermediate_size: 352, num_hidden_layers: 3,
     num_attention_heads: 4, num_key_value_heads: 4, hidden_act: silu}
"""


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[Recorder], Recorder]:
    """Makes the runtime of fake devices."""

    def install(runtime: Recorder) -> Recorder:
        monkeypatch.setitem(RUNTIMES, "fake", lambda profile, serial, note: runtime)
        return runtime

    return install


def search(setup: Setup, trials: int = 6, **changes: Any) -> tuple[StudyView, Told]:
    told = Told()
    plan = SearchPlan(trials=trials, **changes)
    view = run_search(Store(Path("results")), setup, plan, report=told)
    return view, told


def processes_of(shapes: Collection[ModelShape]) -> set[str | None]:
    """Processes that measured one of these shapes, twins left out."""
    found = Store(Path("results")).measurements(shape_ids=[s.shape_id for s in shapes])
    return {m.process for m in found if not m.is_control and not m.twin}


def rounds_of(view: StudyView) -> dict[str, int]:
    found: dict[str, int] = {}
    for m in Store(Path("results")).measurements(
        shape_ids=[r.shape.shape_id for r in view.sampled]
    ):
        if not m.is_control and m.workload.phase == "decode":
            found[m.shape_id] = found.get(m.shape_id, 0) + 1
    return found


class Wobbling(Recorder):
    """Rounds of a model differ by up to 12 per cent, each in its own way."""

    def spoil(self, result: Result) -> Result:
        for number in range(len(self.jobs[-1].models)):
            draw = fnv1a64(f"{len(self.jobs)} {number}") % 5 - 2
            result = slower(result, 1 + 0.06 * draw, number)
        return result


@pytest.mark.usefixtures("small_reference")
def test_where_all_is_told_apart_nothing_is_measured_more_than_twice(
    setup: Setup, use: Callable[[Recorder], Recorder]
) -> None:
    use(Recorder())
    calm, told = search(setup, 12)
    assert not any("where the front is open" in s for s in told.stages)
    assert set(rounds_of(calm).values()) == {ROUNDS}
    assert {r.verdict for r in calm.rows} == {"valid"}


@pytest.mark.usefixtures("small_reference")
def test_rounds_go_where_the_front_is_open(
    setup: Setup, use: Callable[[Recorder], Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("phonelm_search.stages.race._MOST_ROUNDS", 2)
    use(Wobbling())
    dense = prepare("dense", [setup.device.name], scenario="chat=16:8")
    view, told = search(dense, 8)
    assert "more rounds where the front is open" in told.stages
    made = rounds_of(view)
    assert max(made.values()) > ROUNDS
    left = [n for n in told.notes if "more --minutes would tell" in n]
    likely = view.speed_probabilities
    open_still = sum(0.05 < p < 0.95 for p in likely.values())
    if open_still:
        assert left[0].startswith(f"{open_still} shapes may or may not belong to the front")


@pytest.mark.usefixtures("small_reference")
def test_the_race_takes_along_what_latencies_are_shares_of(
    setup: Setup, use: Callable[[Recorder], Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    use(Wobbling())
    name = "beside"
    Path(f"search_spaces/{name}.yaml").write_text(DENSE.replace("dense", name) + REFERENCES)
    dense = prepare(name, [setup.device.name], scenario="chat=16:8")
    monkeypatch.setattr("phonelm_search.stages.race._MOST_ROUNDS", 0)
    view, _ = search(dense, 8)
    before = processes_of([r.shape for r in view.sampled])
    monkeypatch.setattr("phonelm_search.stages.race._MOST_ROUNDS", 2)
    view, told = search(dense, 8)
    assert "more rounds where the front is open" in told.stages
    raced = processes_of([r.shape for r in view.sampled]) - before
    (baseline,) = [r for r in view.rows if r.name == view.baseline]
    assert raced
    assert raced <= processes_of([baseline.shape])


@pytest.mark.usefixtures("small_reference")
def test_references_are_measured_beside_trials_and_the_first_one_twice(
    setup: Setup, use: Callable[[Recorder], Recorder]
) -> None:
    use(Recorder())
    view, _ = search(setup, 12)
    (reference,) = [r for r in view.rows if r.name]
    assert (reference.name, view.baseline) == ("tiny-llama", "tiny-llama")
    (pair,) = view.twins
    assert pair.shape == reference.shape
    assert pair.ratio.low < 1 < pair.ratio.high
    rounds = [
        m
        for m in Store(Path("results")).measurements(shape_ids=[reference.shape.shape_id])
        if m.workload.phase == "decode" and not m.is_control
    ]
    assert sum(m.twin for m in rounds) == ROUNDS
    assert sum(not m.twin for m in rounds) > ROUNDS  # a round more with every batch
    beside = {m.process for m in rounds}
    assert len(beside) > 2


@pytest.mark.usefixtures("small_reference")
def test_shapes_that_are_expected_to_tell_most_are_measured(
    setup: Setup, use: Callable[[Recorder], Recorder]
) -> None:
    use(Recorder())
    view, told = search(setup, 20, seed=1)
    assert "measuring shapes that are expected to tell most" in told.stages, told.notes
    prediction = view.record.config["prediction"]
    assert prediction["shapes"] == len(setup.feasible)
    assert all(h["median"] < 0.05 for h in prediction["held_out"].values())
    order = {
        t.user_attrs["shape_id"]: t.number
        for t in trials_of(Store(Path("results")), view.record.name)
    }
    times = {r.shape.shape_id: r.end_to_end_ms for r in view.sampled}
    drawn = [ms for i, ms in times.items() if order[i] < 10]
    predicted = [ms for i, ms in times.items() if order[i] >= 10]
    assert len(drawn) == len(predicted) == 10
    assert np.median(predicted) < 0.8 * np.median(drawn)


@pytest.mark.usefixtures("small_reference")
def test_within_budgets_what_probably_keeps_them_and_loses_least_is_measured(
    setup: Setup, use: Callable[[Recorder], Recorder]
) -> None:
    use(Recorder())
    before, _ = search(setup, 12)
    limit = float(np.quantile([r.end_to_end_ms for r in before.sampled], 0.4))
    store = Store(Path("results"))
    record = store.study(setup.study)
    budgets = [asdict(b) for b in parse_budgets(latency=f"{limit:.6f}ms")]
    store.save_study(replace(record, config={**record.config, "budgets": budgets}))
    after, told = search(setup, 14)
    assert told.stages[0] == "measuring shapes that are expected to tell most"
    known = {r.shape.shape_id for r in before.rows}
    fresh = [r for r in after.sampled if r.shape.shape_id not in known]
    assert len(fresh) == 1  # and with it known, none is expected to be better
    assert any(n.startswith("13 shapes are measured, not 14: no other") for n in told.notes)
    assert fresh[0].end_to_end_ms <= 1.02 * limit
    assert fresh[0].loss.value < np.median([r.loss.value for r in before.sampled])
    pick = choose(after)
    assert pick.row.end_to_end_ms <= limit
    assert "keep end to end ≤" in pick.why


@pytest.mark.usefixtures("small_reference")
def test_another_sampler_predicts_nothing(
    setup: Setup, use: Callable[[Recorder], Recorder]
) -> None:
    use(Recorder())
    view, told = search(setup, 9, sampler="random")
    assert len(view.sampled) == 9
    assert "measuring shapes that are expected to tell most" not in told.stages
    assert "prediction" not in view.record.config


@pytest.mark.usefixtures("small_reference")
def test_the_minutes_end_a_search_and_what_was_measured_is_kept(
    setup: Setup, use: Callable[[Recorder], Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    class Slow(Recorder):
        def spoil(self, result: Result) -> Result:
            now[0] += 20.0  # seconds of a process
            return result

    runtime = use(Slow())
    view, _ = search(setup, 24, minutes=3.0)
    assert 6 <= len(runtime.jobs) <= 9
    assert 0 < len(view.sampled) < 24
    assert view.failed == ()
    later, _ = search(setup, 24, minutes=3.0)  # goes on for as long
    assert len(later.sampled) > len(view.sampled)


@pytest.mark.usefixtures("small_reference")
def test_time_that_is_left_over_goes_to_shapes_that_are_missing(
    setup: Setup, use: Callable[[Recorder], Recorder]
) -> None:
    runtime = use(Recorder())
    search(setup, 2)
    with open_measuring(Store(Path("results")), setup, report=Told()) as session:
        search_on(session, SearchPlan(trials=4), Deadline(600))
        assert len(session.view.sampled) == 4
        jobs = len(runtime.jobs)
        search_on(session, SearchPlan(trials=4), Deadline(600))  # nothing is missing
        search_on(session, SearchPlan(trials=6), Deadline(0))  # no time is left
        assert len(runtime.jobs) == jobs


class Throttling(Recorder):
    """The device throttles whenever a shape of five layers is measured, until it is cool."""

    cool = False

    def spoil(self, result: Result) -> Result:
        if self.cool or 5 not in measured_depths(self.jobs[-1]):
            return result
        before, after = ({"frequency_limits_khz": n} for n in (8e6, 6e6))
        return result.model_copy(update={"conditions": {"before": before, "after": after}})


def test_rejected_shapes_are_left_out_with_their_reason_and_taken_up_by_a_later_run(
    setup: Setup, use: Callable[[Recorder], Recorder]
) -> None:
    runtime = use(Throttling())
    assert isinstance(runtime, Throttling)
    view, _ = search(setup, 10)
    assert view.sampled
    assert view.failed
    assert all("device throttled" in f.reason for f in view.failed)
    assert {r.verdict for r in view.rows} <= {"valid", "suspect"}
    assert not {f.shape.shape_id for f in view.failed} & {r.shape.shape_id for r in view.rows}
    runtime.cool = True
    later, _ = search(setup, 10)
    assert later.failed == ()
    ids = {r.shape.shape_id for r in later.sampled}
    assert ids >= {f.shape.shape_id for f in view.failed if f.name is None}


@pytest.mark.usefixtures("small_reference")
def test_a_search_that_was_cut_off_finishes_what_it_began(
    setup: Setup, use: Callable[[Recorder], Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("phonelm_search.stages.race._MOST_ROUNDS", 0)

    class Cut(Recorder):
        stop_at = 5

        def spoil(self, result: Result) -> Result:
            if len(self.jobs) == self.stop_at:
                raise KeyboardInterrupt
            return result

    runtime = use(Cut())
    with pytest.raises(KeyboardInterrupt):
        search(setup, 8)
    kept = {m.created_at for m in Store(Path("results")).measurements()}
    assert kept
    view, _ = search(setup, 8)
    assert len(view.sampled) == 8
    assert {r.verdict for r in view.measured} == {"valid"}
    assert all(n >= ROUNDS for n in rounds_of(view).values())
    made = len(runtime.jobs)
    again, _ = search(setup, 8)
    assert [r.latency for r in again.rows] == [r.latency for r in view.rows]
    assert len(runtime.jobs) == made
