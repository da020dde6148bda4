"""Spread of speed and of loss at equal size: what was put in comes out, and noise does not."""

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from helpers import small_shape, study
from phonelm_search.core.errors import EmptySpaceError, TrainingError
from phonelm_search.core.precision import get_precision
from phonelm_search.core.shape import ModelShape
from phonelm_search.outputs.plots import draw_sensitivity, save, sensitivity_info
from phonelm_search.reading import Sensitivity, StudyView, analyse, sensitivity
from phonelm_search.space import enumerate_space, load_space, spread_at_equal_size
from told_losses import with_losses


def grid() -> list[ModelShape]:
    """Depth and activation, fully crossed."""
    return [
        small_shape(num_hidden_layers=n, hidden_act=act)
        for n, act in product((1, 2, 4, 8), ("relu", "silu"))
    ]


def built(
    folder: Path, *, per_doubling: float, silu: float, loss: float, deviation: float = 1e-4
) -> StudyView:
    """A study in which depth moves decode time, activation the loss, told with a deviation."""
    shapes = grid()
    depth = np.log2([s.num_hidden_layers for s in shapes])
    steps = 10 * np.exp(per_doubling * depth)  # seven decode steps of these
    _, view = study(folder, [(1 + s, None) for s in steps], shapes=shapes)
    rows = [r.shape for r in view.rows]
    told = [
        np.exp(loss * np.log2(s.num_hidden_layers) + silu * (s.hidden_act == "silu")) for s in rows
    ]
    return with_losses(view, told, deviation=deviation)


def everything(view: StudyView) -> Sensitivity:
    return analyse(view, {r.shape.shape_id for r in view.rows})


def found(folder: Path, **numbers: float) -> Sensitivity:
    return everything(built(folder, **numbers))


def test_effects_are_those_that_were_put_in(tmp_path: Path) -> None:
    got = found(tmp_path, per_doubling=0.1, silu=-0.02, loss=0.0)
    depth, activation = got.effects
    assert (depth.dimension, depth.low, depth.high) == ("depth", "1", "8")
    assert depth.percent["decode speed"] == pytest.approx(100 * (np.exp(-0.3) - 1), abs=0.5)
    assert depth.percent["loss"] == pytest.approx(0, abs=0.05)
    assert (activation.low, activation.high) == ("relu", "silu")
    assert activation.percent["loss"] == pytest.approx(100 * (np.exp(-0.02) - 1), abs=0.5)
    assert got.explained["decode speed"] == pytest.approx(1, abs=1e-3)
    prefill, decode, loss = got.spreads
    assert prefill.percent == pytest.approx(0, abs=0.2)  # the same for all
    logs = 0.1 * np.log2([1, 1, 2, 2, 4, 4, 8, 8])
    assert decode.percent == pytest.approx(100 * logs.std(ddof=1), rel=0.02)
    assert loss.percent < 1.1
    assert f"{decode.percent:.1f} % (decode), loss moves {loss.percent:.1f} %" in got.claim
    unsure = replace(decode, percent=0.0, interval=(0.0, 3.04))
    assert unsure.told == "at most 3.0 %"


def test_the_spread_of_loss_is_a_prediction_with_its_interval(tmp_path: Path) -> None:
    got = found(tmp_path, per_doubling=0.1, silu=-0.02, loss=0.0, deviation=0.01)
    loss = got.spreads[2]
    # In each world the shapes differ by what is told and by what it is off.
    assert loss.percent == pytest.approx(100 * np.hypot(0.02 * np.sqrt(2 / 7), 0.01), rel=0.1)
    assert loss.interval[0] < loss.percent < loss.interval[1]
    assert loss.noise_percent == pytest.approx(0.94, abs=0.05)


def test_intervals_hold_what_was_put_in_19_times_of_20() -> None:
    rng = np.random.default_rng(0)
    dimensions = sensitivity._dimensions(grid())
    free = [d for d in dimensions if np.ptp(d.values) > 0]
    held = []
    for _ in range(500):
        fit = sensitivity._fit(free, rng.normal(size=8))
        held += [abs(slope) <= half for slope, half in fit.slopes.values()]
    assert 0.93 < np.mean(held) < 0.97


def test_without_a_free_shape_there_is_no_interval() -> None:
    shapes = [small_shape(num_hidden_layers=n, head_dim=d) for n, d in ((1, 16), (2, 16), (2, 32))]
    values = {"loss": np.array([1.0, 2.0, 3.0])}
    (depth, heads), _ = sensitivity.additive_effects(shapes, values)
    assert (depth.interval, heads.interval) == ({"loss": None}, {"loss": None})


def test_too_few_shapes_are_refused(tmp_path: Path) -> None:
    _, view = study(tmp_path, [(10.0, 2.0), (20.0, 1.9)])
    with pytest.raises(TrainingError, match="at least 6 shapes must be measured"):
        everything(view)
    eight = enumerate_space(load_space("slm-100m"), get_precision("int4-b32"))
    shapes = spread_at_equal_size(eight, 7, target=85_000_000)
    with pytest.raises(TrainingError, match=r"at least 8 .*effects of 5 dimensions, got 7"):
        sensitivity.check_count(shapes)


def test_the_picture_shows_every_quantity_and_effect(tmp_path: Path) -> None:
    view = built(tmp_path, per_doubling=0.1, silu=-0.02, loss=0.01, deviation=0.01)
    info = sensitivity_info(view, everything(view))
    assert [s[0] for s in info.strips] == ["prefill speed", "decode speed", "loss"]
    assert "8 shapes of" in info.title
    assert "loss by a law over sizes, from published trainings, after" in info.footnote
    assert save(draw_sensitivity(info), tmp_path / "s.png").stat().st_size > 10_000


def test_chosen_shapes_are_of_one_size_and_far_apart() -> None:
    feasible = enumerate_space(load_space("slm-100m"), get_precision("int4-b32"))
    shapes = spread_at_equal_size(feasible, 12, target=85_000_000)
    assert len({s.shape_id for s in shapes}) == 12
    for s in shapes:
        assert abs(s.decoder_parameters / 85_000_000 - 1) <= 0.02
    depths = [s.num_hidden_layers for s in shapes]
    assert max(depths) / min(depths) > 3
    assert {s.hidden_act for s in shapes} == {"relu", "silu"}
    assert {s.head_dim for s in shapes} == {64, 128}
    assert {s.kv_groups for s in shapes} >= {1, 8}
    assert shapes == spread_at_equal_size(feasible, 12, target=85_000_000)
    with pytest.raises(EmptySpaceError, match="must hold shapes within 2% of 850M"):
        spread_at_equal_size(feasible, 5, target=850_000_000)
