"""The house rules that a machine can check."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "src").rglob("*.py"))


def test_imports_point_downwards() -> None:
    script = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [str(script), "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT / "src")))
def test_files_stay_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


def test_shipped_yaml_is_packed_into_the_wheel() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    for folder in ("search_spaces", "device_profiles"):
        assert f'{folder} = "phonelm_search/{folder}"' in text
        assert list((ROOT / folder).glob("*.yaml"))


def test_every_shipped_device_profile_loads() -> None:
    from phonelm_search.backends.registry import RUNTIMES
    from phonelm_search.devices import DEVICES, load_device

    for name in DEVICES.names():
        profile = load_device(name)
        assert profile.name == name
        assert profile.runtime in RUNTIMES
        assert profile.runtime != "fake"
