"""Studies are read on Windows and macOS, too: no module needs what Linux alone has."""

import os
import subprocess
import sys

import pytest

# What other packages import stays as it is; ours are imported anew, without these.
MISSING = {
    "macos": """
        modules = []
        names = {"os": ["sched_getaffinity", "sched_setaffinity"]}
    """,
    "windows": """
        modules = ["fcntl", "resource", "grp", "pwd", "termios"]
        names = {
            "os": [
                "sched_getaffinity", "sched_setaffinity", "sysconf", "fork", "getuid", "killpg",
                "pread", "uname",
            ],
            "signal": ["SIGKILL", "SIGSYS", "SIGALRM", "SIGHUP", "alarm"],
        }
    """,
}
IMPORT_ALL = """
import importlib, pkgutil, sys, textwrap
import phonelm_search

def ours():
    found = pkgutil.walk_packages(phonelm_search.__path__, "phonelm_search.")
    return sorted(m.name for m in found)

for name in ours():
    importlib.import_module(name)
for name in [n for n in sys.modules if n.split(".")[0] == "phonelm_search"]:
    del sys.modules[name]
exec(textwrap.dedent(sys.argv[1]))
for module, missing in names.items():
    for name in missing:
        delattr(importlib.import_module(module), name)
for name in modules:
    sys.modules[name] = None  # importing it is an ImportError
import phonelm_search
failures = []
for name in ours():
    try:
        importlib.import_module(name)
    except Exception as error:
        failures.append(f"{name}: {error!r}")
print("\\n".join(failures))
"""


@pytest.mark.parametrize("system", MISSING)
def test_every_module_is_imported_without_what_linux_alone_has(system: str) -> None:
    command = [sys.executable, "-c", IMPORT_ALL, MISSING[system]]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert not done.stdout.strip()


def test_cores_are_counted_where_the_system_pins_none(monkeypatch: pytest.MonkeyPatch) -> None:
    from phonelm_search.work import usable_cores

    monkeypatch.delattr("os.sched_getaffinity")
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    assert usable_cores() == {0, 1, 2}


@pytest.mark.xdist_group("alone")
def test_tests_of_a_group_go_to_one_worker(request: pytest.FixtureRequest) -> None:
    apart = "PYTEST_XDIST_WORKER" in os.environ
    assert request.node.nodeid.endswith("@alone") == apart
