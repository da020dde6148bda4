"""Quantising in a child process gives what it gives in this one, and ends alone."""

import contextlib
import hashlib
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from npu.chip import A16W8, chip, shape, text
from phonelm_search.backends.qnn import quantising
from phonelm_search.backends.qnn.calibration import CALIBRATION_VERSION, quantised
from phonelm_search.backends.qnn.quantising import quantised_apart
from phonelm_search.core.errors import MeasurementError
from phonelm_search.core.workload import Workload, decode, prefill
from phonelm_search.graph import run_graph
from phonelm_search.stages.compile import calibration_tokens
from phonelm_search.store import Store


@pytest.mark.parametrize("work", [prefill(16), decode(24)], ids=["prefill", "decode"])
def test_a_child_makes_the_same_graph(work: Workload, tmp_path: Path) -> None:
    (tmp_path / "apart").mkdir()
    here = quantised(shape(), work, A16W8, text(), tmp_path / "here")
    apart = quantised_apart(shape(), work, chip(), text(), tmp_path / "apart")
    assert apart.graph == here.graph
    assert apart.quantised.borders == here.quantised.borders
    for name, values in here.expected.items():
        np.testing.assert_array_equal(apart.expected[name], values)
    inputs = here.quantised.feed(here.test)
    ours, theirs = (run_graph(x.quantised.path, [inputs])[0] for x in (here, apart))
    for name, values in ours.items():
        np.testing.assert_array_equal(theirs[name], values)


def test_text_that_is_too_short_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(
        MeasurementError,
        match=r"^quantising pp200 of .*: the text must have more than 200 tokens, it has 150 \(sta",
    ) as no:
        quantised_apart(shape(), prefill(200), chip(), text()[:150], tmp_path)
    assert no.value.stage == "compile"


def test_a_child_that_memory_runs_out_for_is_one_failed_shape(tmp_path: Path) -> None:
    ended = threading.Event()

    def kill() -> None:
        while not ended.is_set():
            for entry in Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError):
                    words = (entry / "cmdline").read_text()
                    parent = (entry / "stat").read_text().rsplit(")", 1)[1].split()[1]
                    if "quantising_child" in words and int(parent) == os.getpid():
                        os.kill(int(entry.name), signal.SIGKILL)
                        return
            time.sleep(0.02)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        with pytest.raises(MeasurementError, match="most likely memory ran out") as no:
            quantised_apart(shape(), prefill(16), chip(), text(), tmp_path)
    finally:
        ended.set()
        killer.join()
    assert no.value.stage == "memory"
    assert no.value.transient


def test_a_shape_that_does_not_fit_into_memory_is_not_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantising, "available_bytes", lambda: 4_000_000)
    with pytest.raises(MeasurementError, match=r"needs about 7\.22 MB, 4 MB are avail") as no:
        quantised_apart(shape(), prefill(16), chip(), text(), tmp_path)
    assert no.value.stage == "memory"
    assert not list(tmp_path.iterdir())


def test_another_text_counts_the_version_up(tmp_path: Path) -> None:
    """Contexts are kept by the version, not by the text."""
    tokens = calibration_tokens(Store(tmp_path))
    digest = hashlib.sha256(tokens.tobytes()).hexdigest()[:12]
    assert (digest, CALIBRATION_VERSION) == ("80edab02413a", 1), "count CALIBRATION_VERSION up"
