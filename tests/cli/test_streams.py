"""What a locale lacks is replaced, and a stderr that cannot be written stops nothing."""

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from phonelm_search.cli import output
from phonelm_search.cli.streams import PatientStream, prepare_streams

RUN = [sys.executable, "-m", "phonelm_search.cli.main"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_stderr_is_silent() -> None:
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        stream = PatientStream(full, encoding="utf-8", line_buffering=True)
        print("one", file=stream)
        stream.write("two\n")
        stream.flush()
        assert Path(f"/proc/self/fd/{full.fileno()}").readlink() == Path(os.devnull)


def test_a_stderr_that_nobody_reads_is_silent() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as gone:
        print("one", file=PatientStream(gone, encoding="utf-8", line_buffering=True))


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("latin-1", "3 ×  - ± > ... ? ?"),
        ("ascii", "3 x  - +- > ... ? ?"),
        ("utf-8", "3 ×  – ± > … 北 ?"),
    ],
)
def test_a_locale_prints_what_it_can(
    monkeypatch: pytest.MonkeyPatch, encoding: str, shown: str
) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    prepare_streams()
    print("3 ×  – ± > … 北 \ud800")
    sys.stdout.flush()
    assert raw.getvalue().decode(encoding).rstrip("\n") == shown


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_command_ends_well_in_an_old_locale_without_stderr(tmp_path: Path) -> None:
    variables = {**os.environ, "PYTHONIOENCODING": "ascii:strict"}
    for end in ("2>/dev/full", "<&- 2>&-"):
        words = ["sh", "-c", f'exec "$@" {end}', "sh", *RUN, "spaces", "check", "tiny"]
        done = subprocess.run(
            words, env=variables, cwd=tmp_path, stdout=subprocess.PIPE, check=False
        )
        assert done.returncode == 0, end
        assert b"130 feasible shapes" in done.stdout
        assert b"####" in done.stdout
        assert done.stdout.isascii()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("words", ["spaces list --json", "--help"])
def test_a_stdout_that_cannot_be_written_is_one_line(words: str, tmp_path: Path) -> None:
    ends = {
        ">/dev/full": "phonelm-search: stdout must be writable: No space left on device; write it "
        "to another file\n",
        ">&-": "",
        "| true": "",  # the reader has gone
    }
    for end, message in ends.items():
        script = f'"$@" {words} {end}'
        done = subprocess.run(
            ["sh", "-c", script, "sh", *RUN], cwd=tmp_path, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert (done.stdout, done.stderr) == ("", message), end
        assert done.returncode == bool(message)


def test_commands_print_where_names_and_widths_are_seen_to() -> None:
    own = re.compile(r"typer\.s?echo|(?<!\.)\bprint\(")
    for path in Path(output.__file__).parent.glob("*.py"):
        assert not own.search(path.read_text(encoding="utf-8")), path.name
