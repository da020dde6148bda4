"""Loss of a study's shapes by the law: against the baseline, and with what the study trained."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import phonelm_search.reading.losses as losses
from helpers import score, small_shape, study
from phonelm_search.core.shape import ModelShape
from phonelm_search.outputs import study_rows
from phonelm_search.quality.law import Training, load_prior
from phonelm_search.reading import load_view
from phonelm_search.reading.losses import extrapolations, relative_losses


def shape(width: int, depth: int) -> ModelShape:
    return small_shape(
        hidden_size=width, num_hidden_layers=depth, intermediate_size=4 * width, head_dim=64,
        num_attention_heads=width // 64, num_key_value_heads=width // 64, vocab_size=49152,
    )  # fmt: skip


SHAPES = {s.shape_id: s for s in (shape(640, 13), shape(1152, 4), shape(448, 26), shape(640, 8))}
DEEP, WIDE, NARROW, SMALL = SHAPES
BASELINE = SHAPES[DEEP]


def trainings() -> list[Training]:
    return [
        Training(shape=shape(128, d), tokens=4e6, loss=1.9 + 0.1 * d, dataset="ours", seed="0")
        for d in (1, 2, 3)
    ]


def test_a_shape_is_told_as_a_share_of_the_baseline_with_an_interval() -> None:
    found = relative_losses(SHAPES, BASELINE, load_prior(), [], tokens=8.5e9)
    assert found[DEEP].share == pytest.approx((1, 1, 1), abs=1e-6)
    assert found[WIDE].share.low > 1  # 4 layers are worse than 13, and the law is sure of it
    assert found[SMALL].share.value > 1
    assert all(f.share.low <= f.share.value <= f.share.high for f in found.values())
    assert found[WIDE].share.high - found[WIDE].share.low < 0.06
    assert {f.prior_share for f in found.values()} == {1.0}


def test_draws_belong_together_and_have_the_deviation_that_is_told() -> None:
    found = relative_losses(SHAPES, BASELINE, load_prior(), [], tokens=8.5e9)
    wide, small = found[WIDE], found[SMALL]
    assert np.quantile(wide.draws, [0.025, 0.975]) == pytest.approx(wide.share[1:], abs=0.003)
    # What moves 4 layers away from 13 moves 8 layers the same way.
    assert np.corrcoef(wide.draws, small.draws)[0, 1] > 0.3
    assert found[DEEP].draws == pytest.approx(1, abs=1e-6)


def test_what_a_study_trained_counts_and_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, prior = tmp_path / "law.npz", load_prior()
    before = relative_losses(SHAPES, BASELINE, prior, [], tokens=8.5e9, file=file)
    after = relative_losses(SHAPES, BASELINE, prior, trainings(), tokens=8.5e9, file=file)
    assert after[WIDE].share != pytest.approx(before[WIDE].share, abs=1e-6)
    assert after[WIDE].share.value > 1
    assert 0.5 < after[WIDE].prior_share < 1  # tiny trainings tell little of large shapes
    # Nothing is fitted again where nothing changed.
    monkeypatch.setattr(losses, "QualityLaw", None)
    again = relative_losses(SHAPES, BASELINE, prior, trainings(), tokens=8.5e9, file=file)
    assert {i: r.share for i, r in again.items()} == {i: r.share for i, r in after.items()}
    with pytest.raises(TypeError):
        relative_losses(SHAPES, BASELINE, prior, trainings(), tokens=9e9, file=file)


def test_what_lies_beyond_the_evidence_is_called_so() -> None:
    prior = load_prior()
    assert extrapolations(BASELINE, prior, []) == []
    (deep,) = extrapolations(shape(128, 60), prior, [])
    assert "times its depth, where the law knows" in deep
    large = shape(8192, 60)
    (size,) = extrapolations(large, prior, [])
    assert "times the decoder parameters of the largest training" in size
    own = Training(shape=shape(4096, 40), tokens=1e9, loss=2.0, dataset="ours")
    assert extrapolations(large, prior, [own]) == []


def test_every_row_of_a_study_has_a_loss_scored_or_not(tmp_path: Path) -> None:
    _, view = study(tmp_path, [(10.0, 2.0), (12.0, None), (14.0, 1.9)])
    assert all(0.5 < r.loss.value < 2 for r in view.rows)
    rows = study_rows(view)
    for row in rows:
        assert row["relative_loss_low"] <= row["relative_loss"] <= row["relative_loss_high"]
    median = sorted(r.shape.decoder_parameters for r in view.sampled)[1]
    assert {row["train_tokens"] for row in rows} == {100 * median}


def test_losses_are_told_for_the_tokens_that_a_person_will_train_on(tmp_path: Path) -> None:
    store, view = study(tmp_path, [(10.0, None), (12.0, None)])
    usual = [r.loss.value for r in view.rows]
    config = {**view.record.config, "train_tokens": 3e11}
    store.save_study(replace(view.record, config=config))
    long = load_view(store, "study")
    assert long.train_tokens == 3e11
    assert [r.loss.value for r in long.rows] != usual


def test_trainings_of_an_earlier_release_stay_beside_a_ladder(tmp_path: Path) -> None:
    store, view = study(tmp_path, [(10.0, 2.0), (12.0, 1.9)])
    relative = small_shape(hidden_size=96)
    ours = score(relative, 2.2, settings_id="ladder", settings={"corpus": "x", "version": 5})
    store.add_score(relative, ours)
    entry = {"settings_id": "ladder", "shape_id": relative.shape_id, "seed": 0}
    config = {**view.record.config, "score": {"settings_id": "s", "ladder": [entry]}}
    store.save_study(replace(view.record, config=config))
    again = load_view(store, "study")
    assert [t.loss for t in again.evidence] == [2.0, 1.9, 2.2]
    assert len({t.dataset for t in again.evidence}) == 2
    assert [r.bits_per_byte for r in again.rows] == [2.0, 1.9]
