"""Nothing that fell back to the processor passes for the NPU's."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from npu.chip import A16W8, QNN, chip, quantised_here, shape, text, with_asinh
from phonelm_search.backends.qnn import Contexts, calibration
from phonelm_search.backends.qnn.calibration import Quantised, quantised
from phonelm_search.backends.qnn.compile import compile_and_run
from phonelm_search.backends.qnn.contexts import compiled
from phonelm_search.core.errors import MeasurementError
from phonelm_search.core.node_coverage import Assigned, coverage_of
from phonelm_search.core.workload import Workload, decode, prefill
from phonelm_search.devices import CPU


def node(name: str, op_type: str = "Gemm", provider: str = QNN) -> Assigned:
    return Assigned(name=name, op_type=op_type, provider=provider)


def test_strays_are_counted_by_operator_with_their_share_of_the_arithmetic() -> None:
    nodes = [node("a"), node("b"), node("c", "Asinh", CPU), node("d", "Asinh", CPU),
             node("e", "Gather", CPU)]  # fmt: skip
    found = coverage_of(nodes, QNN, {"a": 60, "b": 20, "c": 15, "d": 5})
    assert found.share == pytest.approx(0.4)
    assert [(f.op_type, f.count, f.flops_share) for f in found.fallbacks] == [
        ("Asinh", 2, pytest.approx(0.2)),
        ("Gather", 1, 0.0),
    ]
    refusal = found.refused(())
    assert refusal
    assert "3 of 5 did not: Asinh ×2 (20.0% of FLOPs), Gather ×1 (0.0% of FLOPs)" in refusal
    assert "Asinh" not in (found.refused(["Asinh"]) or "")
    assert found.refused(["Asinh", "Gather"]) is None


def test_a_session_that_compiled_nothing_tells_nothing() -> None:
    with pytest.raises(ValueError, match="must be read from a session that compiles"):
        coverage_of([], QNN, {})


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.integers(0, 9)), min_size=1),
    st.sets(st.sampled_from("abc")),
)
def test_shares_add_up_and_only_what_is_allowed_passes(
    parts: list[tuple[str, bool, int]], allowed: set[str]
) -> None:
    nodes = [node(str(i), op, CPU if stray else QNN) for i, (op, stray, _) in enumerate(parts)]
    found = coverage_of(nodes, QNN, {str(i): flops for i, (_, _, flops) in enumerate(parts)})
    strays = [(op, flops) for op, stray, flops in parts if stray]
    assert found.share == pytest.approx(1 - len(strays) / len(parts))
    total = sum(flops for _, _, flops in parts)
    share = sum(flops for _, flops in strays) / total if total else 0
    assert sum(f.flops_share for f in found.fallbacks) == pytest.approx(share)
    assert (found.refused(allowed) is None) == ({op for op, _ in strays} <= allowed)


PROMPT, STEP = prefill(8), decode(8)


# Every pair of values of two factors occurs.
@pytest.mark.parametrize(
    ("act", "precision", "work", "tied"),
    [
        ("relu", "qdq-a16w8", PROMPT, True),
        ("relu", "qdq-a8w8", STEP, False),
        ("relu2", "qdq-a16w8", STEP, True),
        ("relu2", "qdq-a8w8", PROMPT, False),
        ("gelu", "qdq-a16w8", PROMPT, False),
        ("gelu", "qdq-a8w8", STEP, True),
        ("silu", "qdq-a16w8", STEP, False),
        ("silu", "qdq-a8w8", PROMPT, True),
    ],
)
def test_the_chip_takes_every_node_of_a_decoder(
    act: str, precision: str, work: Workload, tied: bool, tmp_path: Path
) -> None:
    found = shape(hidden_act=act, tie_word_embeddings=tied)
    made = quantised(found, work, precision, text(), tmp_path)
    inputs = made.quantised.feed(made.test)
    _, coverage = compiled(made, work, chip(precision=precision), [inputs], tmp_path)
    assert coverage.nodes > 200
    assert (coverage.share, coverage.fallbacks) == (1.0, ())


def test_the_chip_takes_biases_norms_of_heads_and_plain_layers(tmp_path: Path) -> None:
    found = shape(hidden_act="relu2", ffn="plain", qkv_bias=True, qk_norm=True)
    made = quantised(found, prefill(8), A16W8, text(), tmp_path)
    _, coverage = compiled(made, prefill(8), chip(), [made.quantised.feed(made.test)], tmp_path)
    assert coverage.share == 1.0


@pytest.fixture
def unsupported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Quantised:
    monkeypatch.setattr(calibration, "build_static_graph", with_asinh)
    return quantised(shape(hidden_act="relu"), prefill(16), A16W8, text(), tmp_path)


def test_an_operator_that_the_chip_lacks_is_refused_by_name(
    unsupported: Quantised, tmp_path: Path
) -> None:
    inputs = unsupported.quantised.feed(unsupported.test)
    _, coverage = compiled(unsupported, prefill(16), chip(), [inputs], tmp_path)
    assert 0 < coverage.share < 1
    (stray,) = [f for f in coverage.fallbacks if f.op_type == "Asinh"]
    assert stray.count == 2
    assert 0 < stray.flops_share < 0.01
    refusal = coverage.refused(())
    assert refusal
    assert "every node must run on QNNExecutionProvider" in refusal
    assert "Asinh ×2" in refusal


def test_the_same_graph_passes_on_the_processor(unsupported: Quantised, tmp_path: Path) -> None:
    feeds = unsupported.quantised.feed(unsupported.test)
    found = compile_and_run(unsupported.quantised.path, CPU, {}, [feeds], tmp_path)
    coverage = coverage_of(found.assigned, CPU, {})
    assert (coverage.share, coverage.refused(())) == (1.0, None)
    assert found.context_files == ()


def test_a_context_with_strays_is_never_measured_however_often_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "build_static_graph", with_asinh)
    monkeypatch.setattr("phonelm_search.backends.qnn.contexts.quantised_apart", quantised_here)
    strict = Contexts(chip(), text(), tmp_path / "contexts")
    for _ in range(2):  # compiled, then read from what was kept: the context alone looks clean
        with pytest.raises(MeasurementError, match=r"Asinh ×2") as caught:
            strict.of(shape(hidden_act="relu"), prefill(16))
        assert caught.value.stage == "coverage"
    strays = {"Asinh", "QuantizeLinear", "DequantizeLinear"}
    lenient = Contexts(chip(allow_fallback=tuple(strays)), text(), tmp_path / "contexts")
    found = lenient.of(shape(hidden_act="relu"), prefill(16))
    assert {f.op_type for f in found.coverage.fallbacks} <= strays
    assert found.coverage.share < 1
