"""Time that a person gives."""

import math
import time

import pytest

from phonelm_search.core.deadline import Deadline


def test_a_deadline_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    deadline = Deadline(60.0)
    assert (deadline.left, deadline.ends) == (60.0, True)
    now[0] += 50
    assert deadline.left == 10.0
    earlier = deadline.earlier(30.0)
    assert earlier.left == -20.0  # it has passed


def test_without_seconds_there_is_none() -> None:
    assert Deadline().left == math.inf
    assert not Deadline().ends
    assert not Deadline().earlier(30.0).ends
