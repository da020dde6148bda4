"""Shapes that nothing measured are explained as the models tell them, and marked so."""

import json
from pathlib import Path

import numpy as np
import pytest

from helpers import SCENARIO, study
from phonelm_search.cli.main import run_command
from phonelm_search.core.errors import ConfigurationError, UnknownNameError
from phonelm_search.core.precision import get_precision
from phonelm_search.core.shape import ModelShape
from phonelm_search.outputs import predicted_rows
from phonelm_search.reading import StudyView, compare_shapes, explain_shape, find_rows
from phonelm_search.space import enumerate_space, load_space

INT4 = get_precision("int4-b32")


def ms(shape: ModelShape) -> float:
    """A law that a few shapes tell of the others."""
    return 1 + 7 * (0.5 + shape.weight_bytes(INT4).streamed / 1e5 + 0.1 * shape.num_hidden_layers)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen shapes of the space `tiny` were measured; what is fitted is kept beside them."""
    return tmp_path_factory.mktemp("told")


@pytest.fixture(scope="module")
def view(folder: Path) -> StudyView:
    feasible = enumerate_space(load_space("tiny"), INT4)
    rows = np.linspace(0, len(feasible) - 1, 16).astype(int).tolist()
    shapes = [feasible.shape(i) for i in rows]
    return study(folder, [(ms(s), None) for s in shapes], shapes=shapes)[1]


def test_a_predicted_shape_is_told_as_its_table_tells_it(view: StudyView) -> None:
    row = next(r for r in predicted_rows(view, 5) if r["front_probability"] > 0)
    found, pick = explain_shape(view, row["shape_id"])
    assert pick is None
    assert found.row.kind == "predicted"
    assert found.row.latency == pytest.approx(
        [row[f"relative_{end}"] for end in ("latency", "low", "high")], rel=1e-4
    )
    assert found.row.end_to_end_ms == pytest.approx(row["latency_ms"], rel=1e-4)
    assert found.row.loss.value == pytest.approx(row["relative_loss"], rel=1e-4)
    assert found.chance == pytest.approx(row["front_probability"], abs=1e-4)
    truth = ms(found.row.shape)
    span = found.row.time.end_to_end
    assert span.low_ms < truth < span.high_ms
    assert span.ms == pytest.approx(truth, rel=0.05)
    assert found.missing is None
    assert "no evidence: its time is predicted" in found.cliffs[-1]
    assert found.memory_bytes > found.row.shape.weight_bytes(INT4).total


def test_draws_are_as_wide_as_what_is_told_and_losses_belong_together(view: StudyView) -> None:
    shape_id = predicted_rows(view, 1)[0]["shape_id"]
    measured = view.sampled[0]
    beside, (row, other) = find_rows(view, [shape_id, measured.shape.shape_id])
    for draws, extent in ((row.draws, row.latency), (row.loss_draws, row.loss)):
        low, high = np.quantile(draws, [0.025, 0.975])
        assert high - low == pytest.approx(extent.high - extent.low, rel=0.25)
    # Neighbours in size err together: their ratio is told better than either.
    ratio = np.log(row.loss_draws / other.loss_draws)
    apart = np.hypot(np.log(row.loss_draws).std(), np.log(other.loss_draws).std())
    assert ratio.std() < 0.8 * apart
    assert other.loss == measured.loss
    assert {r.shape for r in beside.rows} == {r.shape for r in view.rows}


def test_two_predictions_are_drawn_together(view: StudyView) -> None:
    one, other = [r["shape_id"] for r in predicted_rows(view, 2)]
    beside, (a, b) = find_rows(view, [one, other])
    ratios = {r.quantity: r for r in compare_shapes(beside, a, b).ratios}
    assert set(ratios) == {"end to end", "TTFT", "TPOT", "loss"}
    expected = a.latency.value / b.latency.value
    assert ratios["end to end"].ratio.low < expected < ratios["end to end"].ratio.high
    same = compare_shapes(beside, a, a)
    assert same.ratios[0].less_probability == pytest.approx(0.5)


def test_what_is_nowhere_stays_unknown_and_what_is_not_one_is_refused(view: StudyView) -> None:
    with pytest.raises(UnknownNameError, match="unknown measured shape 'nothing'"):
        find_rows(view, ["nothing"])
    with pytest.raises(ConfigurationError, match="must name one shape, several"):
        find_rows(view, ["w"])


def test_the_command_marks_a_prediction(
    view: StudyView, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shape_id = predicted_rows(view, 1)[0]["shape_id"]
    words = ["explain", "study", shape_id, "--results", str(folder)]
    assert run_command([*words[:3], *words[3:]]) == 0
    out = capsys.readouterr().out
    assert "in all; PREDICTED from other shapes, not measured" in out
    assert "modelled front of all shapes in " in out
    assert f"{SCENARIO} on fake-phone: TTFT " in out
    assert run_command([*words, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    (row,) = document["rows"]
    assert (row["kind"], row["verdict"], row["pick"]) == ("predicted", None, False)
    assert row["front_probability"] == document["front_probability"]
    against = [*words[:3], view.sampled[0].shape.shape_id, *words[3:]]
    assert run_command(against) == 0
    assert f"{shape_id} is PREDICTED" in capsys.readouterr().out
