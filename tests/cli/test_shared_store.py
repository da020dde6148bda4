"""Commands on a server's database: as on a file, for several at once, and without its password."""

import json
from pathlib import Path
from urllib.parse import unquote

import pytest

from phonelm_search.cli.main import run_command
from servers import PASSWORD

pytestmark = pytest.mark.xdist_group("postgresql")
SEARCH = ["search", "tiny", "--device", "fake-phone", "--trials", "4", "--sampler", "random"]
STUDY = "tiny.fake-phone"
READING = (
    ["studies", "list", "--json"],
    ["studies", "show", STUDY],
    ["studies", "check", STUDY, "--json"],
    ["pareto", STUDY, "--all", "--json"],
    ["explain", STUDY],
)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("device_profiles").mkdir()
    Path("device_profiles/fake-phone.yaml").write_text("name: fake-phone\nruntime: fake\n")


def said(capfd: pytest.CaptureFixture[str], *words: str) -> str:
    capfd.readouterr()
    assert run_command(list(words)) == 0
    return capfd.readouterr().out


def test_a_server_gives_what_a_file_gives_and_tells_no_password(
    capfd: pytest.CaptureFixture[str], server_url: str
) -> None:
    shared = ("--storage", server_url, "--results", "shared")
    alone = ("--results", "alone")
    outputs = []
    for where in (alone, shared):
        said(capfd, *SEARCH, *where)
        outputs.append([said(capfd, *words, *where) for words in READING])
    for on_file, on_server in zip(*outputs, strict=True):
        masked = server_url.replace(server_url.split(":")[2].split("@")[0], "***")
        without = on_server.replace(f"--storage '{masked}' --results shared", "--results alone")
        assert without == on_file
    assert json.loads(outputs[1][3])["rows"]
    said(capfd, "plot", STUDY, "-o", "front.svg", *shared)
    said(capfd, "report", STUDY, "-o", "report.html", *shared)
    said(capfd, "export", STUDY, "-o", "winner", *shared)
    texts = [p.read_bytes() for p in Path().rglob("*") if p.is_file()]
    kept = server_url.rpartition("/")[2]
    assert len(texts) > 8
    for secret in (PASSWORD, unquote(PASSWORD), server_url.split(":")[2].split("@")[0], "S3CR"):
        assert secret not in "".join(map(str, outputs))
        assert not [t for t in texts if secret.encode() in t]
    assert kept in "".join(map(str, outputs))


def test_a_wrong_password_is_one_line_without_it(
    capfd: pytest.CaptureFixture[str], server_url: str
) -> None:
    wrong = server_url.replace("S3CR", "WR0NG")
    assert run_command(["pareto", STUDY, "--storage", wrong]) == 1
    told = capfd.readouterr().err
    assert "authentication failed" in told
    assert "correct user and password in --storage" in told
    assert "WR0NG" not in told
    assert len(told.splitlines()) == 1
