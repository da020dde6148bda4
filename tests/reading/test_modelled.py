"""The front of all shapes of a space, against all shapes looked at one by one."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from phonelm_search.core.pareto import non_dominated
from phonelm_search.core.precision import PRECISIONS
from phonelm_search.core.prediction import Prediction
from phonelm_search.core.statistics import Floats
from phonelm_search.reading import ModelledFront
from phonelm_search.reading.modelled import model_front
from phonelm_search.space import Columns, enumerate_space, load_space

SCHEME = PRECISIONS["int4-b32"]
ERROR = 0.01


@dataclass(frozen=True)
class Told:
    """Models whose answers are closed forms: deeper is slower, and better up to six layers."""

    error: float = ERROR

    def latency_means(self, c: Columns) -> Floats:
        kinds = 1 + 0.002 * (c.hidden_act == "relu") + 1e-5 * c.intermediate_size  # no two alike
        return np.asarray(kinds * c.decoder_parameters / 6e5 * (0.5 + 0.1 * c.num_hidden_layers))

    def loss_means(self, c: Columns) -> Floats:
        deep = 1 + 0.01 * (np.log(c.num_hidden_layers / 6)) ** 2
        return np.asarray(deep * (c.decoder_parameters / 6e5) ** -0.05)

    def latency(self, c: Columns) -> Prediction:
        return Prediction(mean=np.log(self.latency_means(c)), deviation=np.full(len(c), self.error))

    def loss(self, c: Columns) -> Prediction:
        return Prediction(mean=np.log(self.loss_means(c)), deviation=np.full(len(c), self.error))

    def latency_draws(self, c: Columns, count: int) -> Floats:
        noise = np.random.default_rng(0).standard_normal((count, len(c)))
        return np.asarray(self.latency_means(c) * np.exp(self.error * noise))

    def loss_draws(self, c: Columns, count: int) -> Floats:
        return np.asarray(np.broadcast_to(self.loss_means(c), (count, len(c))))


def told(error: float = ERROR, file: Path | None = None) -> ModelledFront:
    models = Told(error)
    return model_front(
        lambda: models,  # type: ignore[arg-type, return-value]
        load_space("tiny"), (SCHEME,), (5.5e5, 6.5e5), digest="x", file=file,
    )  # fmt: skip


@pytest.fixture(scope="module")
def front() -> ModelledFront:
    return told()


@pytest.fixture(scope="module")
def everything() -> tuple[Columns, np.ndarray]:
    """All shapes of any size within reach, and which ones the space allows."""
    space = load_space("tiny")
    opened = enumerate_space(space.model_copy(update={"parameters": None}), SCHEME)
    own, sizes = opened.within(space.parameters), opened.columns["decoder_parameters"]
    reached = own | ((sizes >= 2.75e5) & (sizes <= 1.3e6))
    return Columns.of_space(opened).rows(reached), own[reached]


def test_the_front_is_that_of_all_shapes(
    front: ModelledFront, everything: tuple[Columns, np.ndarray]
) -> None:
    columns, own = everything
    assert front.count == own.sum() == len(enumerate_space(load_space("tiny"), SCHEME))
    for rows, any_size in ((own, False), (np.ones(len(own), bool), True)):
        points = np.stack(
            [f(columns.rows(rows)) for f in (Told().latency_means, Told().loss_means)]
        )
        best = points.T[non_dominated(points.T)]
        mine = front.front(any_size=any_size)
        found = np.stack([front.latency[mine], front.loss[mine]], axis=1)
        expected = np.unique(np.float32(best), axis=0)
        np.testing.assert_allclose(found, expected[np.argsort(expected[:, 0])], rtol=1e-6)


def test_what_is_as_good_and_fast_is_found_at_any_size(
    front: ModelledFront, everything: tuple[Columns, np.ndarray]
) -> None:
    columns, _ = everything
    latency, loss = Told().latency_means(columns), Told().loss_means(columns)
    for limit in (1.0, 1.01, 1.03):
        row = front.fastest_at(limit)
        assert row is not None
        np.testing.assert_allclose(front.latency[row], latency[loss <= limit].min(), rtol=1e-6)
    row = front.best_at(0.9)
    assert row is not None
    np.testing.assert_allclose(front.loss[row], loss[latency <= 0.9].min(), rtol=1e-6)
    assert front.fastest_at(0.5) is None
    assert front.best_at(0.01) is None


def test_equal_size_is_that_of_the_best_shape(front: ModelledFront) -> None:
    # The best shape of a size has six layers, so its loss is the power of its size alone.
    for size in (4e5, 6e5, 9e5):
        found = front.equal_size((size / 6e5) ** -0.05)
        assert found is not None
        np.testing.assert_allclose(found[0], size, rtol=0.06)
    assert front.equal_size(2.0) is None
    assert front.equal_size(0.5) is None


def test_chances_are_sure_where_nothing_is_open_and_open_where_errors_are(
    front: ModelledFront,
) -> None:
    sure = told(error=1e-9)
    on_front = np.zeros(len(sure.chance), bool)
    on_front[sure.front()] = True
    assert (sure.chance[on_front] > 0.999).all()
    assert ((front.chance > 0.05) & (front.chance < 0.95)).any()
    assert (front.chance[~front.inside] == 0).all()


def test_numbers_are_kept_and_read_again(tmp_path: Path) -> None:
    file = tmp_path / "front.npz"
    first = told(file=file)

    def never() -> Told:
        raise AssertionError("what is kept must not be told again")

    again = model_front(
        never,  # type: ignore[arg-type]
        load_space("tiny"), (SCHEME,), (5.5e5, 6.5e5), digest="x", file=file,
    )  # fmt: skip
    np.testing.assert_array_equal(again.latency, first.latency)
    assert again.shape(int(again.front()[0])) == first.shape(int(first.front()[0]))
    assert again.density.counts.sum() == first.count
