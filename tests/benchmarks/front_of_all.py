"""Seconds and memory that the front of all shapes of a space takes.

    python tests/benchmarks/front_of_all.py RESULTS --space search_spaces/slm-phone.yaml

Models come from a study of the database; the space is any other. Printed: shapes, seconds from the
space's file to the front, and the process's peak memory.
"""

import argparse
import resource
import time
from pathlib import Path

from common import say

from phonelm_search.reading import load_view
from phonelm_search.reading.modelled import model_front
from phonelm_search.space import load_space
from phonelm_search.store import Store


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, help="folder of a database with a study")
    parser.add_argument("--study", default="slm-100m.host-cpu")
    parser.add_argument("--space", required=True)
    options = parser.parse_args()
    view = load_view(Store(options.results, create=False), options.study)
    models = view.models  # fitted before: it does not depend on the space
    begun = time.perf_counter()
    found = model_front(
        lambda: models, load_space(options.space), view.device.schemes, (40e6, 120e6), digest="",
        file=None,
    )  # fmt: skip
    seconds = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    say(
        f"{found.count:,} shapes: {seconds:.1f} s, peak {peak:.2f} GB; a front of "
        f"{len(found.front())} shapes"
    )


if __name__ == "__main__":
    main()
