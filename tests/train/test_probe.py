"""Which way of training is fastest, where one of them hangs or breaks the child."""

import json
from pathlib import Path
from typing import Any

import pytest

from helpers import outlives, small_shape
from phonelm_search.core.errors import TrainingError
from phonelm_search.train import TokenisedCorpus, TrainingSettings, probe, tokens_file
from phonelm_search.train.training import step_seconds

SHAPE = small_shape(vocab_size=512)
PLAN = TrainingSettings(corpus="", vocab_size=512, tokens=10**7)
FP32 = {"number_type": "fp32", "compiled": False, "tokens_per_s": {"fp32": 10.0}, "note": None}
BF16 = {
    "number_type": "bf16", "compiled": False, "tokens_per_s": {"fp32": 10.0, "bf16": 20.0},
    "note": None,
}  # fmt: skip
CHILD = """
import json, os, subprocess, sys, time
from pathlib import Path
from phonelm_search.work import serve

def run(job, report):
    for so_far in json.loads(os.environ["SO_FAR"]):
        report(so_far)
    compiler = subprocess.Popen(["sleep", "600"])
    Path(os.environ["PIDS"]).write_text(f"{os.getpid()} {compiler.pid}")
    if os.environ["ENDING"] == "killed":
        compiler.kill()
        os.kill(os.getpid(), 9)
    time.sleep(600)

sys.exit(serve(run))
"""


def chosen(
    so_far: list[dict[str, Any]], ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> probe.Acceleration:
    """The choice of a child that tells so much and then ends like this; none of it is left."""
    (tmp_path / "slow_probe.py").write_text(CHILD)
    monkeypatch.setattr(probe, "_CHILD", "slow_probe")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    variables = {"SO_FAR": json.dumps(so_far), "ENDING": ending, "PIDS": str(tmp_path / "pids")}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    try:
        return probe.choose_acceleration(SHAPE, PLAN, tmp_path / "no-tokens", threads=1, seconds=5)
    finally:
        for pid in map(int, (tmp_path / "pids").read_text().split()):
            assert not outlives(pid)


@pytest.mark.parametrize(
    ("ending", "note"),
    [
        ("hangs", "timing one way to train must finish within 5 s and did not"),
        ("killed", "the child process was ended by SIGKILL; most likely memory ran out"),
    ],
)
@pytest.mark.parametrize("so_far", [[FP32], [FP32, BF16]], ids=["bf16", "compiled"])
def test_a_way_to_train_that_hangs_or_breaks_is_not_chosen(
    so_far: list[dict[str, Any]], ending: str, note: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    found = chosen(so_far, ending, tmp_path, monkeypatch).as_dict()
    told = f"another way to train could not be tried: {note}"
    assert found == {**so_far[-1], "note": told}


def test_where_even_the_first_way_hangs_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = "the speed of training could not be measured: timing .* must finish within 5 s"
    with pytest.raises(TrainingError, match=message):
        chosen([], "hangs", tmp_path, monkeypatch)


def test_the_choice_so_far_is_told_before_another_way_is_tried(
    corpus: TokenisedCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[object] = []

    def step_seconds(
        shape: object, corpus: object, plan: TrainingSettings, steps: int, limit: float = 9
    ) -> list[float]:
        told.append(f"{plan.number_type} {plan.compiled}")
        return [{"fp32": 204.8, "bf16": 102.4}[plan.number_type]] * steps

    monkeypatch.setattr(probe, "step_seconds", step_seconds)
    probe.compare_variants(SHAPE, corpus, PLAN, lambda so_far: told.append(so_far.as_dict()))
    assert told == ["fp32 False", FP32, "bf16 False", BF16, "bf16 True"]


def test_the_fastest_way_to_train_is_measured(corpus: TokenisedCorpus, cache: Path) -> None:
    plan = TrainingSettings(corpus=corpus.digest, vocab_size=512, tokens=20_000)
    found = probe.choose_acceleration(SHAPE, plan, tokens_file(cache, corpus), threads=1)
    assert set(found.tokens_per_s) == {"fp32", "bf16"}
    fastest = max(found.tokens_per_s, key=lambda n: found.tokens_per_s[n])
    assert found.number_type in ("fp32", fastest)
    assert not found.compiled  # 20k tokens are over before a compiler has started
    assert len(step_seconds(SHAPE, corpus, plan, 3)) == 3
    assert len(step_seconds(SHAPE, corpus, plan, 3, limit=0.0)) == 1  # hopeless: no more of it


def test_the_fastest_way_to_train_is_taken(
    corpus: TokenisedCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = {("fp32", False): 1.0, ("bf16", False): 0.5, ("bf16", True): 0.2}
    monkeypatch.setattr(
        probe, "step_seconds",
        lambda shape, corpus, plan, steps, limit=9: [seconds[plan.number_type, plan.compiled]] * 3,
    )  # fmt: skip
    chosen = probe.compare_variants(SHAPE, corpus, PLAN)
    assert (chosen.number_type, chosen.compiled) == ("bf16", True)
    del seconds["bf16", True]
    chosen = probe.compare_variants(SHAPE, corpus, PLAN)
    assert (chosen.number_type, chosen.compiled) == ("bf16", False)
