"""A child that does one job: its answer, and every way in which it can fail to give one."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from phonelm_search.core.errors import ExportError, MeasurementError
from phonelm_search.work import answer_once, ask, childprocess


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
        (MemoryError(), "memory ran out", "memory"),
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
    monkeypatch.setattr(childprocess, "die_with_parent", lambda: None)
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps({"folder": str(tmp_path)})))
    assert answer_once(raises(error)) == 1
    answer = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert answer == {"error": message, "stage": stage}


def child(folder: Path, code: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of a name that nothing else has."""
    (folder / "one_job.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=":")
    return "one_job"


@pytest.mark.parametrize(
    ("code", "message", "stage"),
    [
        ("raise SystemExit('no such module')", "working: .*no such module", "compile"),
        ("import os; os.kill(os.getpid(), 9)", "working: .*SIGKILL; most likely memory", "memory"),
        ("import time; time.sleep(60)", "working must finish within 1 s and did not", "timeout"),
        (
            "import sys; from phonelm_search.work.childprocess import answer_once\n"
            "def run(job): raise ValueError(job['word'])\n"
            "sys.exit(answer_once(run))",
            "working: sesame",
            "compile",
        ),
    ],
    ids=["no answer", "killed", "too slow", "refused"],
)
def test_a_child_without_an_answer_is_an_error_that_says_why(
    code: str, message: str, stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = child(tmp_path, code, monkeypatch)
    job = {"word": "sesame", "folder": str(tmp_path)}
    with pytest.raises(MeasurementError, match=message) as caught:
        ask(module, job, what="working", seconds=1 if stage == "timeout" else 60)
    assert caught.value.stage == stage


def test_a_child_works_in_its_folder_and_may_print(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from phonelm_search.work.childprocess import answer_once\n"
        "def run(job):\n"
        "    print('noise'); Path('made').touch(); return {'twice': 2 * job['n']}\n"
        "sys.exit(answer_once(run))"
    )
    work = tmp_path / "work"
    work.mkdir()
    module = child(tmp_path, code, monkeypatch)
    found = ask(module, {"n": 21, "folder": str(work)}, what="working", seconds=60)
    assert found == {"twice": 42}
    assert (work / "made").exists()
