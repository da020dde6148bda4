"""Where some shapes of a space are too large for the time, a search begins with others."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from phonelm_search.stages import prepare
from phonelm_search.stages.affordable import affordable_shapes, all_round_seconds

SPACE = """
name: wide
vocab_size: 512
hidden_size: [64, 128, 2048]
num_hidden_layers: {min: 1, max: 40}
head_dim: [32]
kv_groups: [1]
ffn_ratio: [2.0, 3.0]
multiple_of: 32
ffn: [gated]
hidden_act: [relu]
"""


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What is asked of a session here."""
    monkeypatch.chdir(tmp_path)
    for folder, name, text in (
        ("device_profiles", "fake-phone", "name: fake-phone\nruntime: fake\nthreads: 2\n"),
        ("search_spaces", "wide", SPACE),
    ):
        Path(folder).mkdir()
        Path(folder, f"{name}.yaml").write_text(text)
    return SimpleNamespace(setup=prepare("wide", ["fake-phone"]))


def test_the_first_shapes_are_drawn_among_those_that_the_time_is_enough_for(session: Any) -> None:
    seconds = 3 * all_round_seconds(session, session.setup.feasible)
    minutes = 6 * float(np.quantile(seconds, 0.7)) / 60 / 0.4
    ids = affordable_shapes(session, 6, minutes, seed=1)
    assert ids == affordable_shapes(session, 6, minutes, seed=1)
    assert ids != affordable_shapes(session, 6, minutes, seed=2)
    rows = session.setup.feasible.rows_of(ids)
    assert len(set(rows)) == 6
    assert seconds[rows].max() <= np.quantile(seconds, 0.7)
    assert seconds[rows].max() > np.quantile(seconds, 0.3)


def test_in_no_time_the_smallest_are_tried(session: Any) -> None:
    ids = affordable_shapes(session, 6, 1e-5, seed=0)
    shapes = [session.setup.feasible.shape(r) for r in session.setup.feasible.rows_of(ids)]
    assert len(shapes) == 6
    assert max(s.hidden_size for s in shapes) < 2048


def test_with_time_for_all_the_sampler_draws(session: Any) -> None:
    assert affordable_shapes(session, 6, 1e6, seed=0) == []
