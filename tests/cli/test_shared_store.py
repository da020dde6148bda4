"""Commands on a server's database: as on a file, and without its password."""

import json
from pathlib import Path

import pytest

from helpers import study
from phonelm_search.cli.main import run_command
from servers import PASSWORD

pytestmark = pytest.mark.xdist_group("postgresql")
POINTS: list[tuple[float, float | None]] = [(12.0, 2.0), (8.0, 2.2), (20.0, 1.9)]


def said(capfd: pytest.CaptureFixture[str], *words: str) -> str:
    capfd.readouterr()
    assert run_command(list(words)) == 0
    return capfd.readouterr().out


def test_a_server_gives_what_a_file_gives_and_no_page_has_its_password(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], server_url: str
) -> None:
    tables = []
    for name, url in (("alone", None), ("shared", server_url)):
        study(tmp_path / name, POINTS, url=url)
        where = ["--results", str(tmp_path / name), *(["--storage", url] if url else [])]
        tables.append(said(capfd, "pareto", "study", "--all", "--json", *where))
    assert json.loads(tables[0])["rows"]
    assert tables[0] == tables[1]
    said(capfd, "report", "study", "-o", str(tmp_path / "shared" / "report.html"), *where)
    files = [p for p in (tmp_path / "shared").rglob("*") if p.is_file()]
    assert "report.html" in [p.name for p in files]
    written = server_url.split(":")[2].split("@")[0]
    for secret in (PASSWORD, written, "S3CR"):
        assert not [p for p in files if secret.encode() in p.read_bytes()]


def test_a_wrong_password_is_one_line_without_it(
    capfd: pytest.CaptureFixture[str], server_url: str
) -> None:
    wrong = server_url.replace("S3CR", "WR0NG")
    assert run_command(["pareto", "study", "--storage", wrong]) == 1
    told = capfd.readouterr().err
    assert "authentication failed" in told
    assert "correct user and password in --storage" in told
    assert "WR0NG" not in told
    assert len(told.splitlines()) == 1
