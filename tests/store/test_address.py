"""Where a database is: any folder is its own, and no password is ever told."""

import builtins
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.engine import make_url

from helpers import measurement, small_shape
from phonelm_search.core.errors import StoreError
from phonelm_search.core.study_name import folder_name
from phonelm_search.store import Store, masked, open_optuna_storage
from phonelm_search.store.address import address_name, file_address, parse_address, sqlite_file

SHAPE = small_shape()
SECRETS = st.text(
    alphabet="abcXYZ019@/:?#&=%+ []!$'\"ü", min_size=1, max_size=12
).map(lambda s: f"S3CR{s}T")  # fmt: skip


@pytest.mark.parametrize(
    "name", ["a?b", "50%20off #", "größe 模型", "a;b", "{x}%&mode=memory", "@'q\""]
)
def test_any_folder_is_that_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    store = Store(folder)
    store.add_measurements(SHAPE, [measurement([1])])
    storage = open_optuna_storage(store)
    storage.create_new_study([], "st")
    storage.engine.dispose()
    assert sorted(p.name for p in tmp_path.iterdir()) == [name]
    assert sorted(p.name for p in folder.iterdir()) == [".phonelm.db.lock", "phonelm.db"]
    assert len(Store(folder, create=False).measurements()) == 1
    assert store.name == str(folder / "phonelm.db")
    with sqlite3.connect(folder / "phonelm.db") as connection:
        assert connection.execute("SELECT study_name FROM studies").fetchall() == [("st",)]


@given(st.text(min_size=1).filter(lambda s: "\0" not in s))
def test_a_file_is_found_again_in_its_address(name: str) -> None:
    file = Path("/x") / name
    assert sqlite_file(file_address(file)) == file


def test_a_file_of_a_sqlite_uri_is_found(tmp_path: Path) -> None:
    Store(tmp_path / "a b")
    uri = f"sqlite:///file:{tmp_path}/a%2520b/phonelm.db?mode=ro&uri=true"
    assert sqlite_file(parse_address(uri)) == tmp_path / "a b" / "phonelm.db"
    assert Store(tmp_path, url=uri, create=False).studies() == []


@pytest.mark.parametrize(
    "url",
    ["sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite:///file:x?mode=memory&uri=true"],
)
def test_a_database_in_memory_keeps_nothing_and_is_refused(url: str) -> None:
    with pytest.raises(StoreError, match=r"must keep what is measured, sqlite://.* lies in memory"):
        parse_address(url)


@given(SECRETS)
def test_no_part_of_a_password_is_told(secret: str) -> None:
    pieces = {secret[i : i + 4] for i in range(len(secret) - 3)}
    for text in (
        f"postgresql://me:{secret}@host/db",
        f"postgresql+psycopg://me:{secret}@host:5432/db?application_name=x",
        f"postgres:me:{secret}@host",
        f"sqlite://me:{secret}@host/db",
        f"mysql+nope://me:{secret}@host/db",
    ):
        try:
            told = address_name(parse_address(text))
        except StoreError as error:
            told = str(error)
        assert not [p for p in pieces if p in told and p not in "postgresql://me@host/db"]
        if "?" in secret or "&" in secret:  # it may hold a query of its own
            continue
        assert "@host" in masked(text)
        assert not [p for p in pieces if p in masked(text)]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("postgresql://me:pw@host/db", "postgresql://me:***@host/db"),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
        ("postgresql://me:p@ss/w@host/db", "postgresql://***@host/db"),
        ("postgresql://host/db?user=me&password=pw", "postgresql://host/db?user=me&password=***"),
        ("postgresql://host/db?user=me&password=p@w", "postgresql://***"),
        ("sqlite:////home/me@work/x.db", "sqlite:////home/me@work/x.db"),
        ("me:p@w@host", "***@host"),
        ("postgres:me:p://w@host", "***@host"),
        ("nonsense", "nonsense"),
    ],
)
def test_urls_are_told_without_passwords(text: str, told: str) -> None:
    assert masked(text) == told


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://me:p@ss@host/db",
        "postgresql://me:pa/ss@host/db",
        "postgresql://m/e:pass@host/db",
        "postgresql://host:5432/db?user=me&password=p@ss",
    ],
)
def test_an_ambiguous_password_is_to_be_percent_encoded(text: str) -> None:
    with pytest.raises(StoreError, match=r"must be percent-encoded \(@ as %40, / as %2F") as caught:
        parse_address(text)
    assert "ss@" not in str(caught.value)
    assert "/ss" not in str(caught.value)


def test_an_encoded_password_is_taken_by_psycopg() -> None:
    url = parse_address("postgresql://me:p%40s%2Fs@host/db")
    assert (url.password, url.drivername) == ("p@s/s", "postgresql+psycopg")
    other = "postgresql+psycopg2://me:x@host/db"
    assert parse_address(other) == make_url(other)


def test_a_sqlite_url_of_two_slashes_is_refused() -> None:
    with pytest.raises(StoreError, match=r"three slashes.*got sqlite://results/x\.db"):
        parse_address("sqlite://results/x.db")


def test_what_is_no_port_may_be_a_password() -> None:
    with pytest.raises(StoreError, match=r"number after the host's colon.*got postgresql://\*\*\*"):
        parse_address("postgresql://me:secret/db")


@pytest.mark.parametrize("url", ["postgresql://me:pw@host/db", "postgresql+psycopg2://host/db"])
def test_a_missing_driver_is_brought_by_an_extra(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    imported = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("psycopg"):
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)
        return imported(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(StoreError, match=r"No module named 'psycopg2?'; `pip install 'phonelm-s"):
        Store(tmp_path, url=url)


@given(st.text())
def test_a_studys_folder_is_one_step_down(name: str) -> None:
    root = Path("/results")
    folder = (root / folder_name(name)).resolve()
    assert folder.parent == root
    assert len(folder.name) <= 100
    assert folder.name[0].isalnum()


def test_studies_keep_their_folders_and_others_get_their_own() -> None:
    assert folder_name("slm-100m.host-cpu+x") == "slm-100m.host-cpu+x"
    others = ["../../esc", "esc", "..", ".", "", "a/b", "a_b", "a\nb", "x" * 101, "~", "C:\\x"]
    assert len({folder_name(n) for n in others}) == len(others)
    assert folder_name("../../esc").startswith("esc-")
