"""Files that people give."""

import os
from pathlib import Path

import pytest

from phonelm_search.core.errors import ConfigurationError
from phonelm_search.core.textfile import read_text


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("name: é", encoding="utf-8-sig")
    assert read_text(file) == "name: é"
    for other in ("utf-16", "utf-16-be"):
        file.write_bytes("\ufeffname".encode(other) if other != "utf-16" else "n".encode(other))
        with pytest.raises(ConfigurationError, match=r"a\.yaml must be UTF-8, it is UTF-16; save"):
            read_text(file)
    file.write_bytes(b"ab\xff")
    with pytest.raises(ConfigurationError, match=r"a\.yaml must be UTF-8: byte 2 is none"):
        read_text(file)


def test_what_is_no_file_of_a_sane_size_is_refused_at_once(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, Path("/dev/zero")):
        with pytest.raises(ConfigurationError, match=f"^{path} must be a regular file"):
            read_text(path)
    with pytest.raises(ConfigurationError, match="must be readable: Is a directory"):
        read_text(tmp_path)
    with pytest.raises(ConfigurationError, match="must be readable: No such file"):
        read_text(tmp_path / "absent")
    with pytest.raises(ConfigurationError, match="must be the name of a file"):
        read_text(Path("a\0b"))
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(10**12)
    with pytest.raises(ConfigurationError, match="must be no larger than 10 MB"):
        read_text(large)
