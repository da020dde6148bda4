"""The measuring half of a run: contenders, what was left out, what was cut off."""

from collections.abc import Callable
from pathlib import Path

import pytest

from helpers import Told, fake_device
from phonelm_search.backends import Result
from phonelm_search.backends.registry import RUNTIMES
from phonelm_search.measure import MeasureSettings
from phonelm_search.reading import StudyView
from phonelm_search.stages import SearchPlan, Setup, prepare, run_search
from phonelm_search.store import Store
from recorder import Recorder, measured_depths

ROUNDS = MeasureSettings().rounds
MOST_ROUNDS = ROUNDS + 1  # a search makes one bad round again, more for contenders alone


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


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[Recorder], Recorder]:
    """Makes the runtime of fake devices."""

    def install(runtime: Recorder) -> Recorder:
        monkeypatch.setitem(RUNTIMES, "fake", lambda profile, serial, note: runtime)
        return runtime

    return install


def search(setup: Setup, trials: int = 6, **changes: str) -> tuple[StudyView, Told]:
    told = Told()
    plan = SearchPlan(trials=trials, strategy=changes.get("strategy", "sample"))  # type: ignore[arg-type]
    view = run_search(Store(Path("results")), setup, plan, report=told)
    return view, told


def rounds_of(view: StudyView) -> dict[str, int]:
    found: dict[str, int] = {}
    for m in Store(Path("results")).measurements(
        shape_ids=[r.shape.shape_id for r in view.sampled]
    ):
        if not m.is_control and m.workload.phase == "decode":
            found[m.shape_id] = found.get(m.shape_id, 0) + 1
    return found


class Wobbling(Recorder):
    """Rounds differ by up to 12 per cent, each model in its own way."""

    def spoil(self, result: Result) -> Result:
        phases = []
        for p in result.phases:
            seed = 7 * len(self.jobs) + 3 * sum(p.samples_ns) % 11
            factor = 1 + 0.06 * (seed % 5 - 2) if p.model < len(self.jobs[-1].beside) else 1.0
            samples = tuple(round(factor * s) for s in p.samples_ns)
            phases.append(p.model_copy(update={"samples_ns": samples}))
        return result.model_copy(update={"phases": tuple(phases)})


@pytest.mark.usefixtures("small_reference")
def test_contenders_for_the_front_are_measured_again_and_nothing_else_is(
    setup: Setup, use: Callable[[Recorder], Recorder]
) -> None:
    use(Recorder())
    calm, told = search(setup, 12)
    assert not any("may belong to the front" in s for s in told.stages)
    assert set(rounds_of(calm).values()) == {ROUNDS}


@pytest.mark.usefixtures("small_reference")
def test_wide_intervals_make_contenders(setup: Setup, use: Callable[[Recorder], Recorder]) -> None:
    use(Wobbling())
    dense = prepare("dense", [setup.device.name], scenario="chat=16:8")
    view, told = search(dense, 20)
    (stage,) = [s for s in told.stages if "may belong to the front" in s]
    made = rounds_of(view)
    again = {i for i, n in made.items() if n > MOST_ROUNDS}
    assert stage == f"measuring {len(again)} shapes again that may belong to the front"
    likely = view.search_probabilities
    assert 0 < len(again) < len(made)
    assert all(likely[i] > 0 for i in again)


class Busy(Recorder):
    """The processor is taken away from shapes of five layers, until all is quiet."""

    quiet = False

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "spinning": "on"}

    def spoil(self, result: Result) -> Result:
        depths = measured_depths(self.jobs[-1])
        phases = []
        for p in result.phases:
            disturbed = not self.quiet and p.model < len(depths) and depths[p.model] == 5
            cpu = tuple(s if disturbed else 2 * s for s in p.samples_ns)
            phases.append(p.model_copy(update={"cpu_ns": cpu}))
        return result.model_copy(update={"phases": tuple(phases)})


@pytest.mark.parametrize("strategy", ["sample", "blocks"])
def test_rejected_shapes_are_left_out_with_their_reason_and_taken_up_by_a_later_run(
    setup: Setup, use: Callable[[Recorder], Recorder], strategy: str
) -> None:
    runtime = use(Busy())
    assert isinstance(runtime, Busy)
    view, _ = search(setup, 10, strategy=strategy)
    assert view.sampled
    assert view.failed
    assert all("of its cores' time" in f.reason for f in view.failed)
    assert {r.verdict for r in view.rows} <= {"valid", "suspect"}
    assert not {f.shape.shape_id for f in view.failed} & {r.shape.shape_id for r in view.rows}
    runtime.quiet = True
    later, _ = search(setup, 10, strategy=strategy)
    assert later.failed == ()
    ids = {r.shape.shape_id for r in later.sampled}
    assert ids >= {f.shape.shape_id for f in view.failed if f.name is None}


@pytest.mark.usefixtures("small_reference")
def test_a_search_that_was_cut_off_finishes_what_it_began(
    setup: Setup, use: Callable[[Recorder], Recorder]
) -> None:
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
    assert search(setup, 8)[0] == view
    assert len(runtime.jobs) == made
