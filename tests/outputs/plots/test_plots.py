"""Pictures are tested as what they show; drawing is tested to draw."""

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from matplotlib.text import Text

from helpers import (
    SCENARIO,
    add_training,
    fake_device,
    measurement,
    score,
    small_shape,
    study,
)
from phonelm_search.backends import PROTOCOL_VERSION
from phonelm_search.core.errors import ConfigurationError, ExportError, TrainingError
from phonelm_search.core.records import LatencyEstimate, StudyShape
from phonelm_search.core.units import format_count
from phonelm_search.graph import GRAPH_VERSION
from phonelm_search.outputs.plots import (
    PICTURES,
    bandwidth,
    depth,
    devices,
    draw_front,
    draw_training,
    front_info,
    processes,
    save,
    sensitivity,
    training_info,
    validation,
)
from phonelm_search.outputs.plots import draw as draw_module
from phonelm_search.outputs.plots import map as map_module
from phonelm_search.outputs.plots.bandwidth import bandwidth_info, draw_bandwidth
from phonelm_search.outputs.plots.canvas import BLUE, MANY_POINTS, Mark, add_marks, new_figure
from phonelm_search.outputs.plots.depth import depth_info, draw_depth
from phonelm_search.outputs.plots.devices import devices_info, draw_devices
from phonelm_search.outputs.plots.draw import _labelled, draw_spread
from phonelm_search.outputs.plots.info import Point, spread_info, step_line
from phonelm_search.outputs.plots.validation import draw_validation, validation_info
from phonelm_search.outputs.report.evidence import device_cards
from phonelm_search.outputs.report.rounds import study_rounds
from phonelm_search.reading import load_view
from told_losses import with_losses

POINTS: list[tuple[float, float | None]] = [(10.0, 3.0), (20.0, 3.1), (30.0, 2.0), (40.0, None)]
LOSSES = (3.0, 3.1, 2.0, 1.9)
"""Of those, as shares of the baseline's."""


def test_front_info_tells_front_dominated_and_pick_apart(tmp_path: Path) -> None:
    _, view = study(tmp_path, POINTS, verdict="suspect")
    info = front_info(with_losses(view, LOSSES))
    assert info.pick_name == "provisional pick"
    assert [p.front for p in info.points] == [True, False, True, True]
    assert [p.pick for p in info.points] == [False, False, True, False]
    assert [p.y for p in info.points] == pytest.approx([200, 210, 100, 90])
    assert all(p.suspect for p in info.points)
    below, above = info.points[0].y_error
    assert 0 < below < above
    # 3 · (exp(1.96 · 1e-4) - 1), in per cent.
    assert above == pytest.approx(0.0588, rel=1e-3)
    assert "[× the reference shape]" in info.x_label
    assert "hollow: suspect (only 2 samples, fewer than 3)" in info.footnote


def test_the_front_is_against_loss_in_per_cent_of_the_baseline_by_the_law(tmp_path: Path) -> None:
    store, view = study(tmp_path, [(10.0, None), (20.0, None)])
    info = front_info(view)
    tokens = 100 * float(np.median([r.shape.decoder_parameters for r in view.sampled]))
    assert view.train_tokens == tokens
    assert info.y_label == (
        f"loss after {format_count(tokens)} tokens, by the law [% against the reference shape]"
    )
    assert draw_front(info).axes[0].get_ylabel() == info.y_label
    assert [p.y for p in info.points] == [100 * (r.loss.value - 1) for r in view.rows]
    assert info.footnote == "loss from published trainings alone"
    assert info.pick_name == "provisional pick"
    add_training(store, "study", small_shape(), tokens=1_000_000, bits=2.0)
    info = front_info(with_losses(load_view(store, "study"), [1.2, 1.0]))
    assert info.footnote == "loss from published trainings and 1 of this study"
    assert info.pick_name == "pick"


def test_the_step_line_goes_right_before_it_goes_down(tmp_path: Path) -> None:
    _, view = study(tmp_path, POINTS)
    xs, ys = step_line(front_info(with_losses(view, [3.0, 3.1, 2.0, 2.5])).points, 50.0)
    assert xs == pytest.approx([1, 3, 3, 50], rel=5e-3)  # the reference shape takes 10 ms
    assert ys == pytest.approx([200, 200, 100, 100])
    assert step_line((), 1.0) == ([], [])


def test_training_info_holds_every_curve(tmp_path: Path) -> None:
    store, view = study(tmp_path, POINTS)
    curves = training_info(view).curves
    assert [c.final for c in curves] == [3.0, 3.1, 2.0]
    assert curves[0].tokens == (500, 1000)
    # Longer trainings of one shape go on from its shorter ones: the longest shows them all.
    relative = small_shape(hidden_size=32, num_attention_heads=2)
    for tokens, bits in ((2000, 2.9), (8000, 2.7), (4000, 2.8)):
        add_training(store, "study", relative, tokens=tokens, bits=bits)
    curves = training_info(load_view(store, "study")).curves
    assert [c.final for c in curves] == [3.0, 3.1, 2.0, 2.7]
    assert (curves[-1].label, curves[-1].tokens) == ("32×2", (4000, 8000))


def test_a_training_that_was_stopped_early_did_not_fail(tmp_path: Path) -> None:
    store, _ = study(tmp_path, [(10.0, 3.0), (20.0, None), (30.0, None)])
    for layers, stopped in ((2, True), (3, False)):
        shape = small_shape(num_hidden_layers=layers)
        store.add_score(shape, score(shape, None, stopped=stopped))
    figure = draw_training(training_info(load_view(store, "study")))
    (legend,) = [a.get_legend() for a in figure.axes]
    assert {t.get_text() for t in legend.get_texts()} == {
        "64×1: 3.000", "64×2: stopped early", "64×3: failed",
    }  # fmt: skip


def test_the_largest_trainings_are_drawn_as_told_against_as_trained(tmp_path: Path) -> None:
    store, view = study(tmp_path, [(10.0, None), (20.0, None)])
    with pytest.raises(TrainingError, match=r"must have two trainings .*score study --validate`"):
        validation_info(view)
    small = small_shape(hidden_size=32, num_attention_heads=2, intermediate_size=80)
    add_training(store, "study", small, tokens=1_000_000, bits=2.4)
    # Of one size, ever deeper and narrower in their feed-forward network.
    largest = [
        small_shape(num_hidden_layers=layers, intermediate_size=inner)
        for layers, inner in ((2, 192), (3, 107), (4, 64))
    ]
    for shape, bits in zip(largest, (1.9, 2.0, 2.1), strict=True):
        add_training(store, "study", shape, tokens=1_000_000, bits=bits)
    view = load_view(store, "study")
    info = validation_info(view)
    assert [name for name, *_ in info.points] == ["64×2", "64×3", "64×4"]
    middle = (1.9 * 2.0 * 2.1) ** (1 / 3)
    trained = [100 * (bits / middle - 1) for bits in (1.9, 2.0, 2.1)]
    assert [p[3] for p in info.points] == pytest.approx(trained)
    assert all(abs(told) < 20 and error > 0 for _, told, error, _ in info.points)
    assert sum(np.log1p(told / 100) for _, told, _, _ in info.points) == pytest.approx(0, abs=1e-9)
    assert "of 3 trainings of 0.099M parameters that it was not fitted to" in info.footnote
    assert "pairs rightly" in info.footnote
    figure = draw_validation(info)
    (axes,) = figure.axes
    assert axes.get_xlabel() == "loss as trained [% of the rung's mean]"
    assert axes.get_ylabel() == "loss by the law [% of the rung's mean]"
    assert save(figure, tmp_path / "validation.svg").exists()


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
    # The front is the study's, and the others are still compared.
    info = devices_info(store, with_losses(load_view(store, "study"), [2.0, 1.0, 1.5]))
    assert [on_front for _, _, on_front in info.shapes] == [True, True, False]


def test_svg_pictures_are_the_same_every_time(tmp_path: Path) -> None:
    _, view = study(tmp_path, POINTS)
    files = [save(draw_front(front_info(view)), tmp_path / f"{i}.svg") for i in "ab"]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_small_print_stays_inside_the_picture(tmp_path: Path) -> None:
    _, view = study(tmp_path, POINTS)
    info = replace(front_info(view), footnote="loss from published trainings alone · " * 9)
    figure = draw_front(info)
    figure.canvas.draw()
    (note,) = [t for t in figure.texts if "published trainings" in t.get_text()]
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
    times = view.table.times("fake-phone")
    assert times.measured.tolist() == [True, True, False]
    for got, row in zip(times.end_to_end, view.rows, strict=True):
        assert tuple(got) == pytest.approx(tuple(row.time.end_to_end))
    assert view.table.judgements == [r.judgement for r in view.rows]
    info = front_info(view)
    assert [p.estimated for p in info.points] == [False, False, True]
    assert "estimated from blocks: 1 (triangles)" in info.footnote
    assert "triangles" in spread_info(view).footnote
    assert [r.shape.num_hidden_layers for r in view.measured] == [1, 2]
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
    view = load_view(store, "study")
    (card,) = device_cards(view, study_rounds(store, view).places)
    assert dict(card["facts"])["estimates"].startswith("25.0% off in the median, 25.0% at most")


def test_a_far_baseline_does_not_squeeze_the_curves(tmp_path: Path) -> None:
    # lzma reaches 2.18 bits per byte on the embedded text.
    store, _ = study(tmp_path, [(10.0, None)])
    shape = small_shape()
    add_training(
        store, "study", shape, tokens=1000, bits=1.3, curve=tuple((100 * i, 1.4) for i in range(11))
    )
    info = training_info(load_view(store, "study"))
    assert info.baseline == 2.18
    assert draw_training(info).axes[0].get_ylim()[1] < 2.0
    kept = store.study("study")
    told = {**kept.config["score"], "lzma_bits_per_byte": 1.5}
    store.save_study(replace(kept, config={**kept.config, "score": told}))
    assert training_info(load_view(store, "study")).baseline == 1.5


def test_labels_of_close_points_lie_apart(tmp_path: Path) -> None:
    times: list[tuple[float, float | None]] = [(10.0 + 0.01 * i, None) for i in range(8)]
    _, view = study(tmp_path, [*times, (20.0, None)])
    close = [2.0 - 0.001 * i for i in range(8)]
    figure = draw_front(front_info(with_losses(view, [*close, 1.9])))
    figure.draw_without_rendering()
    boxes = [t.get_window_extent() for t in figure.axes[0].texts if "×" in t.get_text()]
    assert len(boxes) == 9
    assert not [1 for a, b in combinations(boxes, 2) if a.overlaps(b)]


ODD = "$x_{$ \\frac [a]\nb\x1b[31m"


def test_a_name_is_no_formula_in_any_picture(tmp_path: Path) -> None:
    store, _ = study(tmp_path, POINTS)
    part = StudyShape(shape_id=small_shape().shape_id, role="reference", name=ODD)
    store.set_study_shape("study", small_shape(), part)
    view = load_view(store, "study")
    assert view.baseline == ODD
    shown = ODD.replace("\n", "\\n").replace("\x1b", "\\x1b")
    for kind in ("front", "spread"):
        figure = PICTURES[kind](store, view)
        texts = [t for t in figure.findobj(Text) if "$" in t.get_text()]
        assert shown in {t.get_text() for t in texts}
        assert not any(t.get_parse_math() for t in texts)
    assert save(figure, tmp_path / "spread.svg").stat().st_size > 0


def test_every_picture_is_drawn_literally() -> None:
    drawn = [
        draw
        for module in (bandwidth, depth, devices, draw_module, map_module, processes, sensitivity,
                       validation)
        for name, draw in vars(module).items()
        if name.startswith("draw_")
    ]  # fmt: skip
    assert len(set(drawn)) == 10
    assert all(hasattr(draw, "__wrapped__") for draw in drawn)


def test_thousands_of_points_are_a_few_marks_and_an_image() -> None:
    axes = new_figure(4, 3).add_subplot()
    marks = [
        Mark(x=i, y=1, y_error=(0.1, 0.2), colour=BLUE, hollow=i % 2 == 0)
        for i in range(MANY_POINTS + 1)
    ]
    add_marks(axes, marks, size=5)
    assert [len(c.lines[0].get_xdata()) for c in axes.containers] == [1501, 1500]
    assert all(c.lines[0].get_rasterized() for c in axes.containers)
    few = new_figure(4, 3).add_subplot()
    add_marks(few, marks[:3], size=5)
    assert not any(c.lines[0].get_rasterized() for c in few.containers)


def test_of_a_long_front_some_points_are_named() -> None:
    points = [
        Point(
            x=i, y=-i, x_error=(0, 0), y_error=(0, 0), label=str(i), front=True, suspect=False,
            reference=False, pick=i == 501,
        )
        for i in range(1000)
    ]  # fmt: skip
    named = _labelled(points)
    assert {0, 501, 999} <= named
    assert len(named) <= 41
