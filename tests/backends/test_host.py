"""What this machine says of itself."""

import pytest

from phonelm_search.backends import host


@pytest.mark.parametrize(
    ("huge", "page_bytes", "expected"),
    [
        ("always [madvise] never", 4096, {}),
        ("always madvise [never]", 4096, {}),
        (None, None, {}),  # nothing is told
        ("[always] madvise never", 4096, {"huge_pages": "always"}),
        (None, 16384, {"page_bytes": "16384"}),
    ],
)
def test_pages_are_told_where_they_are_not_the_usual_ones(
    huge: str | None, page_bytes: int | None, expected: dict[str, str]
) -> None:
    assert host.pages(huge, page_bytes) == expected
