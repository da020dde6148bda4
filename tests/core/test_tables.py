"""CSV as spreadsheets and the csv module read it."""

import csv
import io

from phonelm_search.core.tables import to_csv


def test_lists_are_joined_and_what_does_not_exist_is_empty() -> None:
    assert to_csv([{"a": ["x", "y"], "b": None}]) == "a,b\nx; y,\n"
    assert to_csv([{"a": 0.1, "b": True}, {"a": 1, "c": "z"}]) == "a,b,c\n0.1,True,\n1,,z\n"


def test_without_rows_the_columns_alone_are_told() -> None:
    assert to_csv([], ["a", "b"]) == "a,b\n"
    assert to_csv([]) == "\n"


def test_any_text_comes_back() -> None:
    texts = ["x, y", 'a "quoted" word', "two\nlines", "é – ×"]
    (row,) = csv.DictReader(io.StringIO(to_csv([dict(zip("abcd", texts, strict=True))])))
    assert list(row.values()) == texts
