"""The quality law: its derivatives, what it recovers of simulated truth, and its two signs."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phonelm_search.core.shape import ModelShape
from phonelm_search.core.statistics import Z_95, Floats
from phonelm_search.quality.law import (
    OWN,
    SHARED,
    Dimensions,
    LawPrior,
    Observations,
    Points,
    QualityLaw,
    Training,
    load_prior,
    log_loss,
    observations_of,
    save_prior,
)
from phonelm_search.space import Columns

PRIOR = load_prior()
ROOT = Path(__file__).parents[2]


def shape(width: int, depth: int, *, ratio: float = 8 / 3, head_dim: int = 64) -> ModelShape:
    return ModelShape(
        hidden_size=width,
        intermediate_size=round(ratio * width),
        num_hidden_layers=depth,
        num_attention_heads=max(1, width // head_dim),
        num_key_value_heads=max(1, width // head_dim),
        head_dim=head_dim,
        vocab_size=1,
    )


def points(shapes: list[ModelShape], tokens: float) -> Points:
    found = Dimensions.of(Columns.of(shapes))
    return Points(shapes=found, tokens=np.full(len(shapes), float(tokens)))


def of_size(parameters: float, depths: list[int], tokens: float) -> Points:
    """Shapes with so many decoder parameters, of equal share and heads."""
    depth = np.array(depths, float)
    n = len(depths)
    return Points(
        shapes=Dimensions(
            width=np.sqrt(parameters / 15 / depth), depth=depth, head_dim=np.full(n, 64.0),
            share=np.full(n, 3.0), groups=np.full(n, 2.0), kinds=np.zeros((n, 4)),
        ),
        tokens=np.full(n, tokens),
    )  # fmt: skip


def test_decoder_parameters_are_those_of_the_shape() -> None:
    shapes = [shape(768, 12), shape(512, 6, ratio=4), shape(1024, 5, head_dim=128)]
    norms = [(2 * s.num_hidden_layers + 1) * s.hidden_size for s in shapes]
    expected = [s.decoder_parameters - n for s, n in zip(shapes, norms, strict=True)]
    assert points(shapes, 1e9).shapes.parameters == pytest.approx(expected)


@settings(max_examples=30)
@given(st.integers(0, 10**6))
def test_derivatives_are_those_of_differences(seed: int) -> None:
    random = np.random.default_rng(seed)
    shared = PRIOR.shared.mean + 0.1 * random.standard_normal(len(SHARED))
    own = PRIOR.own.mean + 0.1 * random.standard_normal(len(OWN))
    at = points([shape(640, 9, head_dim=32), shape(1024, 24, ratio=4)], 3e9)
    at = replace(at, shapes=replace(at.shapes, kinds=random.integers(0, 2, (2, 4)).astype(float)))
    _, slopes = log_loss(shared, own, at.shapes, at.tokens)
    x = np.concatenate([shared, own])

    def value(x: Floats) -> Floats:
        return log_loss(x[: len(SHARED)], x[len(SHARED) :], at.shapes, at.tokens)[0]

    step = 1e-5
    for i in range(len(x)):
        moved = np.eye(len(x))[i] * step
        expected = (value(x + moved) - value(x - moved)) / (2 * step)
        assert slopes[:, i] == pytest.approx(expected, rel=1e-4, abs=1e-8)


def ours() -> Observations:
    """Twelve shapes of 0.3M, trained by this project on 2 to 8 tokens per parameter."""
    with (ROOT / "results/rank-quality.csv").open(encoding="utf-8") as file:
        rows = [r for r in csv.DictReader(file) if float(r["tokens_per_parameter"]) >= 2]
    trainings = []
    for row in rows:
        hidden, heads = int(row["hidden_size"]), int(row["num_attention_heads"])
        trained = ModelShape(
            hidden_size=hidden, intermediate_size=int(row["intermediate_size"]),
            num_hidden_layers=int(row["num_hidden_layers"]), num_attention_heads=heads,
            num_key_value_heads=int(row["num_key_value_heads"]), head_dim=hidden // heads,
            vocab_size=512,
        )  # fmt: skip
        tokens = float(row["tokens_per_parameter"]) * int(row["decoder_parameters"])
        loss = float(row["bits_per_byte"])
        trainings.append(
            Training(shape=trained, tokens=tokens, loss=loss, dataset="ours", seed=row["seed"])
        )
    return observations_of(trainings)


def test_one_law_has_two_signs() -> None:
    """A layer wins at 0.3M, as was measured; a dozen win at 85M, as others measured."""
    depths = list(range(1, 41))
    law = QualityLaw(PRIOR, ours(), dataset="ours")

    def best(law: QualityLaw, parameters: float, tokens: float) -> int:
        return depths[int(np.argmin(law.log_loss(of_size(parameters, depths, tokens)).mean))]

    assert best(law, 0.3e6, 8 * 0.3e6) == 1
    for told in (law, QualityLaw(PRIOR)):
        assert 9 <= best(told, 85e6, 100e9) <= 20
        assert best(told, 500e6, 100e9) > 20


def test_tiny_trainings_keep_the_prior_where_they_see_nothing() -> None:
    asked, to = of_size(85e6, [4, 7, 30], 100e9), of_size(85e6, [13], 100e9)
    before = QualityLaw(PRIOR, dataset="ours").log_ratio(asked, to)
    after = QualityLaw(PRIOR, ours(), dataset="ours").log_ratio(asked, to)
    assert (after.mean > 0).all()
    assert after.mean == pytest.approx(before.mean, abs=1.5 * float(before.deviation.max()))
    assert after.mean[0] > 1.5 * after.deviation[0]


def test_the_shapes_that_miniatures_preferred_are_behind() -> None:
    law = QualityLaw(PRIOR)
    wide = law.log_ratio(of_size(85e6, [4, 7, 13, 30], 100e9), of_size(85e6, [13], 100e9))
    told = np.expm1(wide.mean)
    assert 0.007 < told[0] < 0.03
    assert 0.001 < told[1] < 0.01
    assert told[2] == pytest.approx(0, abs=1e-9)
    assert wide.deviation[2] == pytest.approx(0, abs=1e-6)
    assert wide.mean[0] > 2 * wide.deviation[0]


def simulated(prior: LawPrior, at: Points, seed: int, *, unit: float = 1.0) -> Observations:
    """Trainings of a truth that is drawn from the prior, its misfits too."""
    random = np.random.default_rng(seed)
    drawn = [random.multivariate_normal(g.mean, g.covariance) for g in (prior.shared, prior.own)]
    told, _ = log_loss(*drawn, at.shapes, at.tokens)
    runs = np.arange(len(at), dtype=float)
    covariance = prior.discrepancy.smooth(at, at) + prior.discrepancy.of_runs(at, runs)
    off = random.multivariate_normal(np.zeros(len(at)), covariance)
    return Observations(
        points=at, log_loss=told + off + np.log(unit), datasets=np.array(["text"] * len(at)),
        runs=runs,
    )  # fmt: skip


def test_intervals_hold_simulated_truth_before_and_after_trainings() -> None:
    sizes = [3e6, 10e6, 30e6]
    parts = [of_size(p, [3, 6, 12], 20 * p) for p in sizes] + [of_size(85e6, [5, 8, 13, 24], 2e9)]
    at = Points(
        shapes=Dimensions(
            **{
                n: np.concatenate([getattr(p.shapes, n) for p in parts])
                for n in ("width", "depth", "head_dim", "share", "groups", "kinds")
            }
        ),
        tokens=np.concatenate([p.tokens for p in parts]),
    )
    trained = np.arange(len(at)) < 9
    holds: dict[str, list[bool]] = {"before": [], "after": []}
    widths: dict[str, list[float]] = {"before": [], "after": []}
    for seed in range(60):
        truth = simulated(PRIOR, at, seed)
        asked = at.rows(~trained)
        laws = {
            "before": QualityLaw(PRIOR, dataset="text"),
            "after": QualityLaw(PRIOR, truth.rows(trained), dataset="text"),
        }
        for name, law in laws.items():
            told = law.log_ratio(asked, asked.rows(slice(2, 3)))
            noise = np.hypot(PRIOR.discrepancy.run, PRIOR.discrepancy.rest) * np.sqrt(2)
            difference = truth.log_loss[~trained] - truth.log_loss[~trained][2]
            z = (difference - told.mean)[[0, 1, 3]] / np.hypot(told.deviation, noise)[[0, 1, 3]]
            holds[name] += (np.abs(z) < Z_95).tolist()
            widths[name] += told.deviation[[0, 1, 3]].tolist()
    assert 0.88 <= np.mean(holds["before"]) <= 0.995
    assert 0.88 <= np.mean(holds["after"]) <= 0.995
    assert np.mean(widths["after"]) < np.mean(widths["before"])


def test_a_unit_of_loss_moves_nothing() -> None:
    at = of_size(1e6, [1, 2, 4, 8], 1e7)
    asked, to = of_size(85e6, [4, 13], 1e10), of_size(85e6, [13], 1e10)
    nats, bits = (simulated(PRIOR, at, 1, unit=unit) for unit in (1.0, 0.35))
    first, second = (
        QualityLaw(PRIOR, o, dataset="text").log_ratio(asked, to) for o in (nats, bits)
    )
    assert first.mean == pytest.approx(second.mean, abs=2e-4)


def test_tiny_trainings_do_not_overrule_what_they_cannot_see() -> None:
    """At 0.1M a layer is best by far; told so, the law keeps a dozen layers at 85M."""
    at = of_size(0.1e6, [1, 2, 3, 4, 6], 2e6)
    before = QualityLaw(PRIOR, dataset="text")
    mean = before.log_loss(at).mean
    # Depth is worth nothing there: each doubling costs 3 % beyond what the law says.
    observed = Observations(
        points=at, log_loss=mean + 0.03 * np.log2(at.shapes.depth),
        datasets=np.array(["text"] * 5), runs=np.arange(5.0),
    )  # fmt: skip
    after = QualityLaw(PRIOR, observed, dataset="text")
    asked, to = of_size(85e6, [4], 1e11), of_size(85e6, [13], 1e11)
    told, kept = before.log_ratio(asked, to), after.log_ratio(asked, to)
    assert kept.mean[0] > 0
    assert kept.mean[0] == pytest.approx(told.mean[0], abs=2 * told.deviation[0])


def test_draws_are_those_of_mean_and_covariance() -> None:
    at = of_size(85e6, [4, 8, 13, 30], 1e10)
    law = QualityLaw(PRIOR)
    to = at.rows(slice(2, 3))
    draws = law.ratio_draws(at, to, 20_000)
    told = law.log_ratio(at, to)
    assert draws.mean(axis=0) == pytest.approx(told.mean, abs=4e-4)
    assert draws.std(axis=0) == pytest.approx(told.deviation, rel=0.05, abs=1e-5)
    # Neighbours move together; of more than a thousand shapes as much as coefficients move them.
    _, covariance = law.joint(at)
    correlation = np.corrcoef(draws[:, [0, 1]], rowvar=False)[0, 1]
    away = np.array([[1, 0, -1, 0], [0, 1, -1, 0]])
    (a, c), (_, b) = away @ covariance @ away.T
    assert correlation == pytest.approx(c / np.sqrt(a * b), abs=0.02)
    many = of_size(85e6, [4] * 1001, 1e10)
    lone = law.ratio_draws(many, to, 2000)
    assert lone[:, 5].std() == pytest.approx(told.deviation[0], rel=0.06)
    assert 0 < np.corrcoef(lone[:, :2], rowvar=False)[0, 1] < 1


def test_a_law_in_a_file_is_the_same(tmp_path: Path) -> None:
    save_prior(PRIOR, tmp_path / "law.json")
    again = load_prior(tmp_path / "law.json")
    at = of_size(85e6, [4, 13], 1e10)
    assert QualityLaw(again).log_loss(at).mean == pytest.approx(QualityLaw(PRIOR).log_loss(at).mean)
    assert again.discrepancy == PRIOR.discrepancy
    assert again.sources == PRIOR.sources


def test_what_a_share_costs_a_narrow_relative_is_not_believed_at_ten_times_the_width() -> None:
    """Of the README's first line: one head of 64 at widths of 52 to 72, one layer."""
    trained = [
        (52, 314, 124_928, 2.4800), (72, 204, 126_976, 2.4469), (64, 240, 126_976, 2.4569),
        (52, 314, 499_712, 2.0336), (72, 204, 251_904, 2.2219), (72, 204, 501_760, 1.9779),
    ]  # fmt: skip
    relatives = [
        Training(
            shape=ModelShape(
                hidden_size=width, intermediate_size=inner, num_hidden_layers=1,
                num_attention_heads=1, num_key_value_heads=1, head_dim=64, vocab_size=512,
                hidden_act="silu",
            ),
            tokens=tokens, loss=loss, dataset="ours",
        )
        for width, inner, tokens, loss in trained
    ]  # fmt: skip
    asked = of_size(85e6, [5, 13], 8.5e9)
    wide = replace(asked, shapes=replace(asked.shapes, share=np.array([6.0, 2.2])))
    to = wide.rows(slice(1, 2))
    before = QualityLaw(PRIOR).log_ratio(wide, to)
    after = QualityLaw(PRIOR, observations_of(relatives), dataset="ours").log_ratio(wide, to)
    assert after.mean[0] == pytest.approx(before.mean[0], abs=0.25 * before.deviation[0])
