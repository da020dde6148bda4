"""In a study of several devices no table, fit or picture mixes their milliseconds."""

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from helpers import SCENARIO, score, small_shape, study_on_devices
from phonelm_search.core.latency import Span
from phonelm_search.core.precision import get_precision
from phonelm_search.core.records import LatencyEstimate
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.workload import Workload
from phonelm_search.outputs import doubtful_rows, sensitivity_rows
from phonelm_search.outputs.plots import draw_sensitivity, save, sensitivity_info
from phonelm_search.outputs.plots.bandwidth import bandwidth_info
from phonelm_search.outputs.plots.draw import draw_spread
from phonelm_search.outputs.plots.info import spread_info
from phonelm_search.outputs.report.evidence import device_cards
from phonelm_search.outputs.report.rounds import study_rounds
from phonelm_search.reading import StudyRow, StudyView, analyse, explain_shape, load_view
from phonelm_search.store import Store

INT4 = get_precision("int4-b32")
SHAPES = [
    small_shape(num_hidden_layers=n, hidden_act=act)
    for n, act in product((1, 2, 4, 8), ("relu", "silu"))
]


def depth_of(shape: ModelShape) -> float:
    return float(np.log2(shape.num_hidden_layers))


def built(
    folder: Path, quick: Callable[[ModelShape], float], slow: Callable[[ModelShape], float]
) -> tuple[Store, StudyView]:
    """Steps in ms on two devices, scored; deep shapes are worst off on one, others on the other."""
    times = {"quick": [(1.0, quick(s)) for s in SHAPES], "slow": [(10.0, slow(s)) for s in SHAPES]}
    store, view = study_on_devices(
        folder, times, SHAPES, reference_ms={"quick": quick(SHAPES[3]), "slow": slow(SHAPES[3])}
    )
    for shape in SHAPES:
        for seed in (0, 1):
            store.add_score(shape, score(shape, 2.0 + 0.01 * depth_of(shape), seed=seed))
    config = {**view.record.config, "score": {"settings_id": "s", "seeds": [0, 1]}}
    store.save_study(replace(view.record, config=config))
    view = load_view(store, "study")
    assert {r.device for r in view.rows} == {"quick", "slow"}
    return store, view


def estimate(shape: ModelShape, workload: Workload, ms: float) -> LatencyEstimate:
    return LatencyEstimate(
        shape_id=shape.shape_id, device="d", precision="int4-b32", workload=workload,
        cache_mode="cold", environment_id="e", graph_version=1, protocol_version=3,
        latency_ms=ms, ci_low_ms=ms, ci_high_ms=ms, intercept_ms=0.0, slope_ms=1.0, depths=(1, 2),
        verdict="valid", reasons=(), created_at="2026-11-24",
    )  # fmt: skip


def estimated(row: StudyRow) -> StudyRow:
    """The same where the device that it is worst off on told blocks alone."""
    parts = [
        estimate(row.shape, w, p.latency_ms)
        for w, p in zip(SCENARIO.workloads, row.time.parts, strict=True)
    ]
    return replace(row, time=replace(row.time, prefill=parts[0], steps=tuple(parts[1:])))


def test_speed_moves_on_each_device_by_its_own_times(tmp_path: Path) -> None:
    _, view = built(
        tmp_path,
        lambda s: 10 * float(np.exp(0.1 * depth_of(s))),
        lambda s: 100 * float(np.exp(0.3 * depth_of(s))),
    )
    found = analyse(view, {s.shape_id for s in SHAPES})
    assert [s.name for s in found.spreads] == [
        "prefill speed on quick", "decode speed on quick",
        "prefill speed on slow", "decode speed on slow", "loss",
    ]  # fmt: skip
    (depth, _) = found.effects
    for device, slope in (("quick", 0.1), ("slow", 0.3)):
        expected = 100 * np.expm1(-3 * slope)
        assert depth.percent[f"decode speed on {device}"] == pytest.approx(expected, abs=0.5)
        assert found.explained[f"decode speed on {device}"] == pytest.approx(1, abs=1e-3)
        assert depth.percent[f"prefill speed on {device}"] == pytest.approx(0, abs=0.5)
    speeds = {s.name: s for s in found.spreads}
    assert speeds["decode speed on slow"].highest == pytest.approx(10, rel=0.01)
    decode = {d: f"{speeds[f'decode speed on {d}'].percent:.1f} %" for d in ("quick", "slow")}
    assert f"{decode['quick']} (decode) on quick, " in found.claim
    assert f"{decode['slow']} (decode) on slow, loss moves" in found.claim
    assert {r["quantity"] for r in sensitivity_rows(found)} == set(speeds)
    info = sensitivity_info(view, found)
    assert save(draw_sensitivity(info), tmp_path / "s.png").stat().st_size > 10_000


def test_shapes_that_one_device_knows_by_blocks_alone_are_left_out(tmp_path: Path) -> None:
    _, view = built(tmp_path, lambda s: 10 + depth_of(s), lambda s: 100 + 50 * depth_of(s))
    ids = {s.shape_id for s in SHAPES}
    rows = tuple(estimated(r) if r.shape == SHAPES[0] else r for r in view.rows)
    found = analyse(replace(view, rows=rows), ids)
    assert len(found.shapes) == 7
    assert SHAPES[0] not in found.shapes


def test_columns_of_each_device_say_what_rows_say(tmp_path: Path) -> None:
    _, view = built(tmp_path, lambda s: 10 + depth_of(s), lambda s: 100 + 50 * depth_of(s))
    for device in ("quick", "slow"):
        times = view.table.times(device)
        for i, row in enumerate(view.rows):
            told = row.times[device]
            for name in ("ttft", "tpot", "end_to_end"):
                assert getattr(times, name)[i] == pytest.approx(tuple(getattr(told, name)))
    assert view.table.judgements == [r.judgement for r in view.rows]
    assert view.table.devices == [r.device for r in view.rows]


def test_each_device_has_prices_of_its_own(tmp_path: Path) -> None:
    decode = SCENARIO.workloads[1]
    _, view = built(tmp_path, lambda s: 10 + depth_of(s), lambda s: 100 + 50 * depth_of(s))
    rows = [r for r in view.rows for _ in range(2)]  # prices are fitted to 12 of a workload

    def fitting(row: StudyRow, factor: float = 1.0) -> StudyRow:
        """What bytes and operations cost on each device; decode on the slow one times a factor."""
        times = {}
        for device, ns_per_byte in (("quick", 1 / 30), ("slow", 5.0)):
            time = row.times[device]
            read = ns_per_byte * row.shape.weight_bytes(INT4).streamed / 1e6
            computed = row.shape.prefill_flops(SCENARIO.prompt_tokens) / 120e6
            first = replace(time.prefill, latency_ms=computed)
            step = replace(time.steps[0], latency_ms=(factor if device == "slow" else 1.0) * read)
            times[device] = replace(time, prefill=first, steps=(step,))
        worst = times.pop(row.device)
        return replace(row, time=worst, elsewhere=times)

    assert doubtful_rows(replace(view, rows=tuple(map(fitting, rows)))) == []
    odd = (*map(fitting, rows[:-1]), fitting(rows[-1], 1.6))
    (found,) = doubtful_rows(replace(view, rows=odd))
    assert found["shape_id"] == rows[-1].shape.shape_id
    assert found["why"].startswith(f"{decode.name} on slow takes 1.")


def test_the_spread_of_speed_has_panels_for_each_device(tmp_path: Path) -> None:
    _, view = built(tmp_path, lambda s: 10 + depth_of(s), lambda s: 100 + 50 * depth_of(s))
    view = replace(view, rows=tuple(estimated(r) for r in view.rows))
    info = spread_info(view)
    assert [label for label, _ in info.panels] == [
        "prefill of 16 tokens on quick [ms]", "decode step at 20 tokens on quick [ms]",
        "prefill of 16 tokens on slow [ms]", "decode step at 20 tokens on slow [ms]",
    ]  # fmt: skip
    spans: list[Callable[[StudyRow], Span]] = [
        lambda r: r.times["quick"].ttft, lambda r: r.times["quick"].tpot,
        lambda r: r.times["slow"].ttft, lambda r: r.times["slow"].tpot,
    ]  # fmt: skip
    for (_, points), span in zip(info.panels, spans, strict=True):
        assert [p.y for p in points] == [span(r).ms for r in view.rows]
    # Where each was worst off it was estimated, on the other device measured.
    where = {r.shape: r.device for r in view.rows}
    for device, (_, points) in zip(("quick", "slow"), info.panels[::2], strict=True):
        assert [p.estimated for p in points] == [where[r.shape] == device for r in view.rows]
    figure = draw_spread(info)
    assert len(figure.axes) == 4
    assert save(figure, tmp_path / "spread.png").stat().st_size > 10_000


def test_what_was_measured_on_a_device_counts_there_whatever_another_one_told(
    tmp_path: Path,
) -> None:
    store, view = built(tmp_path, lambda s: 10 + depth_of(s), lambda s: 100 + 50 * depth_of(s))
    view = replace(view, rows=tuple(estimated(r) for r in view.rows))
    on_quick = [r for r in view.rows if r.device == "slow"]
    assert [p[0] for p in bandwidth_info(view).points] == [r.label for r in on_quick]
    cards = {
        c["name"]: dict(c["facts"]) for c in device_cards(view, study_rounds(store, view).places)
    }
    assert f"median of {len(on_quick)} shapes" in cards["quick"]["noise floor"]
    others = len(view.rows) - len(on_quick)
    assert f"median of {others} shapes" in cards["slow"]["noise floor"]
    (row, *_) = on_quick
    explanation, _ = explain_shape(view, row.shape.shape_id)
    assert explanation.cliffs[-1].startswith("no evidence: its time is an estimate from blocks")
