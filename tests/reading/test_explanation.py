"""Why a shape: its neighbours, its dimensions, its memory."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from helpers import small_shape, study
from phonelm_search.cli.main import run_command
from phonelm_search.core.errors import ConfigurationError
from phonelm_search.core.records import StudyShape
from phonelm_search.core.shape import ModelShape
from phonelm_search.reading import StudyRow, compare_shapes, find_row, load_view
from phonelm_search.reading.explanation import explain
from told_losses import with_losses


def equal(layers: int, **changes: object) -> ModelShape:
    """Shapes of nearly equal size: the feed-forward width pays for depth."""
    shape = small_shape(num_hidden_layers=layers, intermediate_size=2, **changes)
    per = (
        small_shape(num_hidden_layers=layers, intermediate_size=3, **changes).decoder_parameters
        - shape.decoder_parameters
    )
    width = 2 + round((200_000 - shape.decoder_parameters) / per)
    return small_shape(num_hidden_layers=layers, intermediate_size=width, **changes)


SHAPES = [equal(n, hidden_act=act) for n in (2, 3, 4, 5) for act in ("silu", "relu")]


def test_neighbours_are_the_nearest_that_are_faster_or_better(tmp_path: Path) -> None:
    points: list[tuple[float, float | None]] = [(10.0 + i, None) for i in range(len(SHAPES))]
    _, view = study(tmp_path, points, shapes=SHAPES)
    view = with_losses(view, [1.3 - 0.02 * i for i in range(len(SHAPES))])
    found = explain(view, find_row(view, SHAPES[4].shape_id))
    assert found.equals == 7
    assert found.faster[0].row.shape == SHAPES[2]  # one layer away, same activation
    assert all(n.latency_ratio.high < 1 and n.latency_differs for n in found.faster)
    first = found.faster[0].latency_ratio
    assert first.low < 12 / 14 < first.high
    assert first.high - first.low < 0.05
    assert "depth 4 → 3" in found.faster[0].changes
    assert not any("activation" in c for c in found.faster[0].changes)
    assert [n.row.shape for n in found.better] == [SHAPES[6], SHAPES[5], SHAPES[7]]
    other = found.better[1]
    assert other.changes == ("activation silu → relu",)
    assert other.loss_ratio.value == pytest.approx(1.2 / 1.22, rel=1e-3)
    assert other.loss_differs


def test_a_shape_of_another_size_is_no_neighbour(tmp_path: Path) -> None:
    shapes = [*SHAPES[:2], small_shape(num_hidden_layers=12, intermediate_size=999)]
    _, view = study(tmp_path, [(10.0, None), (11.0, None), (1.5, None)], shapes=shapes)
    view = with_losses(view, [1.0, 1.3, 1.2])  # the large one is the fastest
    found = explain(view, find_row(view, shapes[1].shape_id))
    assert found.equals == 1
    assert [n.row.shape for n in found.faster] == [shapes[0]]
    assert found.better == ()


def test_a_step_of_each_dimension_is_priced(tmp_path: Path) -> None:
    # A step of decode takes 2 ms and 1 ms a layer, 5 % more with relu.
    def ms(shape: ModelShape) -> float:
        step = 2 + shape.num_hidden_layers
        return 1 + 7 * step * (1.05 if shape.hidden_act == "relu" else 1)

    shapes = [equal(n, hidden_act=act) for n in range(2, 10) for act in ("silu", "relu")]
    _, view = study(tmp_path, [(ms(s), None) for s in shapes], shapes=shapes)
    found = explain(view, find_row(view, shapes[4].shape_id))
    assert found.missing is None
    effects = {e.dimension: e for e in found.effects}
    assert set(effects) == {"layers", "width", "FFN", "KV heads", "activation"}
    assert (effects["layers"].low, effects["layers"].high) == ("4", "5")
    for name, truth in (("activation", 5.0), ("layers", 100 * (7 / 6 - 1))):
        told, interval = effects[name].percent["decode"], effects[name].interval["decode"]
        assert told == pytest.approx(truth, abs=2)
        assert interval is not None
        assert interval[0] < truth < interval[1]
        assert effects[name].percent["end to end"] == pytest.approx(truth, abs=3)
    # One layer more than four is better, and the law says so with an interval.
    assert -4 < effects["layers"].percent["loss"] < 0
    _, alone = study(tmp_path / "few", [(1.5, None)], shapes=SHAPES[:1])
    few = explain(alone, alone.rows[0])
    assert few.effects == ()
    assert few.missing is not None
    assert few.missing == "8 shapes must be measured to predict others, got 1"
    assert few.worth is None


def test_memory_of_long_contexts(tmp_path: Path) -> None:
    _, view = study(tmp_path, [(10.0, None)])
    found = explain(view, find_row(view, "w64-l1"))
    shape, scheme = found.row.shape, view.device.scheme
    per = 2 * 1 * shape.num_key_value_heads * shape.head_dim * 4
    assert [(m.context_tokens, m.kv_bytes) for m in found.memory] == [
        (2048, 2048 * per), (8192, 8192 * per), (32768, 32768 * per),
    ]  # fmt: skip
    weights = shape.weight_bytes(scheme).total
    assert all(m.total_bytes - m.kv_bytes == weights for m in found.memory)


def test_sizes_that_kernels_may_not_like_are_named(tmp_path: Path) -> None:
    shapes = [small_shape(hidden_size=80, head_dim=20, intermediate_size=100)]
    _, view = study(tmp_path, [(10.0, None)], shapes=shapes)
    told = "\n".join(explain(view, find_row(view, "w80")).cliffs)
    assert "hidden_size 80 is no multiple of 64" in told
    assert "mlp.down_proj: 100 inputs are padded to blocks of 32" in told
    assert "1 measured shape is too few" in told


def test_evidence_comes_from_measurements(tmp_path: Path) -> None:
    shapes = [small_shape(num_hidden_layers=n) for n in range(1, 14)]
    points: list[tuple[float, float | None]] = [
        (1 + 7.0 * (0.1 + 0.1 * n) * (2 if n == 7 else 1), None) for n in range(1, 14)
    ]
    _, view = study(tmp_path, points, shapes=shapes)
    told = explain(view, find_row(view, shapes[6].shape_id)).cliffs[-1]
    assert "of 13 shapes" in told
    ratio = float(told.split("tg @ d")[1].split()[1].rstrip(",;"))
    assert ratio > 1.5


@pytest.mark.parametrize("name", ["w64", "nothing"])
def test_a_name_must_be_one_shapes(name: str, tmp_path: Path) -> None:
    _, view = study(tmp_path, [(10.0, None), (20.0, None)])
    with pytest.raises(ConfigurationError, match=f"'{name}' must name one|unknown .* '{name}'"):
        find_row(view, name)


def test_a_label_names_a_shape_where_only_one_has_it(tmp_path: Path) -> None:
    _, view = study(tmp_path, [(10.0, None), (20.0, None)], shapes=SHAPES[1:3])
    assert [r.shape for r in view.rows] == SHAPES[1:3]
    assert find_row(view, "64x2").shape == SHAPES[1]
    assert find_row(view, "64×3").shape == SHAPES[2]
    _, view = study(tmp_path / "alike", [(10.0, None), (20.0, None)], shapes=SHAPES[:2])
    with pytest.raises(
        ConfigurationError, match="'64x2' must name one shape, several are"
    ) as caught:
        find_row(view, "64x2")
    assert all(s.shape_id in str(caught.value) for s in SHAPES[:2])


def test_a_reference_that_was_sampled_too_is_the_sampled_one(tmp_path: Path) -> None:
    store, _ = study(tmp_path, [(10.0, 2.0), (20.0, 1.5)])
    shape = small_shape(num_hidden_layers=1)
    part = StudyShape(shape_id=shape.shape_id, role="reference", name="known")
    store.set_study_shape("study", shape, part)
    view = load_view(store, "study")
    assert len(view.rows) == 3
    assert find_row(view, shape.shape_id).name is None
    assert find_row(view, "known").name == "known"
    chance = explain(view, find_row(view, shape.shape_id)).chance
    assert chance == view.front_probabilities[shape.shape_id]
    assert explain(view, find_row(view, "known")).chance is None


def test_the_command_tells_it_for_people_and_programs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    points: list[tuple[float, float | None]] = [
        (10.0 + i, 3.0 - 0.2 * i) for i in range(len(SHAPES))
    ]
    study(tmp_path, points, shapes=SHAPES)
    words = ["explain", "study", SHAPES[4].shape_id, "--results", str(tmp_path)]
    assert run_command(words) == 0
    told = capsys.readouterr().out
    for text in (
        "on fake-phone: TTFT 1 ms", "Neighbours of equal size", "faster: 64×3", "by the law;",
        "What one step of each dimension does", "Cliffs", "8,192 tokens: KV cache",
    ):  # fmt: skip
        assert text in told
    assert run_command([*words, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["rows"][0]["shape_id"] == SHAPES[4].shape_id
    assert document["faster"][0]["changes"][0] == "depth 4 → 3"
    assert run_command(["explain", "study", "--results", str(tmp_path)]) == 0
    assert " pick: " in capsys.readouterr().out


def test_two_shapes_are_told_against_each_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    points: list[tuple[float, float | None]] = [(10.0 + i, 2.0) for i in range(3)]
    _, view = study(tmp_path, points)
    found = compare_shapes(with_losses(view, [1.0, 1.1, 1.2]), view.rows[2], view.rows[0])
    told = {r.quantity: r for r in found.ratios}
    assert told["end to end"].ratio.value == pytest.approx(1.2, rel=0.01)
    assert told["TTFT"].ratio.value == pytest.approx(1.0, rel=0.01)
    assert told["TPOT"].ratio.value == pytest.approx(11 / 9, rel=0.01)
    assert told["end to end"].less_probability == 0
    one, other = view.rows[2].shape, view.rows[0].shape
    scheme = view.device.scheme
    assert found.kv_bytes == tuple(
        s.kv_bytes_per_token(scheme.kv_bytes_per_element) for s in (one, other)
    )
    assert (
        found.memory[0] - found.memory[1]
        > 2 * (one.weight_bytes(scheme).total - other.weight_bytes(scheme).total) / 3
    )
    words = ["explain", "study", "64x3", "64x1", "--results", str(tmp_path)]
    assert run_command(words) == 0
    out = capsys.readouterr().out
    assert "64×3 (w64-l3" in out
    assert "end to end +20" in out
    assert "0% that the first has less" in out
    assert run_command([*words, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [r["shape_id"] for r in document["rows"]] == [one.shape_id, other.shape_id]
    assert document["ratios"][0]["ratio"] == pytest.approx(1.2, rel=0.01)


def test_where_caches_cross_over_is_told_by_their_bytes(tmp_path: Path) -> None:
    # Two shapes alike but for their caches: the one with the larger is faster at first.
    shapes = [small_shape(num_key_value_heads=4), small_shape(num_key_value_heads=1)]
    _, view = study(tmp_path, [(10.0, None), (11.0, None)], shapes=shapes)
    speed = 10e9

    def at_speed(row: StudyRow) -> StudyRow:
        steps = [replace(s, bandwidth_bytes_per_s=speed) for s in row.time.steps]
        return replace(row, time=replace(row.time, steps=tuple(steps)))

    one, other = (at_speed(find_row(view, s.shape_id)) for s in shapes)
    found = compare_shapes(view, one, other)
    steps = (one.time.tpot.ms / 1000, other.time.tpot.ms / 1000)
    (context,) = view.scenario.contexts
    more = (found.kv_bytes[0] - found.kv_bytes[1]) / speed
    assert found.kv_bytes[0] == 4 * found.kv_bytes[1]
    assert found.crossing == pytest.approx(context + (steps[1] - steps[0]) / more, rel=0.01)
    assert compare_shapes(view, other, one).crossing == found.crossing
