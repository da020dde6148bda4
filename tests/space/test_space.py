"""Search spaces: the file, the enumeration, the points."""

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from phonelm_search.core.errors import (
    ConfigurationError,
    EmptySpaceError,
    ShapeError,
    UnknownNameError,
)
from phonelm_search.core.precision import get_precision
from phonelm_search.core.shape import ModelShape
from phonelm_search.space import (
    SPACES,
    Coordinates,
    FeasibleSet,
    SearchSpace,
    enumerate_space,
    load_space,
)

INT4 = get_precision("int4-b32")
SMALL: dict[str, Any] = {
    "name": "small",
    "vocab_size": 1000,
    "hidden_size": {"min": 64, "max": 192, "step": 32},
    "num_hidden_layers": {"min": 1, "max": 6},
    "head_dim": [16, 64],
    "kv_groups": [1, 2, 3],
    "ffn_ratio": {"min": 1.5, "max": 3.0, "step": 0.75},
    "multiple_of": 48,
    "ffn": ["gated", "plain"],
    "hidden_act": ["relu", "silu"],
}


def space_of(**changes: Any) -> SearchSpace:
    content = {**SMALL, **changes}
    return SearchSpace.model_validate({k: v for k, v in content.items() if v is not None})


def brute_force(space: SearchSpace) -> set[ModelShape]:
    """Every shape one by one through ModelShape's own arithmetic."""
    found = set()
    heads_or_dims = space.head_dim or space.num_attention_heads or ()
    inner = space.ffn_ratio or space.intermediate_size or ()
    for h, layers, hd, g, r, ffn, act, vocab in product(
        space.hidden_size, space.num_hidden_layers, heads_or_dims, space.kv_groups, inner,
        space.ffn, space.hidden_act, space.vocab_size,
    ):  # fmt: skip
        if h % hd or (h // hd if space.head_dim else hd) % g:
            continue
        heads = h // hd if space.head_dim else hd
        raw = r * h if space.ffn_ratio else r
        unit = space.multiple_of
        try:
            shape = ModelShape(
                hidden_size=h, intermediate_size=max(unit, round(raw / unit) * unit),
                num_hidden_layers=layers, num_attention_heads=heads,
                num_key_value_heads=heads // g, head_dim=h // heads, vocab_size=vocab,
                ffn=ffn, hidden_act=act, tie_word_embeddings=space.tie_word_embeddings,
            )  # fmt: skip
        except ShapeError:
            continue
        if space.parameters:
            low, high = space.parameters.bounds
            by_total = space.parameters.count == "total"
            size = shape.parameters if by_total else shape.decoder_parameters
            if not low <= size <= high:
                continue
        limit = space.limits.weight_bytes
        if limit and shape.weight_bytes(INT4).total > limit:
            continue
        if space.limits.align and shape.unaligned(space.limits.align):
            continue
        limit = space.limits.kv_bytes_per_token
        if limit and shape.kv_bytes_per_token(4) > limit:
            continue
        found.add(shape)
    return found


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"parameters": {"target": "300k", "tolerance": "20%"}},
        {"parameters": {"target": "400k", "tolerance": "20%", "count": "total"}},
        {"parameters": {"min": "150k", "max": "400k"}},
        {"parameters": {"min": "250k", "max": "500k", "count": "total"}},
        {"limits": {"weight_bytes": "250kB", "kv_bytes_per_token": "2kB"}},
        {"limits": {"align": 32}, "head_dim": [16, 32, 64]},
        {"limits": {"align": 64}, "multiple_of": 32},
        {"head_dim": None, "num_attention_heads": [2, 3, 4]},
        {"ffn_ratio": None, "intermediate_size": [96, 144, 500], "tie_word_embeddings": False},
        {"vocab_size": [1000, 2000]},
    ],
)
def test_the_enumeration_is_what_brute_force_finds(changes: dict[str, Any]) -> None:
    space = space_of(**changes)
    feasible = enumerate_space(space, INT4)
    shapes = [feasible.shape(i) for i in range(len(feasible))]
    assert len(set(shapes)) == len(shapes)
    assert set(shapes) == brute_force(space)
    counted = [s.decoder_parameters for s in shapes]
    assert counted == feasible.columns["decoder_parameters"].tolist()


@pytest.mark.parametrize("name", SPACES.names())
def test_every_shipped_space_is_feasible(name: str) -> None:
    space = load_space(name)
    feasible = enumerate_space(space, INT4)
    assert len(feasible) > 100
    assert len(feasible) + max(feasible.failures.values()) <= feasible.combinations


def holds(name: str, **dimensions: int) -> bool:
    feasible = enumerate_space(load_space(name), INT4)
    masks = [feasible.columns[k] == v for k, v in dimensions.items()]
    return bool(np.logical_and.reduce(masks).any())


def test_phonelm_spaces_hold_phonelms_shapes() -> None:
    assert holds(
        "phonelm-0.5b", hidden_size=1024, intermediate_size=4864, num_hidden_layers=24,
        num_attention_heads=16, num_key_value_heads=16,
    )  # fmt: skip
    assert holds(
        "phonelm-1.5b", hidden_size=2560, intermediate_size=6816, num_hidden_layers=19,
        num_attention_heads=16, num_key_value_heads=16,
    )  # fmt: skip


def test_the_default_space_is_as_the_contract_says() -> None:
    feasible = enumerate_space(load_space("slm-100m"), INT4)
    sizes, widths = feasible.columns["decoder_parameters"], feasible.columns["hidden_size"]
    depths = feasible.columns["num_hidden_layers"]
    assert 85e6 * 0.95 <= sizes.min() <= sizes.max() <= 85e6 * 1.05
    assert (widths.min(), widths.max()) == (512, 1536)
    assert (depths.min(), depths.max()) == (4, 24)


def test_an_empty_space_names_the_tightest_constraint() -> None:
    space = space_of(parameters={"target": "300k", "tolerance": "20%"}, limits={"weight_bytes": 10})
    with pytest.raises(
        EmptySpaceError, match=r"tightest constraint: weight_bytes ≤ 10 B .* without"
    ):
        enumerate_space(space, INT4)


def test_a_huge_space_is_refused() -> None:
    space = space_of(
        hidden_size={"min": 64, "max": 6400, "step": 1},
        num_hidden_layers={"min": 1, "max": 1000}, ffn_ratio=None,
        intermediate_size={"min": 1, "max": 9000},
    )  # fmt: skip
    with pytest.raises(ConfigurationError, match="at most 100,000,000 combinations"):
        enumerate_space(space, INT4)


@pytest.mark.parametrize("sized", [True, False])
def test_every_feasible_shape_is_reached_by_its_own_point(sized: bool) -> None:
    changes = {"parameters": {"target": "300k", "tolerance": "20%"}} if sized else {}
    feasible = enumerate_space(space_of(**changes), INT4)
    coordinates = Coordinates(feasible)
    for row in range(len(feasible)):
        nearest = coordinates.nearest(coordinates.point(row))
        # Rows that differ in nothing that is asked (rounding) may stand for each other.
        assert coordinates.point(nearest) == coordinates.point(row)


FEASIBLE = enumerate_space(space_of(parameters={"target": "300k", "tolerance": "20%"}), INT4)


@settings(max_examples=50)
@given(st.data())
def test_the_nearest_shape_has_the_smallest_scaled_l1_distance(data: st.DataObject) -> None:
    coordinates = Coordinates(FEASIBLE)
    point: dict[str, Any] = {}
    for d in coordinates.dimensions:
        if d.kind == "categorical":
            point[d.name] = data.draw(st.sampled_from(d.choices))
        else:
            point[d.name] = data.draw(st.floats(d.low, d.high))

    def distance(row: int) -> float:
        own = coordinates.point(row)
        total = 0.0
        for d in coordinates.dimensions:
            if d.kind == "categorical":
                total += own[d.name] != point[d.name]
            else:
                total += abs(float(own[d.name]) - float(point[d.name])) / (d.high - d.low)
        return total

    best = min(distance(row) for row in range(len(FEASIBLE)))
    assert distance(coordinates.nearest(point)) == pytest.approx(best)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_sizes": 3}, "hidden_sizes: unknown key; allowed: name, vocab_size,"),
        ({"hidden_size": None}, "hidden_size: this key is required"),
        ({"hidden_size": {"min": 5, "max": 1}}, "hidden_size: a range must have min ≤ max"),
        ({"hidden_size": {"from": 5}}, "hidden_size: a range must have min, max and perhaps step"),
        ({"hidden_size": "wide"}, "hidden_size.0: .*integer.* got 'wide'"),
        ({"head_dim": [16], "num_attention_heads": [4]}, "exactly one of head_dim and num_att"),
        ({"ffn_ratio": None}, "exactly one of ffn_ratio and intermediate_size"),
        ({"hidden_act": ["mish"]}, "hidden_act.0: .*'relu', 'silu', 'gelu' or 'relu2'"),
        ({"parameters": {"target": "many"}}, "parameters.target: a count must be .* got 'many'"),
        ({"parameters": {"goal": "1M"}}, "parameters.goal: unknown key; allowed: count, target"),
        ({"parameters": {"target": "1M", "tolerance": "300%"}}, "parameters.tolerance: a share"),
        (
            {"parameters": {"count": "total"}},
            "exactly one of target, and min and max, must be given",
        ),
        ({"parameters": {"target": "1M", "min": "1M"}}, "exactly one of target, and min and max"),
        ({"parameters": {"min": "1M"}}, "a range must have min and max"),
        ({"parameters": {"min": "2M", "max": "1M"}}, "a range must have min ≤ max, got 2000000"),
        ({"limits": {"weight_bytes": "big"}}, "limits.weight_bytes: bytes must be"),
        ({"kv_groups": [1, 1]}, "kv_groups: the values must be distinct"),
        ({"references": [{"name": "x"}]}, "references.0.hidden_size: this key is required"),
        ({"name": "other"}, "name must be the file's, 'small', got 'other'"),
    ],
)
def test_errors_name_the_file_the_key_and_what_is_allowed(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    file = tmp_path / "small.yaml"
    content = {k: v for k, v in {**SMALL, **changes}.items() if v is not None}
    file.write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigurationError, match=message) as caught:
        load_space(str(file))
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "must be valid YAML; .* at line"),
        ("- 1", "must hold keys and values .* got list"),
        ("", "got nothing"),
        ("name: !!python/object/apply:os.system [ls]", "must be valid YAML"),
        ("\x00", "must be"),
        ("name: 2026-01-01", r"name: input should be a valid string, got .*; put it in quotes"),
        ("name: yes", "name: input should be a valid string, got True; put it in quotes"),
    ],
)
def test_malformed_yaml_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "small.yaml"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=message) as caught:
        load_space(str(file))
    assert "\n" not in str(caught.value)


def test_local_spaces_hide_built_in_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert SPACES.copy("tiny") == Path("search_spaces/tiny.yaml")
    local = Path("search_spaces/tiny.yaml")
    local.write_text(local.read_text().replace("vocab_size: 2048", "vocab_size: 4096"))
    assert load_space("tiny").vocab_size == (4096,)
    with pytest.raises(ConfigurationError, match="must not exist yet"):
        SPACES.copy("tiny")
    with pytest.raises(UnknownNameError, match=r"unknown search space 'nope'; known: .*slm-100m"):
        load_space("nope")


def test_another_vocabulary_gives_the_same_decoders() -> None:
    space = load_space("tiny").with_vocab_size(4096)
    assert space.vocab_size == (4096,)
    assert len(enumerate_space(space, INT4)) == len(enumerate_space(load_space("tiny"), INT4))


def test_weights_of_both_phases_count_where_their_schemes_differ() -> None:
    fp32 = get_precision("fp32")
    space = space_of(limits={"weight_bytes": "2MB"})
    both = enumerate_space(space, INT4, fp32)
    found = {both.shape(i) for i in range(len(both))}
    every = enumerate_space(space_of(), INT4)
    wanted = {
        s
        for s in (every.shape(i) for i in range(len(every)))
        if s.weight_bytes(INT4).total + s.weight_bytes(fp32).total <= 2e6
    }
    assert found == wanted
    assert 0 < len(found) < len(enumerate_space(space, INT4))


def test_rows_of_ids_are_found_without_looking_at_every_shape(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ids = [FEASIBLE.shape(r).shape_id for r in range(len(FEASIBLE))]
    assert FEASIBLE.rows_of(ids) == list(range(len(FEASIBLE)))
    looks: list[int] = []
    look = FeasibleSet.shape
    monkeypatch.setattr(FeasibleSet, "shape", lambda s, row: (looks.append(row), look(s, row))[1])
    far_apart = [0, len(ids) // 2, len(ids) - 1]
    asked = {ids[r] for r in far_apart} | {"w64-l1-f64-h2-kv2-silu-000000", "no shape"}
    assert FEASIBLE.rows_of(asked) == far_apart
    assert len(looks) < len(ids) / 4
    assert FEASIBLE.rows_of(set()) == FEASIBLE.rows_of({"no shape"}) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vocab_size": 2**63}, "vocab_size.0: input should be less than or equal to 2097152"),
        ({"hidden_size": {"min": 1, "max": float("inf")}}, "hidden_size: min, max and step must"),
        ({"hidden_size": {1: 2, "min": 3}}, "hidden_size: a range must have min, max and perhaps"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers.0: .* less than or equal to 10000"),
        ({"parameters": {"target": [1]}}, r"parameters.target: a count must be .* got \[1\]"),
        ({"parameters": {"target": ""}}, "parameters.target: a count must be .* got ''"),
        ({"parameters": {"target": 10**400}}, "parameters.target: a count must be less than 2"),
        ({"limits": {"weight_bytes": float("nan")}}, "limits.weight_bytes: bytes must be less"),
        ({"ffn_ratio": [float("inf")]}, "ffn_ratio.0: "),
        ({1: 2}, "keys should be strings"),
        (
            {"references": [{"name": "r", "hidden_size": 100, "intermediate_size": 8,
                             "num_hidden_layers": 1, "num_attention_heads": 3}]},
            "reference r: hidden_size must be a multiple of num_attention_heads where head_dim is",
        ),
    ],
)  # fmt: skip
def test_numbers_and_keys_without_end_are_named(
    tmp_path: Path, changes: dict[Any, Any], message: str
) -> None:
    file = tmp_path / "small.yaml"
    file.write_text(yaml.safe_dump({**SMALL, **changes}))
    with pytest.raises(ConfigurationError, match=message) as caught:
        load_space(str(file))
    assert len(str(caught.value)) < 1000
