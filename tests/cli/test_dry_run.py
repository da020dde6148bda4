"""What a dry run may not do."""

from pathlib import Path

import pytest

from phonelm_search.backends import host, planned_cache_bytes
from phonelm_search.cli.main import run_command
from phonelm_search.core.errors import ConfigurationError
from phonelm_search.devices import DeviceProfile, load_device


def test_a_dry_run_neither_builds_nor_starts_the_runner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PHONELM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert run_command(["run", "tiny", "--device", "host-native", "--dry-run"]) == 0
    assert "130 feasible shapes" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_a_plan_takes_the_cache_that_this_machine_tells() -> None:
    for name in ("host-native", "host-cpu"):
        assert planned_cache_bytes(load_device(name)) == host.last_level_cache_bytes()


def test_a_plan_refuses_what_a_run_would() -> None:
    profile = DeviceProfile(
        name="here", runtime="onnxruntime-native", precision="qdq-a16w8", threads=1,
        execution_provider="QNNExecutionProvider",
    )  # fmt: skip
    with pytest.raises(ConfigurationError, match="must be a phone"):
        planned_cache_bytes(profile)
