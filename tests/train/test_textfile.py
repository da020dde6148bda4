"""Files of text as people have them: packed, in other encodings, cut, and JSON lines."""

import bz2
import gzip
import json
import lzma
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from phonelm_search.core.errors import TrainingError
from phonelm_search.train import packed
from phonelm_search.train.textfile import SEPARATOR, documents_of, ending, split_at

GOOD = b'{"text": "a"}\n'


def read(file: Path, content: bytes) -> tuple[list[str], list[str]]:
    file.write_bytes(content)
    notes: list[str] = []
    return list(documents_of(file, most=10**6, note=notes.append)), notes


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text("<|end>x\n", max_size=9), max_size=9), st.sampled_from(["\n", "<|end|>"]))
def test_blocks_are_split_as_their_whole(blocks: list[str], mark: str) -> None:
    assert list(split_at(blocks, mark, most=1000)) == "".join(blocks).split(mark)


def test_a_part_without_end_is_read_no_further_than_asked() -> None:
    asked = 0

    def endless() -> object:
        nonlocal asked
        while True:
            asked += 1
            yield "x" * 10

    (part,) = split_at(endless(), "\n", most=95)  # type: ignore[arg-type]
    assert (len(part), asked) == (100, 10)


@pytest.mark.parametrize("pack", [gzip.compress, zstd.compress, bz2.compress, lzma.compress])
def test_a_packed_file_is_unpacked_whatever_its_name(
    tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    lines = GOOD * 3
    for name in ("a.JSONL.gz", "a.ndjson.zst", "a.jsonl"):
        assert read(tmp_path / name, pack(lines))[0] == ["a"] * 3
    assert read(tmp_path / "a.txt.xz", pack(f"b{SEPARATOR}c".encode()))[0] == ["b", "c"]
    whole = pack(bytes(range(32, 127)) * 50)
    with pytest.raises(TrainingError, match=r"cut.txt.gz must be a whole packed file.*again"):
        read(tmp_path / "cut.txt.gz", whole[: len(whole) // 2])
    with pytest.raises(TrainingError, match="it is packed twice; unpack it first"):
        read(tmp_path / "twice.txt", pack(pack(lines)))


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.jsonl.gz", ".jsonl"), ("A.NDJSON", ".ndjson"), ("b.txt.ZST", ".txt"), ("text8", "")],
)
def test_endings_are_told_without_case_and_packing(name: str, kind: str) -> None:
    assert ending(Path("some.jsonl") / name) == kind


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_tells_the_encoding(tmp_path: Path, encoding: str) -> None:
    assert read(tmp_path / "a.txt", "gr\u00fcn\r\nja\rda".encode(encoding))[0] == [
        "gr\u00fcn\nja\nda"
    ]
    assert read(tmp_path / "a.jsonl", '{"text": "\u00fc"}\r\n'.encode(encoding))[0] == ["\u00fc"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a\n\u00e4 b".encode("latin-1"), r"line 2 has the byte 0xe4 .*iconv -f"),
        ("a\n\u00e4".encode()[:-1], "it ends within a character in line 2; copy or download"),
        ("hello there".encode("utf-16-le"), r"UTF-16 without a byte-order mark.*iconv -f UTF-16LE"),
        ("hello there".encode("utf-16-be"), r"iconv -f UTF-16BE -t UTF-8"),
        (bytes(range(256)), "it seems to be binary; take it out of --data"),
        (b"PK\x03\x04....", "it is a zip archive; unpack it first"),
        (b"PAR1....", "it is a Parquet file; give its folder as hf:FOLDER"),
        (b"%PDF-1.4", "it is a PDF; extract its text first"),
        (b"x" * 257 + b"ustar\x0000", "it is a tar archive; unpack it first"),
    ],
)  # fmt: skip
def test_what_is_no_text_is_named_with_a_way_to_make_it_one(
    tmp_path: Path, content: bytes, message: str
) -> None:
    with pytest.raises(TrainingError, match=rf"a.txt must hold .*{message}"):
        read(tmp_path / "a.txt", content)


def test_a_line_far_into_a_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "_BLOCK", 7)
    with pytest.raises(TrainingError, match="line 101 has the byte 0xe4"):
        read(tmp_path / "a.txt", b"ab\n" * 100 + b"\xe4 b")


BAD_LINES = [
    (b'{"text": null}', 'a "text" that is null'),
    (b'{"text": 5}', 'a "text" that is a number'),
    (b'{"text": [1]}', 'a "text" that is a list'),
    (b'{"text": "\\ud800"}', "half a surrogate pair"),
    (b'{"text": "cut of', "a cut or malformed object"),
    (b'{"content": "x"}', 'no "text" but the keys content'),
    (b"null", "null"),
    (b"17", "a number"),
    (b'"a"', "a string"),
    (b"[" * 100_000, "too deep or too long"),
    (b'{"text": ' + b"1" * 5000 + b"}", "too deep or too long"),
    (b'{"text": "' + b"x" * 10**6 + b'"}', "more than 1 MB"),
]


@pytest.mark.parametrize(("line", "what"), BAD_LINES, ids=range(len(BAD_LINES)))
def test_a_bad_line_is_named_by_its_number(tmp_path: Path, line: bytes, what: str) -> None:
    with pytest.raises(TrainingError) as raised:
        read(tmp_path / "a.jsonl", GOOD * 2 + b" \n" + line + b"\n" + GOOD)
    message = str(raised.value)
    assert 'a.jsonl must hold JSON objects with a string "text", one a line; line 4 has ' in message
    assert what in message
    assert message.endswith("; mend or remove the line")
    assert len(message) < 1000


def test_the_key_that_holds_the_text_is_taken_or_asked_for(tmp_path: Path) -> None:
    content = b'{"id": 1, "content": "a"}\n{"content": "b"}\n'
    texts, notes = read(tmp_path / "a.jsonl", content)
    assert texts == ["a", "b"]
    assert notes == [f'{tmp_path / "a.jsonl"}: "content" of its objects is trained on']
    record = {f"key{i}": "x" * 50 for i in range(9000)}
    with pytest.raises(TrainingError, match=r"the keys key0, .* and 8988 more; .*jq") as raised:
        read(tmp_path / "a.jsonl", json.dumps(record).encode())
    assert len(str(raised.value)) < 1000
    for array in (b"[\n" + GOOD + b"]", b'[{"text": "a"}]'):
        with pytest.raises(
            TrainingError, match=r"the beginning of a list; unfold it: jq -c '\.\[\]'"
        ):
            read(tmp_path / "a.json", array)


def test_lines_are_read_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "_BLOCK", 1 << 15)
    record = json.dumps({"text": "a", "more": "x" * 2000}).encode() + b"\n"
    file = tmp_path / "big.jsonl.gz"
    file.write_bytes(gzip.compress(record * 4000, 1))  # 8 MB
    tracemalloc.start()
    try:
        count = sum(1 for _ in documents_of(file, most=10**9, note=print))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 4000
    assert peak < 1 << 20
