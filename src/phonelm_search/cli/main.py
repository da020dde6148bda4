"""The command ``phonelm-search``."""

import errno
import io
import os
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from itertools import pairwise
from typing import Annotated

import typer

from phonelm_search import __version__
from phonelm_search.cli import (
    devices,
    explain,
    export,
    law,
    pareto,
    plot,
    profile,
    ray_node,
    report,
    run,
    score,
    search,
    sensitivity,
    spaces,
    studies,
)
from phonelm_search.cli.entry import entry
from phonelm_search.cli.output import say, tell
from phonelm_search.cli.stopping import INTERRUPTED, STOPPED, Stopping
from phonelm_search.cli.streams import STDOUT
from phonelm_search.core.errors import PhonelmSearchError
from phonelm_search.core.shortage import memory_shortage

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Search the shape of a small language model for on-device speed before pre-training it. "
    "Begin with `phonelm-search run`, or with `phonelm-search run tiny` for a first try.",
)
for module in (
    run, search, score, profile, pareto, plot, report, explain, export, sensitivity, ray_node,
):  # fmt: skip
    app.command(name=module.NAME, help=module.HELP)(module.command)
for name, group in (
    ("studies", studies),
    ("spaces", spaces),
    ("devices", devices),
    ("law", law),
):
    app.add_typer(group.app, name=name, help=group.HELP)


def _show_version(wanted: bool) -> None:
    if wanted:
        tell(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Options before a command."""


def run_command(arguments: list[str], stopping: Stopping | None = None) -> int:
    """Run one command line and return its exit code; nothing but this prints errors.

    Args:
        arguments: What follows the program's name.
        stopping: Signals that end it; None: those of the program that this is part of.
    """
    if empty := _empty_argument(arguments):
        _complain(f"{empty} must have a value, it is empty; give one, or leave it out")
        return 2
    try:
        with stopping.raises() if stopping else nullcontext():
            result = typer.main.get_command(app).main(
                arguments, prog_name="phonelm-search", standalone_mode=False, obj=list(arguments)
            )
    except typer.Exit as stop:
        return int(stop.exit_code)
    except PhonelmSearchError as error:
        _complain(str(error))
        return 1
    except (KeyboardInterrupt, typer.Abort):
        result = INTERRUPTED
    except BrokenPipeError:  # the reader has gone
        return 1
    except OSError as error:
        _complain(memory_shortage(error) or _file_message(error))
        return 1
    except Exception as error:  # the last place: no traceback may reach a user
        usage = _usage_error(error)
        if usage is not None:
            return usage
        if stopping is not None and stopping.signal is not None:  # libraries turn it into others
            _complain(STOPPED)
            return INTERRUPTED
        if os.environ.get("PHONELM_SEARCH_DEBUG"):
            raise
        _complain(
            memory_shortage(error)
            or f"internal error, please report it: {type(error).__name__}: {error} "
            "(PHONELM_SEARCH_DEBUG=1 shows where)"
        )
        return 1
    if result == INTERRUPTED:  # typer may turn Ctrl-C into this code itself
        _complain(STOPPED)
    return result if isinstance(result, int) else 0


def _empty_argument(arguments: Sequence[str]) -> str | None:
    """What has no value, as where a shell's variable was not set; None where all have one."""
    for before, argument in pairwise(["phonelm-search", *arguments]):
        option, given, value = argument.partition("=")
        if not argument:
            return before if before.startswith("-") else f"the argument after {before}"
        if given and not value and option.startswith("--"):
            return option
    return None


def _usage_error(error: Exception) -> int | None:
    """Show the parser's own errors as it shows them; None for any other error."""
    show, code = getattr(error, "show", None), getattr(error, "exit_code", None)
    if callable(show) and isinstance(code, int):
        shown = io.StringIO()
        show(file=shown)
        for line in shown.getvalue().splitlines():
            say(line)
        return code
    return None


def _file_message(error: OSError) -> str:
    """What failed, and where; some failures of the system name no file."""
    if error.filename == STDOUT:
        return f"stdout must be writable: {error.strerror or error}; write it to another file"
    name = error.filename or f"a file (temporary ones lie in TMPDIR, {_temporary_folder()})"
    remedy = "; make room, or set TMPDIR to a larger disk" if error.errno == errno.ENOSPC else ""
    return f"{name} must be usable: {error.strerror or error}{remedy}"


def _temporary_folder() -> str:
    try:
        return tempfile.gettempdir()
    except OSError:
        return "which is not usable"


def _complain(message: str) -> None:
    with suppress(OSError, ValueError):  # whoever closed the terminal reads nothing
        say(f"phonelm-search: {' '.join(message.split())}")


if __name__ == "__main__":
    entry()
