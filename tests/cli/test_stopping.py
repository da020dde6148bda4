"""Signals at bad moments: while modules load, in a destructor, at the end of a command."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from phonelm_search.cli.stopping import STOPPED

CODES = [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)]
ENTRY = "from phonelm_search.cli.entry import entry; entry()"


def hear_ctrl_c() -> None:
    """What a shell starts in the background ignores it, and so does what that starts."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def start(code: str, *words: str, folder: Path) -> "subprocess.Popen[str]":
    """A process that says when it may be stopped; modules of the folder go before all others."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words], cwd=folder, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, preexec_fn=hear_ctrl_c,
        env={**os.environ, "PYTHONPATH": str(folder)},
    )  # fmt: skip
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize(("name", "code"), CODES)
def test_a_signal_while_modules_load_is_one_line(name: str, code: int, tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text(
        "import time\nprint('ready', flush=True)\n"
        "try:\n    time.sleep(60)\nexcept BaseException: pass\n"  # as some libraries do
    )
    process = start(ENTRY, "spaces", "list", folder=tmp_path)
    process.send_signal(getattr(signal, name))
    _, error = process.communicate(timeout=20)
    assert (process.returncode, error) == (code, f"phonelm-search: {STOPPED}\n")


WORKING = """
import os, signal, sys, time
from phonelm_search.cli.stopping import Stopping
stopping = Stopping()

class Dying:
    def __del__(self):
        print("ready", flush=True)
        time.sleep(60)

try:
    with stopping.raises():
        {body}
except KeyboardInterrupt:
    sys.exit(stopping.code)
"""


@pytest.mark.parametrize(("name", "code"), CODES)
def test_a_signal_that_a_destructor_swallows_comes_again(
    name: str, code: int, tmp_path: Path
) -> None:
    process = start(WORKING.format(body="Dying(); time.sleep(60)"), folder=tmp_path)
    process.send_signal(getattr(signal, name))
    _, error = process.communicate(timeout=20)
    assert (process.returncode, error) == (code, "")


def test_other_faults_of_a_destructor_are_told(tmp_path: Path) -> None:
    body = "print('ready'); Dying.__del__ = lambda self: 1 / 0; Dying()"
    process = start(WORKING.format(body=body), folder=tmp_path)
    _, error = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "ZeroDivisionError" in error


def test_once_a_command_is_over_nothing_stops_it(tmp_path: Path) -> None:
    over = WORKING.format(body="pass") + (
        "print('ready', flush=True)\n"
        "for number in (2, 15, 1):\n    os.kill(os.getpid(), number)\n"
        "sys.exit(7)"
    )
    process = start(over, folder=tmp_path)
    _, error = process.communicate(timeout=20)
    assert (process.returncode, error) == (7, "")


CONVERTED = """
import os, signal, sys
from phonelm_search.cli import main, spaces
from phonelm_search.cli.entry import run
from phonelm_search.cli.stopping import Stopping

def convert(*_):
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    except KeyboardInterrupt:
        raise ImportError("numpy.core failed to import") from None

print("ready", flush=True)
stopping = Stopping()
main.typer.main.get_command = lambda app: type("Command", (), {"main": lambda *a, **k: convert()})()
sys.exit(run(stopping, []))
"""


def test_what_libraries_make_of_a_signal_is_no_internal_error(tmp_path: Path) -> None:
    process = start(CONVERTED, folder=tmp_path)
    _, error = process.communicate(timeout=20)
    assert (process.returncode, error) == (143, f"phonelm-search: {STOPPED}\n")


def test_what_is_ignored_stays_so(tmp_path: Path) -> None:
    code = (
        "import os, signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n"  # as nohup does
        "from phonelm_search.cli.stopping import Stopping\n"
        "with Stopping().raises():\n    os.kill(os.getpid(), signal.SIGHUP)\nprint('ready')"
    )
    process = start(code, folder=tmp_path)
    _, error = process.communicate(timeout=20)
    assert (process.returncode, error) == (0, "")


LOGGED = """
import logging, os, signal, sys, threading
from phonelm_search.cli.stopping import Stopping
stopping = Stopping()
stopping.log_plainly()
pool = logging.getLogger("sqlalchemy.pool")

def fail():
    try:
        1 / 0
    except ZeroDivisionError:
        pool.error("cannot reset %s", "it", exc_info=True)

print("ready")
fail()
try:
    with stopping.raises():
        os.kill(os.getpid(), signal.SIGTERM)
except KeyboardInterrupt:
    fail()
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start()
    thread.join()
"""


def test_what_libraries_log_has_no_traceback_and_ends_with_the_command(tmp_path: Path) -> None:
    process = start(LOGGED, folder=tmp_path)
    _, error = process.communicate(timeout=20)
    assert (process.returncode, error) == (0, "cannot reset it\n")
