"""Seconds and memory of a large text in one line: read, split, tokenised.

    python tests/benchmarks/large_text.py --megabytes 100 -o results/large-text.csv

Each kind in a process of its own: words as in text8, letters without a space, Chinese with commas,
and one JSON object. Words are drawn by their rank (Zipf): a tokenizer has something to find.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from common import say, write_table

from phonelm_search.train import load_text, tokenise

_WORDS, _AT_ONCE = 60_000, 200_000


def words(letters: str, between: str) -> Iterator[str]:
    """Words drawn by their rank, without end."""
    random = np.random.default_rng(0)
    known = [
        "".join(letters[i] for i in random.integers(0, len(letters), length))
        for length in random.integers(2, 9, _WORDS)
    ]
    chances = 1 / np.arange(2, _WORDS + 2)
    chances /= chances.sum()
    while True:
        drawn = random.choice(_WORDS, _AT_ONCE, p=chances)
        yield between.join(known[i] for i in drawn) + between


LATIN = "abcdefghijklmnopqrstuvwxyz"
KINDS: Mapping[str, Callable[[], Iterator[str]]] = {
    "words": lambda: words(LATIN, " "),
    "no spaces": lambda: words(LATIN, ""),
    "chinese": lambda: words("".join(map(chr, range(0x4E00, 0x5600))), "，"),
    "json": lambda: words(LATIN, " "),
}


def write(path: Path, kind: str, size: int) -> None:
    """A file of one line."""
    left = size
    with path.open("w", encoding="utf-8") as file:
        file.write('{"text": "' if kind == "json" else "")
        for part in KINDS[kind]():
            file.write(part)
            left -= len(part.encode())
            if left <= 0:
                break
        file.write('"}\n' if kind == "json" else "\n")


def measure(path: Path) -> dict[str, Any]:
    """Read and tokenise a file in this process."""
    begin = time.monotonic()
    text = load_text([str(path)])
    read = time.monotonic() - begin
    with tempfile.TemporaryDirectory() as folder:
        corpus = tokenise(text, 512, Path(folder))
    return {
        "documents": len(text.train) + len(text.validation),
        "tokens": len(corpus.train) + len(corpus.validation),
        "read_s": round(read, 1),
        "all_s": round(time.monotonic() - begin, 1),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000),
    }


def main() -> None:
    """Measure, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--megabytes", type=float, default=100)
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.file:
        print(json.dumps(measure(options.file)))
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for kind in options.kinds:
            path = Path(folder) / ("line.jsonl" if kind == "json" else "line.txt")
            write(path, kind, round(1e6 * options.megabytes))
            command = [sys.executable, __file__, "--file", str(path)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(f"{kind}: {done.returncode}: {done.stderr[-1000:]}")
            row = {"kind": kind, "megabytes": options.megabytes}
            rows.append(row | json.loads(done.stdout.splitlines()[-1]))
            say(str(rows[-1]))
            path.unlink()
    write_table(rows, options.output)


if __name__ == "__main__":
    main()
