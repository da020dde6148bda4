"""Progress takes names as text, in terminals of all widths and in pipes."""

import io
import re
import sys

import pytest

from phonelm_search.cli.progress import ProgressReporter


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_bar_shows_names_as_they_are(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(width))
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with ProgressReporter() as report:
        report.stage("on a [b] [/c]", 2)
        report.advance(1, "[/d]\x1b]0;title")
        report.note("note [/e] of 12.3 ms \x1b]0;title")
    out = terminal.getvalue()
    assert "on a [b] [/c]" in out
    assert "50 %" in re.sub(r"\x1b\[[0-9;]*m", "", out)
    assert "note [/e] of 12.3 ms" in out
    assert "\x1b]0" not in out
    assert ("[/d]\\x1b]0;title" in out) == (width == 200)


def test_a_pipe_gets_whole_lines(capsys: pytest.CaptureFixture[str]) -> None:
    title = "measuring on [a] [/b] " + "and others " * 12
    with ProgressReporter() as report:
        report.stage(title, 2)
        report.advance(1, "[/d]")
        report.note(title)
    assert capsys.readouterr().err.splitlines() == [f"{title} …", f"{title}  50%  [/d]", title]
