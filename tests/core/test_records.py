"""What records are called by."""

from hypothesis import given
from hypothesis import strategies as st

from phonelm_search.core.records import identity, measurement_key, measurement_keys
from phonelm_search.core.workload import decode, prefill


@given(
    shape_ids=st.lists(st.text(), max_size=4),
    precision=st.text(max_size=9),
    version=st.integers(1, 9),
    workload=st.sampled_from([prefill(16), decode(512)]),
)
def test_keys_of_many_shapes_are_those_of_each(
    shape_ids: list[str], precision: str, version: int, workload: object
) -> None:
    parts = {"precision": precision, "graph_version": version, "cache_mode": "cold"}
    expected = [
        measurement_key(workload=workload, parts={"shape_id": i, **parts})  # type: ignore[arg-type]
        for i in shape_ids
    ]
    found = measurement_keys(shape_ids, workload=workload, parts=parts)  # type: ignore[arg-type]
    assert list(found) == expected


def test_keys_of_earlier_releases_stay() -> None:
    parts = {"shape_id": "s", "precision": "fp32", "graph_version": 1}
    key = measurement_key(workload=decode(7), parts=parts)
    assert key == identity({**parts, "workload": ["decode", 1, 7, "last"]})
