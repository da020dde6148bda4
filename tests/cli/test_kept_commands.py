"""What a study keeps of the commands that made it."""

import json
from pathlib import Path

import pytest

from phonelm_search.cli.main import run_command
from phonelm_search.store import Store

SEARCH = ["search", "tiny", "--device", "fake-phone", "--trials", "2"]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("device_profiles").mkdir()
    Path("device_profiles/fake-phone.yaml").write_text("name: fake-phone\nruntime: fake\n")


def kept(url: str | None = None) -> list[str]:
    record = Store(Path("results"), url=url).study("tiny.fake-phone")
    return [c["command"] for c in record.config.get("commands", [])]


def test_commands_are_kept_once_in_the_order_that_they_came_in() -> None:
    assert run_command(SEARCH) == 0
    more = [*SEARCH[:-2], "--trials", "3"]
    assert run_command(more) == 0
    assert run_command(SEARCH) == 0
    assert kept() == [f"phonelm-search {' '.join(SEARCH)}", f"phonelm-search {' '.join(more)}"]


def test_a_scoring_that_cannot_begin_is_not_kept() -> None:
    assert run_command(SEARCH) == 0
    assert run_command(["score", "tiny.fake-phone", "--data", "absent.txt"]) == 1
    assert len(kept()) == 1


@pytest.mark.parametrize("form", ["two words", "one word"])
def test_passwords_and_serials_are_never_kept(form: str, tmp_path: Path) -> None:
    # SQLite takes no password; what matters is the text, wherever it is read from.
    url = f"sqlite:///{tmp_path}/other.db"
    given = [f"--storage={url}"] if form == "one word" else ["--storage", url]
    assert run_command([*SEARCH, *given]) == 0
    (line,) = kept(url)
    assert line.endswith(f"--storage {url}")
    from phonelm_search.cli.common import command_line

    class Context:
        obj = (
            "run",
            "--storage",
            "postgresql://me:secret@host/db",
            "--serial=ABC",
            "--trials",
            "2",
        )

        def find_root(self) -> "Context":
            return self

    told = command_line(Context())  # type: ignore[arg-type]
    assert "secret" not in told
    assert "ABC" not in told
    assert told == "phonelm-search run --storage 'postgresql://me:***@host/db' --trials 2"


def test_a_copied_results_folder_tells_them_too() -> None:
    assert run_command(SEARCH) == 0
    assert run_command(["report", "tiny.fake-phone", "-o", "r.html"]) == 0
    assert "phonelm-search search tiny --device fake-phone" in Path("r.html").read_text()
    document = json.loads(Path("r.html").read_text().split('id="study">')[1].split("</script>")[0])
    assert document["commands"][0]["command"].startswith("phonelm-search search tiny")
