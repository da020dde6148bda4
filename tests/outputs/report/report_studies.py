"""Studies whose reports are opened in a browser."""

from collections.abc import Callable
from pathlib import Path

from helpers import SCENARIO, fake_device, small_shape, study
from phonelm_search.backends import PROTOCOL_VERSION
from phonelm_search.cli.main import run_command
from phonelm_search.core.reason import Reason
from phonelm_search.core.records import LatencyEstimate, StudyShape
from phonelm_search.graph import GRAPH_VERSION
from phonelm_search.outputs.report import write_report
from phonelm_search.reading import StudyView, load_view
from told_losses import with_losses

POINTS: list[tuple[float, float | None]] = [
    (10.0, 3.0), (20.0, 3.1), (30.0, 2.0), (40.0, None), (50.0, 1.5),
]  # fmt: skip
LOSSES = (3.0, 3.1, 2.0, 2.5, 1.5)
"""Of those, as shares of the baseline's."""
WIDE = Reason(kind="wide-interval", what="interval 28% of the median, wider than 10%")
SHAPES = [
    small_shape(num_hidden_layers=2, hidden_act="relu"),
    small_shape(num_hidden_layers=3, hidden_act="relu"),
    small_shape(num_hidden_layers=4),
    small_shape(num_hidden_layers=5, num_key_value_heads=1),
    small_shape(num_hidden_layers=6, ffn="plain", hidden_act="relu2"),
]


def some(folder: Path) -> Path:
    store, view = study(folder, POINTS, shapes=SHAPES)
    return write_report(store, told(view), folder / "report.html")


def told(view: StudyView) -> StudyView:
    """The study of `POINTS` with losses that are known."""
    return with_losses(view, LOSSES, deviation=0.01)


def many(folder: Path, count: int = 2000) -> Path:
    """Two thousand shapes, as blocks tell them."""
    store, view = study(folder, [])
    device = fake_device()
    found = []
    for i in range(count):
        shape = small_shape(
            num_hidden_layers=1 + i % 24, intermediate_size=32 * (1 + i // 24),
            hidden_act=("silu", "relu")[i % 2], num_key_value_heads=(1, 2, 4)[i % 3],
        )  # fmt: skip
        ms = 1 + (i * 7919 % 1000) / 50 + i % 24
        estimates = [
            LatencyEstimate(
                shape_id=shape.shape_id, device=device.name, precision="int4-b32", workload=w,
                cache_mode=device.cache_mode(w), environment_id=view.record.environment_id,
                graph_version=GRAPH_VERSION, protocol_version=PROTOCOL_VERSION, latency_ms=ms,
                ci_low_ms=0.99 * ms, ci_high_ms=1.01 * ms, intercept_ms=1.0, slope_ms=0.5,
                depths=(2, 4), verdict="valid" if i % 5 else "suspect",
                reasons=() if i % 5 else (WIDE,),
                created_at="t",
            )
            for w in SCENARIO.workloads
        ]  # fmt: skip
        found.append((shape, estimates))
    store.set_estimates(found)
    parts = [(s, StudyShape(shape_id=s.shape_id, role="screened")) for s, _ in found]
    store.set_study_shapes("study", parts)
    return write_report(store, load_view(store, "study"), folder / "report.html")


def rejected(folder: Path) -> Path:
    store, _ = study(folder, [])
    for layers in (2, 3):
        shape = small_shape(num_hidden_layers=layers)
        reason = "every round was disturbed: <b>foreign</b> work on its cores </script>"
        part = StudyShape(shape_id=shape.shape_id, role="trial", reason=reason)
        store.set_study_shape("study", shape, part)
    return write_report(store, load_view(store, "study"), folder / "report.html")


def empty(folder: Path) -> Path:
    store, view = study(folder, [])
    return write_report(store, view, folder / "report.html")


def one(folder: Path) -> Path:
    store, view = study(folder, [(10.0, None)])
    return write_report(store, view, folder / "report.html")


def two_devices(folder: Path) -> Path:
    profiles = folder / "device_profiles"
    profiles.mkdir(parents=True)
    for name in ("near", "far"):
        (profiles / f"{name}.yaml").write_text(f"name: {name}\nruntime: fake\nthreads: 2\n")
    words = ["search", "tiny", "--device", "near", "--device", "far", "--trials", "3"]
    assert run_command([*words, "--seed", "3"]) == 0
    assert run_command(["report", "tiny.near+far", "-o", str(folder / "report.html")]) == 0
    return folder / "report.html"


STUDIES: dict[str, Callable[[Path], Path]] = {
    "empty": empty, "one": one, "some": some, "many": many, "rejected": rejected,
    "two devices": two_devices,
}  # fmt: skip
