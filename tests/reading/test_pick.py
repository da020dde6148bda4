"""The pick's rule on studies with known answers."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from helpers import small_shape, study
from phonelm_search.core.budget import parse_budgets
from phonelm_search.core.errors import TrainingError
from phonelm_search.reading import (
    StudyView,
    choose,
    front_pairs,
    load_view,
    names_of,
    tokens_text,
    trust,
)
from phonelm_search.reading.budgets import (
    KEPT,
    keeping_probability,
    keeping_rows,
    nearest_row,
    standings,
)
from told_losses import with_losses

MS = (10.0, 20.0, 30.0, 60.0)


def told(
    folder: Path, losses: list[float], deviation: float = 1e-4, **changes: object
) -> StudyView:
    """A study of those latencies, trained for, with given losses."""
    points: list[tuple[float, float | None]] = [
        (ms, 2.0) for ms, _ in zip(MS, losses, strict=False)
    ]
    # Wide and shallow enough for what the law knows.
    shapes = [small_shape(num_hidden_layers=n + 1) for n in range(len(points))]
    _, view = study(folder, points, shapes=shapes, **changes)  # type: ignore[arg-type]
    return with_losses(view, losses, deviation=deviation)


def picked(view: StudyView, rule: str = "knee") -> int:
    return round(choose(view, rule).row.end_to_end_ms)  # type: ignore[arg-type]


def test_the_knee_is_farthest_from_the_chord(tmp_path: Path) -> None:
    view = told(tmp_path, [1.5, 1.1, 1.05, 1.0])
    assert picked(view) == 20
    assert choose(view).why == "the knee of a front of 4 shapes"


def test_slower_shapes_that_are_not_better_are_no_part_of_the_front(tmp_path: Path) -> None:
    view = told(tmp_path, [1.5, 1.6, 1.05, 1.1])
    assert [round(r.end_to_end_ms) for r in view.front] == [10, 30]
    assert picked(view) == 30
    assert choose(view).why == "the lowest loss, which no faster shape reaches"


def test_of_two_the_fastest_that_cannot_be_told_from_the_best_is_taken(tmp_path: Path) -> None:
    view = told(tmp_path, [1.01, 1.0], deviation=0.02)
    assert picked(view) == 10
    assert choose(view).why == "the fastest shape whose loss cannot be told from the lowest"


def test_rules_can_be_chosen(tmp_path: Path) -> None:
    view = told(tmp_path, [1.5, 1.1, 1.05, 1.0])
    assert (picked(view, "fastest"), picked(view, "best")) == (10, 60)


def test_rivals_on_both_axes_make_a_pick_provisional_and_equals_do_not(tmp_path: Path) -> None:
    points: list[tuple[float, float | None]] = [(10.0, 2.0), (10.002, 2.0), (30.0, 2.0)]
    _, view = study(tmp_path, points)
    alike = with_losses(view, [1.03, 1.029, 0.9], deviation=0.03)
    pick = choose(alike, "fastest")
    assert len(pick.tied) == len(pick.equals) == 1
    assert pick.provisional == ()
    apart = choose(with_losses(view, [1.03, 1.0, 0.9], deviation=0.03), "fastest")
    assert len(apart.tied) == 1
    assert apart.equals == ()
    assert apart.provisional[0].startswith("neither its latency nor its loss is told from that of")


def test_of_many_rivals_the_nearest_three_are_named(tmp_path: Path) -> None:
    latencies = [10.0, 10.004, 10.001, 10.003, 10.002, 30.0]
    _, view = study(tmp_path, [(ms, 2.0) for ms in latencies])
    losses = [1.03, 1.0, 1.0, 1.0, 1.0, 0.9]
    pick = choose(with_losses(view, losses, deviation=0.03), "fastest")
    assert len(pick.tied) == 4
    nearest = sorted(pick.tied, key=lambda r: r.latency.value)[:3]
    names = names_of([pick.row, *nearest])[1:]
    named = ", ".join(f"{n} ({r.latency_text})" for n, r in zip(names, nearest, strict=True))
    assert pick.provisional[0].endswith(f"is told from that of {named} and 1 more")


def test_what_is_known_of_the_loss_makes_a_sure_pick_or_a_provisional_one(tmp_path: Path) -> None:
    losses = [1.5, 1.1, 1.0]
    assert choose(told(tmp_path / "sure", losses)).provisional == ()
    quick = told(tmp_path / "quick", losses, tokens_per_parameter=0.5)
    assert "a quick look: nothing was trained on more than 0.5" in choose(quick).provisional[0]
    _, view = study(tmp_path / "prior", [(ms, None) for ms in MS[:3]])
    (doubt,) = choose(with_losses(view, losses)).provisional
    assert doubt == "nothing was trained for it: its loss is told from published trainings alone"
    hardly = with_losses(told(tmp_path / "hardly", losses), losses, prior_share=0.99)
    (doubt,) = choose(hardly).provisional
    assert doubt == (
        "its loss is hardly more than the prior's: told by published trainings and 3 of this "
        "study, which left 99% of the variance"
    )
    suspect = told(tmp_path / "suspect", losses, verdict="suspect")
    (doubt,) = choose(suspect).provisional
    assert doubt.startswith("its latency is suspect: it is 1.")  # of one round
    assert doubt.endswith("only 2 samples, fewer than 3")


def test_an_extrapolation_is_said(tmp_path: Path) -> None:
    narrow = small_shape(num_hidden_layers=40)
    large = small_shape(
        hidden_size=8192, num_attention_heads=64, num_key_value_heads=64, head_dim=128,
        intermediate_size=28672, num_hidden_layers=80,
    )  # fmt: skip
    points: list[tuple[float, float | None]] = [(10.0, 2.0)]
    _, view = study(tmp_path / "narrow", points, shapes=[narrow])
    (doubt,) = [d for d in choose(view).provisional if "extrapolation" in d]
    assert doubt.startswith("its loss is an extrapolation: a width of 1.")
    assert "times its depth, where the law knows 3.2 to 320" in doubt
    _, view = study(tmp_path / "large", [(10.0, None)], shapes=[large])
    (doubt,) = [d for d in choose(view).provisional if "extrapolation" in d]
    assert "44 times the decoder parameters of the largest training" in doubt


def test_rejected_shapes_are_never_picked(tmp_path: Path) -> None:
    _, rejected = study(tmp_path, [(5.0, 2.0)], verdict="rejected")
    with pytest.raises(TrainingError, match="must have a measured shape to pick; run"):
        choose(rejected)


def test_every_pair_of_the_front_is_told(tmp_path: Path) -> None:
    view = told(tmp_path, [1.2, 1.0, 1.1], deviation=0.01)
    (pair,) = front_pairs(view)
    assert pair["latency_ratio"] == pytest.approx(0.5, rel=0.02)
    assert pair["loss_ratio"] == pytest.approx(1.2, rel=0.01)
    assert pair["faster_probability"] == 1
    assert pair["better_probability"] == 0


def test_how_far_to_trust_the_losses_stands_in_one_sentence(tmp_path: Path) -> None:
    _, prior = study(tmp_path / "prior", [(10.0, None)])
    assert "the law knows published trainings alone; `phonelm-search score study`" in trust(prior)
    few = told(tmp_path / "few", [1.0])
    assert "1 training, too few of the largest size" in trust(few)
    shapes = [small_shape(intermediate_size=160 + 2 * n) for n in range(3)]
    store, _ = study(tmp_path / "held", [(10.0 + n, 2.0) for n in range(3)], shapes=shapes)
    view = load_view(store, "study")
    assert view.held_out is not None
    assert trust(view).startswith("trust: of 3 trainings of 0.")


def limited(view: StudyView, **texts: str) -> StudyView:
    return replace(view, budgets=parse_budgets(**texts))


def test_within_budgets_the_lowest_loss_is_taken(tmp_path: Path) -> None:
    view = told(tmp_path, [1.5, 1.1, 1.05, 1.0])
    assert picked(limited(view, latency="31ms")) == 30
    assert picked(limited(view, latency="31ms", loss="+20%")) == 30
    assert picked(limited(view, latency="29ms")) == 20
    fastest = choose(limited(view, loss="+7%"))
    assert round(fastest.row.end_to_end_ms) == 30
    assert fastest.why.startswith("the fastest of 2 measured shapes that keep loss ≤ +7.0%")
    # A decode step takes a seventh of all but the prefill's millisecond.
    assert picked(limited(view, tpot="2ms")) == 10
    pick = choose(limited(view, latency="31ms", ttft="5ms"))
    assert pick.provisional == ()
    assert pick.why == (
        "the lowest loss of 3 measured shapes that keep TTFT ≤ 5 ms and end to end ≤ 31 ms with "
        "at least 90% probability"
    )


def test_memory_counts_weights_and_the_cache_at_the_end(tmp_path: Path) -> None:
    view = told(tmp_path, [1.5, 1.1, 1.05, 1.0])
    row = view.rows[1]
    scheme, scenario = view.device.scheme, view.scenario
    context = scenario.prompt_tokens + scenario.generated_tokens
    held = row.shape.weight_bytes(scheme).total + context * row.shape.kv_bytes_per_token(4)
    assert picked(limited(view, memory=str(held))) == 20
    assert picked(limited(view, memory=str(held - 1))) == 10


@pytest.mark.parametrize(
    "limits",
    [
        {"ttft": "1ms", "latency": "14ms"}, {"tpot": "2ms"}, {"loss": "+1%"}, {"memory": "1MB"},
        {"latency": "1ms", "loss": "-5%"},
    ],
)  # fmt: skip
def test_all_rows_at_once_stand_as_each_alone(tmp_path: Path, limits: dict[str, str]) -> None:
    _, view = study(tmp_path, [(10.0 + n, None) for n in range(9)])
    view = replace(view, budgets=parse_budgets(**limits))
    kept = [r for r in view.sampled if keeping_probability(view, r) >= KEPT]
    assert [r.shape for r in keeping_rows(view)] == [r.shape for r in kept]
    misses = {r.shape: max(s.excess for s in standings(view, r)) for r in view.sampled}
    assert misses[nearest_row(view).shape] == min(misses.values())


def test_where_nothing_keeps_the_budgets_the_nearest_is_taken_and_the_miss_told(
    tmp_path: Path,
) -> None:
    view = told(tmp_path, [1.5, 1.1, 1.05, 1.0])
    pick = choose(limited(view, latency="8ms"))
    assert round(pick.row.end_to_end_ms) == 10
    assert pick.why == "none of 4 measured shapes keeps end to end ≤ 8 ms, it is the nearest"
    assert pick.provisional[0] == (
        "no measured shape keeps all budgets; it misses end to end by 25.0% (10 ms of 8 ms)"
    )
    # Neither axis alone is missed by a fifth: 20 ms by 18 %, its loss by less.
    pick = choose(limited(view, latency="17ms", loss="+5%"))
    assert round(pick.row.end_to_end_ms) == 20
    assert "it misses end to end by 17." in pick.provisional[0]
    assert ", loss by 4.8% (+10.0% of +5.0%)" in pick.provisional[0]


def test_one_shape_is_counted_as_one(tmp_path: Path) -> None:
    view = told(tmp_path, [1.0])
    assert choose(limited(view, latency="31ms")).why == (
        "the only measured shape that keeps end to end ≤ 31 ms with at least 90% probability"
    )
    assert choose(limited(view, latency="8ms")).why == (
        "the only measured shape, which does not keep end to end ≤ 8 ms"
    )


def test_a_measured_peak_is_told_beside_what_a_budget_of_memory_is_held_against(
    tmp_path: Path,
) -> None:
    view = told(tmp_path, [1.5, 1.1, 1.05, 1.0])
    pick = choose(limited(view, memory="1GB"))
    assert pick.why.endswith("KV cache at the scenario's end, its peak was not measured")
    assert pick.provisional == ()

    def peaked(peak: int) -> StudyView:
        rows = (replace(r, peak_bytes=peak) for r in view.rows)
        return limited(replace(view, rows=tuple(rows)), memory="1GB")

    within = choose(peaked(250_000_000))
    assert within.why.endswith("its measured peak is 250 MB")
    assert within.provisional == ()
    (doubt,) = choose(peaked(1_200_000_000)).provisional
    assert doubt.startswith(
        "its weights and KV cache keep memory ≤ 1 GB, its measured peak of 1.2 GB does not"
    )


def test_shapes_of_one_label_are_told_by_their_ids(tmp_path: Path) -> None:
    shapes = [
        small_shape(num_hidden_layers=n, hidden_act=act)
        for n, act in ((1, "silu"), (2, "silu"), (2, "relu"))
    ]
    points: list[tuple[float, float | None]] = [(10.0 + i / 1000, 2.0) for i in range(3)]
    _, view = study(tmp_path, points, shapes=shapes)
    pick = choose(with_losses(view, [1.03, 1.0, 1.0], deviation=0.03), "fastest")
    rivals = [r for r in view.sampled if r.shape != pick.row.shape]
    names = names_of([pick.row, *rivals])
    assert len(set(names)) == 3
    assert {r.shape.shape_id for r in view.rows if r.label == "64×2"} <= set(names)
    alike = choose(with_losses(view, [1.0, 1.0, 1.0], deviation=0.03), "fastest")
    assert len(alike.equals) == len(set(alike.equal_names)) == 2
    assert "64×2" not in alike.equal_names
    assert alike.equal_text == ", ".join(alike.equal_names)
    many = replace(alike, equals=tuple(alike.equals) * 6)
    assert many.equal_text.count(", ") == 7
    assert many.equal_text.endswith(" and 4 more")


def test_where_the_tokens_come_from_is_said(tmp_path: Path) -> None:
    store, view = study(tmp_path, [(10.0, None)])
    assert ": 100 for each decoder parameter of the median shape; `phonelm-search" in tokens_text(
        view
    )
    record = view.record
    store.save_study(replace(record, config={**record.config, "train_tokens": 3e11}))
    assert tokens_text(load_view(store, "study")) == "300B tokens: as --train-tokens said"


def test_budgets_of_a_reading_stand_beside_those_of_the_study(tmp_path: Path) -> None:
    store, view = study(tmp_path, [(10.0, None), (20.0, None)])
    known = [asdict(b) for b in parse_budgets(ttft="4ms", memory="1MB")]
    store.save_study(replace(view.record, config={**view.record.config, "budgets": known}))
    assert [b.quantity for b in load_view(store, "study").budgets] == ["ttft", "memory"]
    tried = load_view(store, "study", budgets=parse_budgets(memory="none", loss="+1%"))
    assert [b.quantity for b in tried.budgets] == ["ttft", "loss"]
