"""The pick's rule on studies with known answers."""

from pathlib import Path

import pytest

from helpers import study
from phonelm_search.core.errors import TrainingError
from phonelm_search.reading import choose, score_pairs


def picked(folder: Path, points: list[tuple[float, float | None]], rule: str = "knee") -> float:
    _, view = study(folder, points)
    return round(choose(view, rule).row.end_to_end_ms, 1)  # type: ignore[arg-type]


def test_the_knee_is_farthest_from_the_chord(tmp_path: Path) -> None:
    points = [(10.0, 3.0), (20.0, 2.2), (30.0, 2.1), (60.0, 2.0)]
    assert picked(tmp_path, points) == 20.0


def test_slower_shapes_that_are_not_better_are_dropped(tmp_path: Path) -> None:
    # 20 and 30 ms are within two deviations of 10 ms; 40 ms is really better.
    points = [(10.0, 2.50), (20.0, 2.49), (30.0, 2.48), (40.0, 2.30)]
    _, view = study(tmp_path, points)
    pick = choose(view)
    assert pick.row.end_to_end_ms == pytest.approx(40, rel=5e-3)
    assert "no faster shape reaches" in pick.why
    assert pick.tied == ()


def test_a_dropped_shape_still_drops_slower_ones(tmp_path: Path) -> None:
    # 10 ms is no worse than 20 ms; 20 ms, not 10 ms, is no worse than 30 ms.
    points = [(10.0, 2.50), (20.0, 2.475), (30.0, 2.45), (40.0, 2.2), (50.0, 2.0)]
    _, view = study(tmp_path, points)
    assert "the knee of 3 shapes" in choose(view).why


def test_with_ties_the_fastest_is_taken_and_the_pick_is_provisional(tmp_path: Path) -> None:
    _, view = study(tmp_path, [(10.0, 2.50), (20.0, 2.49), (30.0, 2.485)])
    pick = choose(view)
    assert pick.row.end_to_end_ms == pytest.approx(10, rel=5e-3)
    assert "the fastest of 3 shapes that the score cannot tell from the best" in pick.why
    assert len(pick.tied) == 2
    assert any("tied within two paired deviations" in d for d in pick.provisional)


def test_rules_can_be_chosen(tmp_path: Path) -> None:
    points = [(10.0, 3.0), (20.0, 2.2), (30.0, 2.1), (60.0, 2.0)]
    _, view = study(tmp_path, points)
    assert choose(view, "fastest").row.end_to_end_ms == pytest.approx(10, rel=5e-3)
    assert choose(view, "best").row.end_to_end_ms == pytest.approx(60, rel=5e-3)


def test_enough_tokens_and_clear_scores_make_a_sure_pick(tmp_path: Path) -> None:
    points = [(10.0, 3.0), (20.0, 2.2), (60.0, 2.0)]
    _, view = study(tmp_path / "sure", points)
    assert choose(view).provisional == ()
    _, quick = study(tmp_path / "quick", points, tokens_per_parameter=0.5)
    assert "a quick look: trained on 0.5 tokens" in choose(quick).provisional[0]
    _, suspect = study(tmp_path / "suspect", points, verdict="suspect")
    (doubt,) = choose(suspect).provisional
    assert doubt.startswith("its latency is suspect: it is 1.")  # of one round
    assert doubt.endswith("only 2 samples, fewer than 3")


def test_rejected_and_unscored_shapes_are_never_picked(tmp_path: Path) -> None:
    _, view = study(tmp_path / "a", [(5.0, None), (10.0, 2.5)])
    assert choose(view).row.end_to_end_ms == pytest.approx(10, rel=5e-3)
    _, none = study(tmp_path / "b", [(5.0, None)])
    with pytest.raises(TrainingError, match="must have a scored shape to pick; run"):
        choose(none)
    _, rejected = study(tmp_path / "c", [(5.0, 2.0)], verdict="rejected")
    with pytest.raises(TrainingError, match="must have a scored shape"):
        choose(rejected)


def test_every_pair_of_scores_is_told_apart_or_called_a_tie(tmp_path: Path) -> None:
    _, view = study(tmp_path, [(10.0, 2.50), (20.0, 2.49), (30.0, 2.30), (40.0, None)])
    pairs = score_pairs(view)
    assert [(round(p["difference_bits_per_byte"], 3), p["tied"]) for p in pairs] == [
        (0.01, True),
        (0.2, False),
        (0.19, False),
    ]
    assert all(p["deviation_bits_per_byte"] > 0 for p in pairs)
