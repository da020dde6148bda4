"""Loss of a study's shapes by the law: against the baseline, and with what the study trained."""

from pathlib import Path

import pytest

import phonelm_search.reading.losses as losses
from helpers import score, small_shape, study
from phonelm_search.core.shape import ModelShape
from phonelm_search.outputs import study_rows
from phonelm_search.quality import Score, gather
from phonelm_search.reading.losses import relative_losses


def shape(width: int, depth: int) -> ModelShape:
    return small_shape(
        hidden_size=width, num_hidden_layers=depth, intermediate_size=4 * width, head_dim=64,
        num_attention_heads=width // 64, num_key_value_heads=width // 64, vocab_size=49152,
    )  # fmt: skip


SHAPES = {s.shape_id: s for s in (shape(640, 13), shape(1152, 4), shape(448, 26), shape(640, 8))}
DEEP, WIDE, NARROW, SMALL = SHAPES
BASELINE = SHAPES[DEEP]


def scores() -> list[Score]:
    trained = [(shape(128, d), 1.9 + 0.1 * d) for d in (1, 2, 3)]
    return list(gather(score(s, b, tokens=4_000_000) for s, b in trained).values())


def test_a_shape_is_told_as_a_share_of_the_baseline_with_an_interval() -> None:
    found = relative_losses(SHAPES, BASELINE, [], tokens=8.5e9)
    assert found[DEEP] == pytest.approx((1, 1, 1), abs=1e-6)
    assert found[WIDE].low > 1  # 4 layers are worse than 13, and the law is sure of it
    assert found[SMALL].value > 1
    assert all(e.low <= e.value <= e.high for e in found.values())
    assert found[WIDE].high - found[WIDE].low < 0.06


def test_what_a_study_trained_counts_and_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "law.npz"
    before = relative_losses(SHAPES, BASELINE, [], tokens=8.5e9, file=file)
    after = relative_losses(SHAPES, BASELINE, scores(), tokens=8.5e9, file=file)
    assert after[WIDE] != pytest.approx(before[WIDE], abs=1e-6)
    assert after[WIDE].value > 1
    # Nothing is fitted again where nothing changed.
    monkeypatch.setattr(losses, "QualityLaw", None)
    again = relative_losses(SHAPES, BASELINE, scores(), tokens=8.5e9, file=file)
    assert again == after
    with pytest.raises(TypeError):
        relative_losses(SHAPES, BASELINE, scores(), tokens=9e9, file=file)


def test_every_row_of_a_study_has_a_loss_scored_or_not(tmp_path: Path) -> None:
    _, view = study(tmp_path, [(10.0, 2.0), (12.0, None), (14.0, 1.9)])
    assert all(0.5 < r.loss.value < 2 for r in view.rows)
    rows = study_rows(view)
    for row in rows:
        assert row["relative_loss_low"] <= row["relative_loss"] <= row["relative_loss_high"]
    median = sorted(r.shape.decoder_parameters for r in view.sampled)[1]
    assert {row["train_tokens"] for row in rows} == {100 * median}
