"""The fuzz targets with atheris, which follows what the parsers do, for a time that is given.

    pip install atheris        # where there is a wheel
    python tests/benchmarks/fuzzing.py --seconds 3600 config space device

Each target runs in a process of its own. Exits with 1 where one of them broke; atheris leaves the
bytes that did it in ``crash-*`` of the working directory. Without atheris the same targets run on
random damage.
"""

import argparse
import random
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import say

try:
    import atheris
except ImportError:
    atheris = None

with atheris.instrument_imports(include=["phonelm_search"]) if atheris else nullcontext():
    from fuzz.targets import SEEDS, TARGETS, WORDS, allowed


def damaged(rng: random.Random, seed: bytes) -> bytes:
    """A text after some of it was replaced, doubled or cut."""
    text = seed
    for _ in range(rng.randint(1, 6)):
        start = rng.randint(0, len(text))
        end = min(len(text), start + rng.randint(0, 40))
        choices = (rng.choice(WORDS), rng.randbytes(rng.randint(0, 8)), text[start:end] * 2)
        text = text[:start] + rng.choice(choices) + text[end:]
    return text


def run_blind(name: str, seconds: float, seed: int) -> None:
    """Random damage until the time is used up."""
    rng, end, count = random.Random(seed), time.monotonic() + seconds, 0
    while time.monotonic() < end:
        data = damaged(rng, rng.choice(SEEDS[name]))
        try:
            allowed(TARGETS[name], data)
        except BaseException:
            Path(f"crash-{name}").write_bytes(data)
            raise
        count += 1
    say(f"{name}: {count:,} texts, no fault")


def run_guided(name: str, seconds: float, seed: int) -> None:
    """Atheris until the time is used up."""
    folder = Path(f"corpus-{name}")
    folder.mkdir(exist_ok=True)
    for i, text in enumerate(SEEDS[name]):
        (folder / f"seed-{i}").write_bytes(text)
    options = [
        f"-max_total_time={round(seconds)}",
        f"-seed={seed}",
        f"-artifact_prefix=crash-{name}-",
    ]
    atheris.Setup([sys.argv[0], *options, str(folder)], lambda data: allowed(TARGETS[name], data))
    atheris.Fuzz()


def main() -> int:
    """Run targets one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", default=list(TARGETS), help="Default: all.")
    parser.add_argument("--seconds", type=float, default=60.0, help="In all.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=list(TARGETS), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.only:
        run = run_guided if atheris else run_blind
        run(given.only, given.seconds, given.seed)
        return 0
    each = str(given.seconds / len(given.targets))
    broken = []
    for name in given.targets:
        command = [sys.executable, __file__, "--only", name, "--seconds", each]
        if subprocess.run([*command, "--seed", str(given.seed)], check=False).returncode:
            broken.append(name)
    say(f"broke: {', '.join(broken) or 'none'}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
