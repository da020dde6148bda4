"""Pictures are tested as what they show; drawing is tested to draw."""

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest

from helpers import SCENARIO, fake_device, measurement, score, small_shape, study
from phonelm_search.backends import PROTOCOL_VERSION
from phonelm_search.core.errors import ConfigurationError, ExportError
from phonelm_search.core.records import LatencyEstimate, StudyShape
from phonelm_search.graph import GRAPH_VERSION
from phonelm_search.outputs.plots import draw_front, draw_training, front_info, save, training_info
from phonelm_search.outputs.plots.bandwidth import bandwidth_info, draw_bandwidth
from phonelm_search.outputs.plots.depth import depth_info, draw_depth
from phonelm_search.outputs.plots.devices import devices_info, draw_devices
from phonelm_search.outputs.plots.draw import draw_spread
from phonelm_search.outputs.plots.info import spread_info, step_line
from phonelm_search.outputs.report.evidence import device_cards
from phonelm_search.quality import ScoreSettings
from phonelm_search.reading import candidates, load_view

POINTS: list[tuple[float, float | None]] = [(10.0, 3.0), (20.0, 3.1), (30.0, 2.0), (40.0, None)]


def test_front_info_tells_front_dominated_unscored_and_pick_apart(tmp_path: Path) -> None:
    _, view = study(tmp_path, POINTS, verdict="suspect")
    info = front_info(view)
    assert info.pick_name == "provisional pick"
    assert [p.front for p in info.points] == [True, False, True, False]
    assert [p.pick for p in info.points] == [False, False, True, False]
    assert [p.y for p in info.points] == [3.0, 3.1, 2.0, None]
    assert all(p.suspect for p in info.points)
    assert info.points[0].y_error[0] == info.points[0].y_error[1] > 0
    assert "[× the reference shape]" in info.x_label
    assert info.baseline == 2.18
    assert "hollow: suspect (only 2 samples, fewer than 3)" in info.footnote


def test_before_training_the_front_is_against_size(tmp_path: Path) -> None:
    _, view = study(tmp_path, [(10.0, None)])
    info = front_info(view)
    assert info.y_label == "decoder parameters [M]"
    assert info.baseline is None


def test_the_step_line_goes_right_before_it_goes_down(tmp_path: Path) -> None:
    _, view = study(tmp_path, POINTS)
    xs, ys = step_line(front_info(view).points, 50.0)
    assert xs == pytest.approx([1, 3, 3, 50], rel=5e-3)  # the reference shape takes 10 ms
    assert ys == [3.0, 3.0, 2.0, 2.0]
    assert step_line((), 1.0) == ([], [])


def test_training_info_holds_every_curve(tmp_path: Path) -> None:
    _, view = study(tmp_path, POINTS)
    info = training_info(view)
    assert info.pick_name == "pick"
    curves = info.curves
    assert [c.final for c in curves] == [3.0, 3.1, 2.0]
    assert [c.pick for c in curves] == [False, False, True]
    assert curves[0].tokens == (500, 1000)


def test_a_training_that_was_stopped_early_did_not_fail(tmp_path: Path) -> None:
    store, _ = study(tmp_path, [(10.0, 3.0), (20.0, None), (30.0, None)])
    for layers, stopped in ((2, True), (3, False)):
        shape = small_shape(num_hidden_layers=layers)
        store.add_score(shape, score(shape, None, stopped=stopped))
    figure = draw_training(training_info(load_view(store, "study")))
    (legend,) = [a.get_legend() for a in figure.axes]
    assert {t.get_text() for t in legend.get_texts()} == {
        "64×1: 3.000 (pick)", "64×2: stopped early", "64×3: failed",
    }  # fmt: skip


@pytest.mark.parametrize("points", [[], [(10.0, None)], POINTS], ids=["empty", "one", "some"])
@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_every_picture_is_drawn(
    tmp_path: Path, points: list[tuple[float, float | None]], suffix: str
) -> None:
    _, view = study(tmp_path, points)
    for name, figure in (
        ("front", draw_front(front_info(view))),
        ("training", draw_training(training_info(view))),
        ("spread", draw_spread(spread_info(view))),
        ("depth", draw_depth(depth_info(view))),
        ("bandwidth", draw_bandwidth(bandwidth_info(view))),
    ):
        file = save(figure, tmp_path / f"{name}{suffix}")
        head = file.read_bytes()[:5]
        assert head.startswith((b"\x89PNG", b"<?xml", b"%PDF"))


def test_a_layers_price_is_the_slope_of_its_width(tmp_path: Path) -> None:
    shapes = [small_shape(num_hidden_layers=n) for n in (2, 4, 6)]
    shapes += [small_shape(hidden_size=128, num_hidden_layers=n) for n in (2, 3)]
    points: list[tuple[float, float | None]] = [(10.0, None), (14.0, None), (18.0, None),
                                                (30.0, None), (35.0, None)]  # fmt: skip
    _, view = study(tmp_path, points, shapes=shapes)
    narrow, wide = depth_info(view).widths
    assert narrow.line == pytest.approx((0.6, 0.2, 0.0), abs=0.01)
    assert wide.line is None  # two depths are no line
    assert [p[0] for p in wide.points] == [2, 3]


def test_a_layers_price_has_its_interval(tmp_path: Path) -> None:
    shapes = [small_shape(num_hidden_layers=n) for n in (1, 2, 3, 4)]
    times: list[tuple[float, float | None]] = [(t, None) for t in (10.0, 13.0, 12.0, 17.0)]
    _, view = study(tmp_path, times, shapes=shapes)
    (width,) = depth_info(view).widths
    # By hand: slope 10/5, residuals (0, 1, -2, 1), variance 6/2/5, and t of 2 degrees 4.303.
    expected = (0.8, 0.2, 0.43027 * (6 / 2 / 5) ** 0.5)
    assert width.line == pytest.approx(expected, rel=0.02)
    assert depth_info(view).unit == "of the reference shape"


def test_bandwidth_is_bytes_over_time(tmp_path: Path) -> None:
    _, view = study(tmp_path, [(8.0, None)])  # seven steps of 1 ms
    ((name, megabytes, speed, suspect, reference),) = bandwidth_info(view).points
    shape, scheme = small_shape(num_hidden_layers=1), fake_device().scheme
    context = SCENARIO.contexts[0]
    read = shape.weight_bytes(scheme).streamed + context * shape.kv_bytes_per_token(4)
    assert (name, suspect, reference) == ("64×1", False, False)
    assert megabytes == pytest.approx(read / 1e6)
    assert speed == pytest.approx(read / 1e-3 / 1e9, rel=5e-3)


def test_devices_are_compared_by_shapes_that_all_measured(tmp_path: Path) -> None:
    store, view = study(tmp_path, [(8.0, None), (15.0, None), (29.0, None)])
    with pytest.raises(ConfigurationError, match="must be measured on two devices to compare"):
        devices_info(store, view)
    for layers, step in ((1, 9), (2, 3), (3, 6)):
        shape = small_shape(num_hidden_layers=layers)
        for w in SCENARIO.workloads:
            ns = 10**6 if w.phase == "prefill" else step * 10**6
            mode = fake_device().cache_mode(w)
            rounds = [
                measurement([ns] * 9, shape_id=shape.shape_id, workload=w, device="other", round=n,
                            environment={"soc": "y"}, cache_mode=mode)
                for n in range(3)
            ]  # fmt: skip
            store.add_measurements(shape, rounds)
    info = devices_info(store, view)
    assert info.devices == ("fake-phone", "other")
    assert [(name, on_front) for name, _, on_front in info.shapes] == [
        ("64×1", True), ("64×2", True), ("64×3", True),
    ]  # fmt: skip
    assert [values[0] for _, values, _ in info.shapes] == pytest.approx(
        [8 / 15, 1, 29 / 15], rel=0.01
    )
    assert [values[1] for _, values, _ in info.shapes] == pytest.approx(
        [64 / 43, 22 / 43, 1], rel=0.01
    )
    assert "fake-phone and other: Spearman -0.50" in info.footnote
    save(draw_devices(info), tmp_path / "devices.png")
    # Where some have scores the front is theirs, and the others are still compared.
    store.add_score(small_shape(num_hidden_layers=2), score(small_shape(num_hidden_layers=2), 2.0))
    info = devices_info(store, load_view(store, "study"))
    assert [on_front for _, _, on_front in info.shapes] == [False, True, False]


def test_svg_pictures_are_the_same_every_time(tmp_path: Path) -> None:
    _, view = study(tmp_path, POINTS)
    files = [save(draw_front(front_info(view)), tmp_path / f"{i}.svg") for i in "ab"]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_small_print_stays_inside_the_picture(tmp_path: Path) -> None:
    _, view = study(tmp_path, POINTS)
    info = replace(front_info(view), footnote="scored as miniatures, of a quick look · " * 9)
    figure = draw_front(info)
    figure.canvas.draw()
    (note,) = [t for t in figure.texts if "quick look" in t.get_text()]
    box = note.get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.width


def test_wrong_files_are_refused(tmp_path: Path) -> None:
    _, view = study(tmp_path, [])
    figure = draw_front(front_info(view))
    with pytest.raises(ExportError, match=r"must end in .png, .svg, .pdf, got 'x.gif'"):
        save(figure, tmp_path / "x.gif")
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="must be writable"):
        save(figure, tmp_path / "file" / "x.png")


def test_estimated_shapes_are_drawn_as_such(tmp_path: Path) -> None:
    store, view = study(tmp_path, [(10.0, None), (20.0, None)])
    shape = small_shape(num_hidden_layers=9)
    estimates = [
        LatencyEstimate(
            shape_id=shape.shape_id, device="fake-phone", precision="int4-b32", workload=w,
            cache_mode=fake_device().cache_mode(w), environment_id=view.record.environment_id,
            graph_version=GRAPH_VERSION, protocol_version=PROTOCOL_VERSION, latency_ms=5.0,
            ci_low_ms=4.5, ci_high_ms=6.0, intercept_ms=1.0, slope_ms=0.5, depths=(2, 4),
            verdict="valid", reasons=(), created_at="t",
        )
        for w in SCENARIO.workloads
    ]  # fmt: skip
    store.set_estimates([(shape, estimates)])
    part = StudyShape(shape_id=shape.shape_id, role="screened")
    store.set_study_shape("study", shape, part)
    view = load_view(store, "study")
    assert [(r.kind, r.estimate_ms) for r in view.rows] == [
        ("measured", None), ("measured", None), ("estimated", 40.0),
    ]  # fmt: skip
    info = front_info(view)
    assert [p.estimated for p in info.points] == [False, False, True]
    assert "estimated from blocks: 1 (triangles or ticks)" in info.footnote
    assert "triangles" in spread_info(view).footnote
    # Only what was measured whole can be trained and picked.
    assert [s.num_hidden_layers for s in candidates(view, 3, ScoreSettings(budget=None))[0]] == [
        1, 2,
    ]  # fmt: skip
    # Measured whole later, it is a measurement with its estimate beside it.
    rounds = [
        measurement([4_000_000] * 9, shape_id=shape.shape_id, workload=w, device="fake-phone",
                    environment={"soc": "x"}, round=n, cache_mode="warm" if w.phase == "prefill"
                    else "cold")
        for w in SCENARIO.workloads for n in range(3)
    ]  # fmt: skip
    store.add_measurements(shape, rounds)
    store.set_study_shape("study", shape, StudyShape(shape_id=shape.shape_id, role="trial"))
    row = load_view(store, "study").rows[-1]
    assert (row.kind, row.estimate_ms) == ("measured", 40.0)
    assert row.end_to_end_ms == pytest.approx(32.0, rel=5e-3)
    (card,) = device_cards(store, load_view(store, "study"))
    assert dict(card["facts"])["estimates"].startswith("25.0% off in the median, 25.0% at most")


def test_a_far_baseline_does_not_squeeze_the_front(tmp_path: Path) -> None:
    # lzma reaches 2.18 bits per byte on the embedded text.
    _, near = study(tmp_path / "near", [(10.0, 2.1), (20.0, 2.0)])
    assert front_info(near).baseline == 2.18
    _, far = study(tmp_path / "far", [(10.0, 1.31), (20.0, 1.3)])
    info = front_info(far)
    assert info.baseline is None
    assert info.footnote.endswith("lzma: 2.18 bits per byte")
    axes = draw_front(info).axes[0]
    assert axes.get_ylim()[1] < 2.0


def test_labels_of_close_points_lie_apart(tmp_path: Path) -> None:
    close = [(10.0 + 0.01 * i, 2.0 - 0.001 * i) for i in range(8)]
    _, view = study(tmp_path, [*close, (20.0, 1.9)])
    figure = draw_front(front_info(view))
    figure.draw_without_rendering()
    boxes = [t.get_window_extent() for t in figure.axes[0].texts if "×" in t.get_text()]
    assert len(boxes) == 9
    assert not [1 for a, b in combinations(boxes, 2) if a.overlaps(b)]
