"""Rows that programs read."""

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from helpers import SCENARIO, measurement, score, study
from phonelm_search.core.judgement import judged_together
from phonelm_search.core.precision import get_precision
from phonelm_search.core.reason import Reason
from phonelm_search.core.records import StudyShape
from phonelm_search.outputs import doubtful_rows, study_rows
from phonelm_search.outputs.export import write_tables
from phonelm_search.reading import StudyRow, load_view
from told_losses import with_losses

INT4 = get_precision("int4-b32")
ROW_KEYS = [
    "shape_id",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "hidden_act",
    "ffn",
    "parameters",
    "decoder_parameters",
    "kind",
    "device",
    "precision",
    "latency_ms",
    "ci_low_ms",
    "ci_high_ms",
    "tokens_per_s",
    "peak_bytes",
    "verdict",
    "reasons",
    "coverage",
    "relative_loss",
    "relative_loss_low",
    "relative_loss_high",
    "prior_share",
    "front_probability",
    "bits_per_byte",
    "score_ci",
    "tokens",
    "tokens_per_parameter",
    "seeds",
    "miniature",
]


def test_rows_hold_the_agreed_keys_and_null_for_what_does_not_exist(tmp_path: Path) -> None:
    _, view = study(tmp_path, [(10.0, 2.5), (20.0, None)])
    rows = study_rows(view)
    assert all(set(ROW_KEYS) <= set(r) for r in rows)
    assert rows[1]["bits_per_byte"] is rows[1]["peak_bytes"] is rows[1]["coverage"] is None
    assert rows[0]["kind"] == "measured"
    json.dumps(rows, allow_nan=False)


def test_end_to_end_is_prefill_and_the_remaining_steps(tmp_path: Path) -> None:
    _, view = study(tmp_path, [(10.0, 2.5)])
    (row,) = view.rows
    steps = SCENARIO.generated_tokens - 1
    assert row.end_to_end_ms == pytest.approx(row.time.ttft.ms + steps * row.time.tpot.ms)
    assert row.time.end_to_end.low_ms <= row.end_to_end_ms <= row.time.end_to_end.high_ms


def test_the_front_is_of_latency_and_loss_trained_or_not(tmp_path: Path) -> None:
    _, view = study(tmp_path, [(10.0, 3.0), (20.0, 3.1), (30.0, 2.0), (40.0, None)])
    told = with_losses(view, [1.3, 1.4, 1.1, 1.0])
    assert [round(r.end_to_end_ms) for r in told.front] == [10, 30, 40]


def test_files_of_a_study(tmp_path: Path) -> None:
    _, view = study(tmp_path, [(10.0, 2.5), (20.0, None)])
    write_tables(view, tmp_path / "study")
    lines = (tmp_path / "study" / "trials.csv").read_text().splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("name,shape_id,hidden_size")
    front = (tmp_path / "study" / "front.csv").read_text().splitlines()
    assert len(front) == 1 + len(view.front)
    pairs = tmp_path / "study" / "pairs.csv"
    assert pairs.exists() == (len(view.front) > 1)
    assert json.loads((tmp_path / "study" / "config.json").read_text())["scenario"] == str(SCENARIO)


def test_scores_of_another_seed_are_not_mixed_in(tmp_path: Path) -> None:
    store, view = study(tmp_path, [(10.0, 3.0), (20.0, 2.0)])
    store.add_score(view.rows[0].shape, score(view.rows[0].shape, 1.0, seed=1))
    assert [r.bits_per_byte for r in load_view(store, "study").rows] == [3.0, 2.0]
    config = {**view.record.config, "score": {"settings_id": "s", "seed": 1}}
    store.save_study(replace(view.record, config=config))
    assert [r.bits_per_byte for r in load_view(store, "study").rows] == [1.0, None]


def test_a_provisional_pick_says_so_in_every_table(tmp_path: Path) -> None:
    store, view = study(tmp_path, [(10.0, 3.0), (20.0, 2.0)], verdict="suspect")
    view = with_losses(view, [1.1, 1.0])
    write_tables(view, store.results / "study")
    with (store.results / "study/front.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [r["pick"] for r in table] == ["False", "True"]
    assert "latency is suspect" in table[1]["provisional"]


def test_the_front_knows_how_sure_it_is(tmp_path: Path) -> None:
    _, view = study(tmp_path, [(10.0, 3.0), (20.0, 2.0), (30.0, 2.5)])
    sure = with_losses(view, [1.2, 1.0, 1.1])
    assert list(sure.front_probabilities.values()) == [1.0, 1.0, 0.0]
    assert [r["front_probability"] for r in study_rows(sure)] == [1.0, 1.0, 0.0]
    # Losses that may be in another order: rounds alone would not tell.
    open_ = with_losses(view, [1.2, 1.0, 1.001], deviation=0.01)
    chances = list(open_.front_probabilities.values())
    assert chances[:1] == [1.0]
    assert 0.4 < chances[2] < 0.6
    assert list(open_.speed_probabilities.values()) == [1.0, 1.0, 0.0]


def test_doubtful_shapes_are_listed_with_their_reasons(tmp_path: Path) -> None:
    _, sure = study(tmp_path / "sure", [(10.0, 3.0)])
    assert doubtful_rows(sure) == []
    _, view = study(tmp_path / "suspect", [(10.0, 3.0)], verdict="suspect")
    (row,) = doubtful_rows(view)
    assert row["verdict"] == "suspect"
    assert row["why"].startswith("it is 0.")
    assert row["why"].endswith("only 2 samples, fewer than 3")


def test_a_latency_far_from_what_its_costs_predict_is_doubtful(tmp_path: Path) -> None:
    _, view = study(tmp_path, [(10.0 + n, 3.0) for n in range(14)])

    def row(r: StudyRow, factor: float) -> StudyRow:
        """The same with what its bytes and operations cost, decode times a factor."""
        read, computed = r.shape.weight_bytes(INT4).streamed / 30e6, r.shape.prefill_flops(16) / 1e8
        first = replace(r.time.prefill, latency_ms=computed)
        step = replace(r.time.steps[0], latency_ms=factor * read)
        return replace(r, time=replace(r.time, prefill=first, steps=(step,)))

    assert doubtful_rows(replace(view, rows=tuple(row(r, 1.1) for r in view.rows))) == []
    factors = [1.0] * 13 + [1.6]
    rows = tuple(row(r, f) for r, f in zip(view.rows, factors, strict=True))
    (found,) = doubtful_rows(replace(view, rows=rows))
    assert found["shape_id"] == rows[-1].shape.shape_id
    assert re.match(r"tg @ d\d+ takes 1\.[3-6]\d times what its bytes", found["why"])
    assert doubtful_rows(replace(view, rows=rows[3:])) == []  # too few for a fit


def test_latencies_are_shares_of_the_baseline_with_their_interval(tmp_path: Path) -> None:
    _, view = study(tmp_path, [(7.1, None), (20.0, None)])
    assert view.baseline == "the reference shape"
    row = view.rows[0]
    assert row.latency.low < 0.71 < row.latency.high
    assert row.latency_text.startswith("0.71 of the reference shape, 0.")
    assert row.latency_text.endswith(" ms")
    (first, _) = study_rows(view)
    told = [first[k] for k in ("relative_latency", "relative_low", "relative_high")]
    assert told == pytest.approx(row.latency)
    assert first["relative_to"] == "the reference shape"
    assert view.smallest_difference is not None
    assert 0 < view.smallest_difference < 0.05


def test_a_spaces_reference_is_the_baseline_where_it_was_measured(tmp_path: Path) -> None:
    store, view = study(tmp_path, [(8.0, None), (20.0, None)])
    slow = view.rows[1].shape
    part = StudyShape(shape_id=slow.shape_id, role="reference", name="tiny-llama")
    store.set_study_shape("study", slow, part)
    again = load_view(store, "study")
    assert again.baseline == "tiny-llama"
    assert again.rows[0].latency.value == pytest.approx(0.4, rel=0.01)
    (same,) = [r for r in again.rows if r.name]
    assert same.latency == pytest.approx((1, 1, 1))


def test_an_advice_that_several_reasons_share_stands_once() -> None:
    close = "close other programs"
    a, b = (Reason(kind=w, what=w, remedy=close) for w in ("a 1", "b 2"))
    alone, c = Reason(kind="alone", what="alone"), Reason(kind="c", what="c", remedy="wait")
    parts = [
        measurement([1], verdict="suspect", reasons=(a, alone)),
        measurement([1], verdict="valid"),
        measurement([1], verdict="suspect", reasons=(a, b, c)),
    ]
    verdict, reasons = judged_together(parts)
    assert verdict == "suspect"
    assert [r.text for r in reasons] == [f"a 1; {close}", "alone", "b 2", "c; wait"]


def test_a_study_is_read_without_what_stands_beside_samples(tmp_path: Path) -> None:
    store, view = study(tmp_path, [(20.0, None), (30.0, None)])
    ids, where = [r.shape.shape_id for r in view.rows], view.places[0].environment_id
    whole = store.measurements(shape_ids=ids, environment_id=where)
    judged = list(store.judged_rounds(shape_ids=ids, environment_id=where))
    assert [(m.key, m.judgement.verdict, m.judgement.protocol) for m in judged] == [
        (m.key, m.verdict, m.protocol) for m in whole
    ]
    assert len({m.judgement for m in judged}) == 1  # of which the same was said, decoded once
    made = store.round_conditions(shape_ids=ids, environment_id=where)
    assert [(m.phase, m.taken_ns, m.conditions) for m in made] == [
        (m.workload.phase, sum(m.warmup_ns) + sum(m.samples_ns), m.conditions) for m in whole
    ]
