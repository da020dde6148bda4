"""Costs of shapes as columns, against what each shape says of itself."""

import numpy as np
import pytest

from helpers import small_shape
from phonelm_search.core.precision import PRECISIONS, get_precision
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.workload import decode, prefill
from phonelm_search.space import Columns, enumerate_space, load_space
from phonelm_search.speed.features import features

INT4 = get_precision("int4-b32")
SHAPES = [
    small_shape(),
    small_shape(num_hidden_layers=7, ffn="plain", hidden_act="relu"),
    small_shape(hidden_size=96, head_dim=24, num_key_value_heads=4, intermediate_size=352),
]


@pytest.mark.parametrize("precision", sorted(PRECISIONS))
def test_bytes_are_those_of_the_shapes(precision: str) -> None:
    scheme = PRECISIONS[precision]
    costs = features(Columns.of(SHAPES), scheme, decode(64))
    for shape, row in zip(SHAPES, costs, strict=True):
        matrices = sum(
            scheme.matrix_bytes(m.in_features, m.out_features) for m in shape.layer_linears
        )
        assert row[0] + row[1] == shape.num_hidden_layers * matrices
        assert row[2] == shape.weight_bytes(scheme).head


@pytest.mark.parametrize("workload", [prefill(64), prefill(1), decode(1), decode(320)])
def test_operations_are_those_of_the_shapes(workload: object) -> None:
    costs = features(Columns.of(SHAPES), INT4, workload)  # type: ignore[arg-type]
    for shape, row in zip(SHAPES, costs, strict=True):
        tokens, past = workload.tokens, workload.past_tokens  # type: ignore[attr-defined]
        flops = (
            shape.prefill_flops(tokens)
            if workload.phase == "prefill"  # type: ignore[attr-defined]
            else shape.decode_flops(past)
        )
        # Scores and weighted sums: two multiply-adds a query element and visible token.
        attention = shape.num_hidden_layers * 4 * shape.q_size * tokens * (past + (tokens + 1) / 2)
        assert row[3] + row[4] + row[5] + attention == pytest.approx(flops)


def test_a_space_has_the_columns_of_its_shapes() -> None:
    feasible = enumerate_space(load_space("tiny"), INT4)
    rows = range(0, len(feasible), 7)
    shapes: list[ModelShape] = [feasible.shape(row) for row in rows]
    whole, some = Columns.of_space(feasible), Columns.of(shapes)
    assert len(whole) == len(feasible)
    np.testing.assert_array_equal(
        features(whole, INT4, prefill(8))[::7], features(some, INT4, prefill(8))
    )
    assert whole.hidden_act[::7].tolist() == [s.hidden_act for s in shapes]
