"""Shapes that a person names: what is refused, and when."""

from pathlib import Path

import pytest

from helpers import Told
from phonelm_search.core.errors import ConfigurationError
from phonelm_search.stages import ProfilePlan, profile_shapes
from phonelm_search.store import Store


def test_a_wrong_option_is_refused_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("device_profiles").mkdir()
    Path("device_profiles/fake-phone.yaml").write_text("name: fake-phone\nruntime: fake\n")
    store = Store(Path("results"))
    plan = ProfilePlan(
        shapes=["tiny-llama"], devices=["fake-phone", "snapdragon-npu-sim"], method="blocks"
    )
    with pytest.raises(ConfigurationError, match="--method blocks is for processors, snapdragon"):
        profile_shapes(store, plan, report=Told())
    assert store.measurements() == []
