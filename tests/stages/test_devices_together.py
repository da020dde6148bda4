"""Several devices in one study, and what picking on one costs on another."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from helpers import (
    SCENARIO,
    WORKLOADS,
    Told,
    fake_device,
    measurement,
    small_shape,
    study_record,
    trials_of,
)
from phonelm_search.backends import Job, Result
from phonelm_search.backends.registry import RUNTIMES
from phonelm_search.cli.main import run_command
from phonelm_search.core.errors import ConfigurationError, StudyMismatchError
from phonelm_search.core.records import StudyShape
from phonelm_search.outputs.export import hand_off
from phonelm_search.outputs.plots.bandwidth import bandwidth_info
from phonelm_search.outputs.report.document import document
from phonelm_search.reading import Regret, StudyView, load_view, regret_matrix
from phonelm_search.stages import SearchPlan, Setup, prepare, run_search
from phonelm_search.store import Store
from recorder import Recorder
from told_losses import with_losses


class Skewed(Recorder):
    """A device of its own kind: prefill and decode slower by factors, deep shapes by another."""

    def __init__(self, name: str, *, all_of_it: float = 1.0, layer_ns: int = 0) -> None:
        super().__init__()
        self.name, self.all_of_it, self.layer_ns = name, all_of_it, layer_ns

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "soc": self.name}

    def run(self, job: Job, files: Mapping[str, bytes]) -> Result:
        result = super().run(job, files)
        layers = [
            sum("down_proj.weight_q4" in t.name for t in m.weights.tensors) for m in job.models
        ]
        phases = tuple(
            p.model_copy(
                update={
                    "samples_ns": tuple(
                        round(self.all_of_it * s + self.layer_ns * layers[p.model])
                        for s in p.samples_ns
                    )
                }
            )
            for p in result.phases
        )
        return result.model_copy(update={"phases": phases})


@pytest.fixture
def devices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick_rounds: None
) -> dict[str, Skewed]:
    monkeypatch.chdir(tmp_path)
    Path("device_profiles").mkdir()
    for name in ("even", "slow", "deep"):
        Path(f"device_profiles/{name}.yaml").write_text(
            f"name: {name}\nruntime: fake\nthreads: 2\n"
        )
    found = {
        "even": Skewed("even"),
        "slow": Skewed("slow", all_of_it=10.0),  # ten times slower, and so is its reference
        "deep": Skewed("deep", layer_ns=300_000),  # layers cost more than their size
    }
    monkeypatch.setitem(RUNTIMES, "fake", lambda profile, serial, note: found[profile.name])
    return found


SEED = 2
"""Of shapes that are deeper than the reference."""


def setup_of(*names: str, **changes: Any) -> Setup:
    return prepare("tiny", names, scenario="chat=16:8", **changes)


def run(setup: Setup, trials: int = 4) -> Any:
    plan = SearchPlan(trials=trials, seed=SEED)
    return run_search(Store(Path("results")), setup, plan, report=Told())


@pytest.mark.usefixtures("devices")
def test_latency_is_the_worst_devices_as_a_multiple_of_its_reference() -> None:
    view = run(setup_of("even", "slow", "deep"))
    assert view.record.name == "tiny.even+slow+deep"
    assert view.devices == ("even", "slow", "deep")
    store = Store(Path("results"))
    for row in view.sampled:
        multiples = {}
        baseline = next(r.shape.shape_id for r in view.rows if r.name)
        for name in view.devices:
            times = {
                m.workload: sorted(m.samples_ns)[len(m.samples_ns) // 2] / 1e6
                for m in store.measurements(shape_ids=[row.shape.shape_id])
                if m.device == name and not m.is_control
            }
            reference = {
                m.workload: sorted(m.samples_ns)[len(m.samples_ns) // 2] / 1e6
                for m in store.measurements(shape_ids=[baseline])
                if m.device == name and not m.is_control and not m.twin
            }
            multiples[name] = _end_to_end(times) / _end_to_end(reference)
        assert row.latency.value == pytest.approx(max(multiples.values()), rel=0.05)
        assert row.device == max(multiples, key=lambda n: multiples[n]) == "deep"
        # A device that is slower in everything is no worse off.
        assert multiples["slow"] == pytest.approx(multiples["even"], rel=0.02)
    told = {
        t.user_attrs["shape_id"]: t.values[0]
        for t in trials_of(store, view.record.name)
        if t.user_attrs["kind"] == "measured"
    }
    assert told == pytest.approx(
        {r.shape.shape_id: r.latency.value for r in view.measured}, rel=0.05
    )


def _end_to_end(times: dict[Any, float]) -> float:
    prefill, *steps = (times[w] for w in WORKLOADS)
    return prefill + (SCENARIO.generated_tokens - 1) * sum(steps) / len(steps)


@pytest.mark.usefixtures("devices")
def test_tables_and_rows_say_where_a_shape_is_worst_off(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run(setup_of("even", "deep"))
    assert run_command(["pareto", "tiny.even+deep", "--all", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert {r["device"] for r in rows if not r["name"]} == {"deep"}
    assert all(r["relative_latency"] > 0 for r in rows)
    assert run_command(["pareto", "tiny.even+deep", "--format", "md"]) == 0
    head = capsys.readouterr().out.splitlines()[0]
    assert "| end to end | 95 % | end-to-end ms |" in head
    assert "worst on" not in head  # all are on the same
    assert run_command(["plot", "tiny.even+deep", "--kind", "front", "-o", "front.png"]) == 0
    run(setup_of("even"))
    assert run_command(["pareto", "tiny.even", "--all", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert all(r["device"] == "even" and r["relative_to"] == "tiny-llama" for r in rows)


@pytest.mark.usefixtures("devices")
def test_a_study_goes_on_with_the_devices_it_was_started_with() -> None:
    run(setup_of("even", "deep", study="s"))
    run(setup_of("even", "deep", study="s"), trials=5)
    with pytest.raises(StudyMismatchError, match="beside"):
        run(setup_of("even", study="s"))
    with pytest.raises(StudyMismatchError, match="beside"):
        run(setup_of("even", "slow", study="s"))


@pytest.mark.usefixtures("devices")
@pytest.mark.parametrize(
    ("names", "changes", "message"),
    [
        (("even", "even"), {}, "devices must be distinct, got even, even"),
        (("even", "slow"), {"objectives": ["decode"]}, "the objective decode is for one device"),
    ],
)
def test_devices_that_cannot_be_together_are_refused(
    names: tuple[str, ...], changes: Any, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        setup_of(*names, **changes)


@pytest.mark.usefixtures("devices")
def test_devices_of_different_precision_must_agree() -> None:
    Path("device_profiles/other.yaml").write_text(
        "name: other\nruntime: fake\nthreads: 2\nprecision: fp32\n"
    )
    with pytest.raises(ConfigurationError, match="must share a precision, got even: int4-b32"):
        setup_of("even", "other")
    assert setup_of("even", "other", precision="fp32").beside[0].scheme.name == "fp32"


@pytest.mark.usefixtures("devices")
def test_a_front_measured_elsewhere_gives_regrets(capsys: pytest.CaptureFixture[str]) -> None:
    run(setup_of("even"), trials=4)
    assert run_command(["pareto", "tiny.even", "--regret"]) == 1
    assert "must be measured on two devices" in capsys.readouterr().err
    command = ["profile", "--study", "tiny.even", "--all", "--device", "deep"]
    assert run_command([*command, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert {r["scenario"] for r in rows} == {None, "chat=16:8"}
    assert run_command(["pareto", "tiny.even", "--regret", "--json"]) == 0
    cells = json.loads(capsys.readouterr().out)["rows"]
    assert [(c["front_of"], c["used_on"]) for c in cells] == [
        ("even", "even"),
        ("even", "deep"),
        ("deep", "even"),
        ("deep", "deep"),
    ]
    assert cells[0]["worst"] == cells[3]["worst"] == 0
    assert run_command(["pareto", "tiny.even", "--regret"]) == 0
    assert "front of ↓ used on →" in capsys.readouterr().out


def stored(
    folder: Path, times: dict[str, list[Any]], losses: list[float]
) -> tuple[Store, StudyView]:
    """A study of shapes with given end-to-end ms on devices and given losses."""
    store = Store(folder)
    environments = {name: {"soc": name} for name in times}
    first = next(iter(times))
    device = fake_device(name=first)
    store.save_study(study_record(device, environments[first]))
    for i in range(len(losses)):
        shape = small_shape(num_hidden_layers=i + 1)
        for name, ms in times.items():
            if ms[i] is None:
                continue
            step_ns = round((ms[i] - 1) / (SCENARIO.generated_tokens - 1) * 1e6)
            for workload, ns in zip(WORKLOADS, (10**6, step_ns), strict=True):
                made = measurement(
                    [ns] * 9,
                    cache_mode=device.cache_mode(workload),
                    shape_id=shape.shape_id,
                    workload=workload,
                    device=name,
                    environment=environments[name],
                )
                store.add_measurements(shape, [made])
        store.set_study_shape("study", shape, StudyShape(shape_id=shape.shape_id, role="trial"))
    view = load_view(store, "study")
    return store, with_losses(view, [losses[r.shape.num_hidden_layers - 1] for r in view.sampled])


def cell(found: list[Regret], a: str, b: str) -> Regret:
    return next(r for r in found if (r.front_of, r.used_on) == (a, b))


def test_regret_is_the_extra_latency_of_the_other_front(tmp_path: Path) -> None:
    # Shapes of falling loss. On A all are on the front. On B the second one is slower
    # than the third, which is better, so it is not on B's front.
    store, view = stored(tmp_path, {"A": [10, 20, 30], "B": [10, 45, 30]}, losses=[3.0, 2.5, 2.0])
    found = regret_matrix(store, view)
    assert cell(found, "A", "A") == Regret(
        front_of="A", used_on="A", shapes=3, front=3, mean=0.0, worst=0.0
    )
    # A's front holds B's front: nothing is lost. B's front lacks the second shape, in whose place
    # the third one, 30 instead of 20 ms, must be used on A.
    assert cell(found, "A", "B").worst == 0.0
    lost = cell(found, "B", "A")
    assert lost.worst == pytest.approx(0.5, rel=0.04)
    assert lost.mean == pytest.approx(0.5 / 3, rel=0.04)
    assert lost.front == 3


def test_a_shape_that_one_front_lacks_is_paid_for_on_the_other(tmp_path: Path) -> None:
    # A's front is its first shape alone (faster and better); B's holds both.
    store, view = stored(tmp_path, {"A": [10, 20], "B": [20, 10]}, losses=[2.0, 2.5])
    found = regret_matrix(store, view)
    assert cell(found, "A", "B").worst == pytest.approx(1.0, rel=0.03)  # 20 ms where 10 would do
    assert cell(found, "B", "A").worst == 0.0


def test_a_front_alone_on_another_device_tells_no_regret(tmp_path: Path) -> None:
    # Only A's front was measured on B: what B would choose instead is not known.
    store, view = stored(tmp_path, {"A": [10, 20, 30], "B": [30, 20, None]}, losses=[3.0, 2.5, 2.6])
    assert cell(regret_matrix(store, view), "A", "B").mean is None


@pytest.mark.usefixtures("devices")
def test_times_of_different_devices_are_never_pooled(tmp_path: Path) -> None:
    """Explained, drawn and handed off with each device's own times."""
    view = run(setup_of("even", "slow"), trials=4)
    row = view.sampled[0]
    assert set(row.times) == {"even", "slow"}
    assert row.times["slow"].ttft.ms == pytest.approx(10 * row.times["even"].ttft.ms, rel=0.05)
    points = bandwidth_info(view).points
    scheme = view.device.scheme
    measured = [r for r in view.rows if r.kind == "measured"]
    for row, (_, _, speed, _, _) in zip(measured, points, strict=True):
        context = view.scenario.contexts[0]
        read = row.shape.weight_bytes(scheme).streamed
        read += context * row.shape.kv_bytes_per_token(scheme.kv_bytes_per_element)
        assert speed == pytest.approx(read / row.times["even"].tpot.ms / 1e6)
    hand_off(view, view.sampled[0], tmp_path / "winner")
    card = (tmp_path / "winner" / "README.md").read_text()
    assert "| even | prefill (TTFT) |" in card
    assert "| slow | end to end |" in card
    assert "soc slow" in card
    found = document(Store(Path("results")), view)
    values = {axis: told[0] for axis, told in found["rows"]["values"].items()}
    assert values["prefill on slow"][0] == pytest.approx(10 * values["prefill"][0], rel=0.05)
