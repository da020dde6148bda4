"""Compiling the C++ runner, and what it is compiled from."""

import hashlib
import shutil
from pathlib import Path

import pytest

from phonelm_search.backends.native import toolchain
from phonelm_search.core.errors import ConfigurationError


def test_a_missing_compiler_is_said_with_how_to_install_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ConfigurationError, match=r"needs no-such-compiler on PATH .* apt-get"):
        toolchain.build_runner(toolchain.HOST)


def test_a_runner_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = tmp_path / "compiler"
    compiler.write_text(
        f'#!/bin/sh\n[ $1 = --version ] && echo 1.0 && exit\necho "$@" >>{tmp_path}/calls\n'
        'while [ $1 != -o ]; do shift; done; echo runner >"$2"\n'
    )
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setenv("PHONELM_CACHE", str(tmp_path / "cache"))
    first = toolchain.build_runner(toolchain.HOST)
    assert first.read_text() == "runner\n"
    assert toolchain.build_runner(toolchain.HOST) == first
    (call,) = (tmp_path / "calls").read_text().splitlines()
    assert str(toolchain.SOURCES / "main.cpp") in call
    assert [p.name for p in first.parent.iterdir()] == [first.name]
    # Another release of the compiler builds it anew.
    compiler.write_text(compiler.read_text().replace("1.0", "1.1"))
    assert toolchain.build_runner(toolchain.HOST) != first
    assert len((tmp_path / "calls").read_text().splitlines()) == 2


def test_the_json_library_is_the_published_one() -> None:
    header = (toolchain.SOURCES / "third_party/nlohmann/json.hpp").read_bytes()
    # Of release 3.11.2, https://github.com/nlohmann/json/releases/tag/v3.11.2
    published = "665fa14b8af3837966949e8eb0052d583e2ac105d3438baba9951785512cf921"
    assert hashlib.sha256(header).hexdigest() == published


def test_the_digest_of_the_source_covers_every_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = shutil.copytree(toolchain.SOURCES, tmp_path / "runner")
    monkeypatch.setattr(toolchain, "SOURCES", copy)
    before = toolchain.source_digest()
    for path in sorted(p for p in copy.rglob("*") if p.is_file()):
        content = path.read_bytes()
        path.write_bytes(content + b"\n")
        assert toolchain.source_digest() != before
        path.write_bytes(content)
    assert toolchain.source_digest() == before
