"""Where the command line begins: signals are heard before anything else is loaded."""

import sys
from collections.abc import Sequence

from phonelm_search.cli.stopping import Stopping


def entry() -> None:
    """Run the command line; exit 0, 1 for an error of ours, 2 for wrong usage.

    130 is for Ctrl-C, 143 and 129 for SIGTERM and SIGHUP.
    """
    sys.exit(run(Stopping(), sys.argv[1:]))


def run(stopping: Stopping, arguments: Sequence[str]) -> int:
    """Run one command line in this process, which does nothing else, and return its exit code."""
    import gc

    gc.set_threshold(200_000)  # importing makes many objects and no cycles to speak of
    from phonelm_search.cli.main import run_command
    from phonelm_search.cli.streams import prepare_streams

    prepare_streams()
    stopping.log_plainly()
    code = run_command(list(arguments), stopping)
    gc.freeze()  # all goes with the process; to look through it for cycles took a third of a second
    return code if stopping.signal is None else stopping.code


if __name__ == "__main__":
    entry()
