"""Children that do jobs: their answers, and every way in which they can fail to give one."""

import io
import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from helpers import outlives
from phonelm_search.core.errors import ChildError, ExportError, MeasurementError
from phonelm_search.work import Child, answer_once, ask, serving


def full_disk() -> None:
    try:
        raise OSError(28, "No space left on device")
    except OSError as error:
        raise ExportError("the graph cannot be written") from error


def raises(error: BaseException) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def run(job: dict[str, Any]) -> dict[str, Any]:
        if isinstance(error, ExportError):
            full_disk()
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "message", "stage"),
    [
        (RuntimeError("no such kernel\nat line 3"), "no such kernel", "compile"),
        (RuntimeError(), "RuntimeError", "compile"),
        (
            MemoryError(),
            "memory must suffice, about 6 GB of address space for each process: MemoryError; "
            "raise the limit, or end other programs",
            "memory",
        ),
        (OSError(28, "No space left on device"), "[Errno 28] No space left on device", "storage"),
        (ExportError("full"), "the graph cannot be written", "storage"),
        (MeasurementError("too short", stage="numerics"), "too short", "numerics"),
    ],
)
def test_what_a_job_raises_becomes_one_line_and_a_stage(
    error: BaseException, message: str, stage: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(serving, "_belong_to_parent", lambda: None)
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps({"folder": str(tmp_path)})))
    assert answer_once(raises(error)) == 1
    answer = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert answer == {"error": message, "stage": stage}


def module(folder: Path, code: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of a name that nothing else has."""
    (folder / "one_job.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=":")
    return "one_job"


@pytest.mark.parametrize(
    ("code", "message", "stage"),
    [
        ("raise SystemExit('no such module')", "working: .*no such module", "compile"),
        ("import os; os.kill(os.getpid(), 9)", "working: .*SIGKILL; most likely memory", "memory"),
        (
            "import os; os.kill(os.getpid(), 15)",
            "working: .*ended by SIGTERM, which another program sent",
            "stopped",
        ),
        ("import time; time.sleep(60)", "working must finish within 1 s and did not", "timeout"),
        (
            "import sys; from phonelm_search.work import answer_once\n"
            "def run(job): raise ValueError(job['word'])\n"
            "sys.exit(answer_once(run))",
            "working: sesame",
            "compile",
        ),
    ],
    ids=["no answer", "killed", "told to end", "too slow", "refused"],
)
def test_a_child_without_an_answer_is_an_error_that_says_why(
    code: str, message: str, stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = module(tmp_path, code, monkeypatch)
    job = {"word": "sesame", "folder": str(tmp_path)}
    with pytest.raises(MeasurementError, match=message) as caught:
        ask(name, job, what="working", seconds=1 if stage == "timeout" else 60)
    assert caught.value.stage == stage


def test_a_child_works_in_its_folder_and_may_print(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from phonelm_search.work import answer_once\n"
        "def run(job):\n"
        "    print('noise'); Path('made').touch(); return {'twice': 2 * job['n']}\n"
        "sys.exit(answer_once(run))"
    )
    work = tmp_path / "work"
    work.mkdir()
    name = module(tmp_path, code, monkeypatch)
    found = ask(name, {"n": 21, "folder": str(work)}, what="working", seconds=60)
    assert found == {"twice": 42}
    assert (work / "made").exists()


SERVER = """
import os, subprocess, sys, time
from phonelm_search.core.errors import TrainingError
from phonelm_search.work import serve

def run(job, report):
    match job["do"]:
        case "double":
            print("noise without an end", end="")
            report({"half": job["n"] / 2})
            print('["noise that is JSON"]')
            return {"twice": 2 * job["n"], "pid": os.getpid()}
        case "refuse":
            raise TrainingError("no such thing")
        case "crash":
            raise RuntimeError("out of luck")
        case "die":
            os.kill(os.getpid(), 9)
        case "complain":
            sys.stderr.write("a warning\\n" * 100_000)
            return {"heard": len(job["text"])}
        case "hang":
            other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            report({"other": other.pid})
            time.sleep(600)
        case "leave":  # another one that holds its pipes open
            other = subprocess.Popen(["sleep", "600"])
            report({"other": other.pid})
            os._exit(3)
        case "steps":
            for step in range(6):
                report({"step": step})
                time.sleep(0.4)
            return {}

sys.exit(serve(run))
"""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Child:
    return Child(module(tmp_path, SERVER, monkeypatch), what="serving")


def test_a_child_does_one_job_after_another_and_tells_how_far_it_is(server: Child) -> None:
    told: list[Mapping[str, Any]] = []
    with server:
        answers = [server.do({"do": "double", "n": n}, report=told.append) for n in (3, 4)]
    assert [a["twice"] for a in answers] == [6, 8]
    assert told == [{"half": 1.5}, {"half": 2.0}]
    assert len({a["pid"] for a in answers}) == 1
    assert not outlives(answers[0]["pid"])


def test_a_refused_job_is_told_and_the_child_serves_on(server: Child) -> None:
    with server:
        pid = server.do({"do": "double", "n": 1})["pid"]
        with pytest.raises(ChildError, match=r"^no such thing$") as caught:
            server.do({"do": "refuse"})
        assert caught.value.stage == "run"
        assert server.do({"do": "double", "n": 1})["pid"] == pid


@pytest.mark.parametrize(
    ("job", "message", "stage"),
    [
        ("crash", "the child process failed: RuntimeError: out of luck", "ended"),
        ("die", "ended by SIGKILL; most likely memory ran out", "memory"),
    ],
)
def test_a_child_that_ends_is_replaced(server: Child, job: str, message: str, stage: str) -> None:
    with server:
        pid = server.do({"do": "double", "n": 1})["pid"]
        with pytest.raises(ChildError, match=message) as caught:
            server.do({"do": job})
        assert caught.value.stage == stage
        assert server.do({"do": "double", "n": 1})["pid"] != pid


def test_full_pipes_stop_nobody(server: Child) -> None:
    with server:
        text = "x" * 1_000_000
        assert server.do({"do": "complain", "text": text}, seconds=60) == {"heard": len(text)}


def test_a_child_that_hangs_is_ended_and_with_it_what_it_started(server: Child) -> None:
    others: list[int] = []
    began = time.monotonic()
    with pytest.raises(ChildError, match=r"^serving must finish within 3 s and did not$") as caught:
        server.do({"do": "hang"}, seconds=3, report=lambda told: others.append(told["other"]))
    assert caught.value.stage == "timeout"
    assert time.monotonic() - began < 20
    assert not outlives(*others)


def test_a_child_that_takes_no_job_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaf = Child(module(tmp_path, "import time; time.sleep(600)", monkeypatch))
    with pytest.raises(ChildError, match="must finish within 1 s"):
        deaf.do({"text": "x" * 1_000_000}, seconds=1)


def test_the_end_of_a_child_is_seen_while_others_hold_its_pipes(server: Child) -> None:
    others: list[int] = []
    with pytest.raises(ChildError, match="the child process failed") as caught:
        server.do({"do": "leave"}, report=lambda told: others.append(told["other"]))
    assert caught.value.returncode == 3
    os.kill(others[0], 9)


def test_progress_is_a_sign_of_life(server: Child) -> None:
    steps: list[int] = []
    with server:
        assert server.do({"do": "double", "n": 1})
        answer = server.do(
            {"do": "steps"}, seconds=1.5, report=lambda told: steps.append(told["step"])
        )
    assert answer == {}
    assert steps == list(range(6))


def test_ctrl_c_ends_the_child(server: Child) -> None:
    others: list[int] = []

    def interrupt(told: Mapping[str, Any]) -> None:
        others.append(told["other"])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), server:
        server.do({"do": "hang"}, report=interrupt)
    assert not outlives(*others)


def test_another_thread_may_stop_a_child_for_good(server: Child) -> None:
    failures: list[ChildError] = []
    hung = threading.Event()

    def wait() -> None:
        try:
            server.do({"do": "hang"}, report=lambda told: hung.set())
        except ChildError as error:
            failures.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    assert hung.wait(60)
    server.stop()
    thread.join(20)
    assert not thread.is_alive()
    assert "SIGKILL" in str(failures[0])
    with pytest.raises(ChildError, match="stopped") as caught:
        server.do({"do": "double", "n": 1})
    assert caught.value.stage == "start"


def test_a_program_that_cannot_be_started_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    with pytest.raises(MeasurementError, match="working: the child process cannot be started") as e:
        ask("any", {}, what="working", seconds=1)
    assert e.value.stage == "start"
