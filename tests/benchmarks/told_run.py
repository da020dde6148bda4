"""One command as the command line runs it, but for trainings: see `told_by_formula`.

What `kills` kills. Signals are heard first, as in the program itself.
"""

import signal
import sys
from pathlib import Path


def main() -> int:
    """Run the words behind the script's name."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # and nohup this
    from phonelm_search.cli.stopping import Stopping

    stopping = Stopping()
    from phonelm_search.cli.entry import run

    sys.path.insert(0, str(Path(__file__).parents[1]))  # the tests' helpers
    from told_trainings import told_by_formula

    with told_by_formula(Path("lock")):
        return run(stopping, sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
