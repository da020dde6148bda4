"""One command as the command line runs it, but with short rounds whose times are told by a formula.

What `cluster` starts and kills. Phones do all that they do; trainings are told by a formula,
unless the words hold --real-trainings: see `told_phones`. How training is fastest is told, and what
there is time for: both would differ between a cluster and a process.
"""

import signal
import sys
from contextlib import nullcontext
from pathlib import Path

LEASE_SECONDS = 8.0


def main() -> int:
    """Run the words behind the script's name."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
    from phonelm_search.cli.stopping import Stopping

    stopping = Stopping()
    from phonelm_search.cli.entry import run

    sys.path.insert(0, str(Path(__file__).parents[1]))  # the tests' helpers
    import pytest

    import told_phones
    import told_trainings
    from helpers import QUICK, REFERENCE_MODULES, SMALL_REFERENCE, small_texts
    from inline import trained_inline
    from phonelm_search.core.deadline import Deadline
    from phonelm_search.train import load_text
    from phonelm_search.train.pool import InlinePool, PlacePool
    from phonelm_search.train.settings import Acceleration

    usual = Acceleration(number_type="fp32", compiled=False, tokens_per_s={})
    words = sys.argv[1:]
    here = "ray" not in words
    with (
        pytest.MonkeyPatch.context() as patch,
        small_texts(load_text()),
        trained_inline() if here else nullcontext(),
    ):
        patch.setattr(PlacePool, "fastest", lambda *_: usual)
        patch.setattr(Deadline, "left", property(lambda deadline: deadline.seconds))
        patch.setattr("phonelm_search.stages.session.SETTINGS", QUICK)
        patch.setattr("phonelm_search.measure.placed._TASK", told_phones.MEASURE)
        if "--real-trainings" in words:
            words.remove("--real-trainings")
        else:
            patch.setattr("phonelm_search.train.pool._TASK", told_phones.TRAIN)
            patch.setattr(InlinePool, "_train", lambda pool, job, _: told_trainings.outcome(job))
        patch.setattr("phonelm_search.measure.verdict.WIDEST_HALF", 1e9)
        patch.setattr("phonelm_search.store.lease.LEASE_SECONDS", LEASE_SECONDS)
        for module in REFERENCE_MODULES:
            patch.setattr(f"phonelm_search.{module}.REFERENCE", SMALL_REFERENCE)
        return run(stopping, words)


if __name__ == "__main__":
    sys.exit(main())
