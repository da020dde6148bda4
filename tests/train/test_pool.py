"""Where trainings run: in children or in this process, with the same outcomes."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from helpers import Told, small_shape
from phonelm_search.quality import Rung, settle_acceleration
from phonelm_search.store import Store
from phonelm_search.train import (
    Outcome,
    Run,
    TokenisedCorpus,
    TrainingRuns,
    TrainingSettings,
    tokens_file,
)
from phonelm_search.train.jobs import TrainingJob
from phonelm_search.train.pool import ChildPool, InlinePool, usual_workers
from phonelm_search.work import MemoryLimit

MINI = small_shape(vocab_size=512)
OUTSIDE = small_shape(vocab_size=77)  # token ids are outside its vocabulary


def settings_for(of: TokenisedCorpus, **changes: Any) -> TrainingSettings:
    base: dict[str, Any] = {
        "corpus": of.digest, "vocab_size": 512, "tokens": 600, "sequence": 64, "batch": 4,
        "warmup_steps": 4, "validation_chunks": 32,
    }  # fmt: skip
    return TrainingSettings(**{**base, **changes})


def test_a_pool_in_this_process_comes_to_the_same_bits(
    corpus: TokenisedCorpus, cache: Path, tmp_path: Path
) -> None:
    plan = settings_for(corpus, tokens=1500)
    file = tokens_file(cache, corpus)

    def jobs(folder: str) -> list[TrainingJob]:
        return [
            TrainingJob(
                shape=shape, settings=plan, tokens_file=file, seed=seed, scheme="int4-b32",
                checkpoints=tmp_path / folder / str(i),
            )
            for i, (shape, seed) in enumerate([(MINI, 0), (MINI, 1), (OUTSIDE, 0)])
        ]  # fmt: skip

    apart: dict[int, Outcome] = {}
    here: dict[int, Outcome] = {}
    seen: list[tuple[int, int, float]] = []
    threads = torch.get_num_threads()
    with ChildPool(2) as pool:
        assert pool.threads == 1
        pool.run(jobs("apart"), on_progress=lambda *_: None, on_done=apart.__setitem__)
    InlinePool(threads=1).run(
        jobs("here"), on_progress=lambda *told: seen.append(told), on_done=here.__setitem__
    )
    assert torch.get_num_threads() == threads
    for i in range(2):
        assert replace(here[i], seconds=0.0) == replace(apart[i], seconds=0.0)
        files = [list((tmp_path / folder / str(i)).iterdir()) for folder in ("here", "apart")]
        states = [load_file(file) for (file,) in files]
        assert states[0].keys() == states[1].keys()
        assert all(torch.equal(t, states[1][name]) for name, t in states[0].items())
        assert (i, *here[i].curve[-1]) in seen
    assert here[2].transient
    assert "the training failed" in (here[2].reason or "")


def test_a_full_disk_reads_the_same_in_both_pools(
    corpus: TokenisedCorpus, cache: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    job = TrainingJob(
        shape=MINI, settings=settings_for(corpus), seed=0,
        tokens_file=tokens_file(cache, corpus), checkpoints=tmp_path / "file" / "below",
    )  # fmt: skip
    done: list[Outcome] = []
    for pool in (ChildPool(1), InlinePool()):
        pool.run([job], on_progress=lambda *_: None, on_done=lambda _, o: done.append(o))
        pool.close()
    assert done[0] == done[1]
    assert done[0].transient


def test_an_error_of_who_listens_is_not_taken_for_the_trainings(
    corpus: TokenisedCorpus, cache: Path, tmp_path: Path
) -> None:
    job = TrainingJob(
        shape=MINI, settings=settings_for(corpus), seed=0,
        tokens_file=tokens_file(cache, corpus), checkpoints=tmp_path,
    )  # fmt: skip

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    for pool in (ChildPool(1), InlinePool()):
        with pytest.raises(ZeroDivisionError):
            pool.run([job], on_progress=broken, on_done=lambda i, outcome: None)
        pool.close()


def test_a_pool_that_is_interrupted_ends_its_children_at_once(
    corpus: TokenisedCorpus, cache: Path, tmp_path: Path
) -> None:
    settings = settings_for(corpus, tokens=10**8)
    jobs = [
        TrainingJob(
            shape=MINI, settings=settings, tokens_file=tokens_file(cache, corpus), seed=seed,
            checkpoints=tmp_path / str(seed),
        )
        for seed in range(3)
    ]  # fmt: skip
    pool = ChildPool(2)
    begun: list[float] = []

    def interrupt(*_: object) -> None:
        begun.append(time.monotonic())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pool.run(jobs, on_progress=interrupt, on_done=lambda i, outcome: None)
    assert time.monotonic() - begun[0] < 10


def test_runs_train_where_they_are_told_to(
    corpus: TokenisedCorpus, cache: Path, tmp_path: Path
) -> None:
    shapes = [MINI, small_shape(vocab_size=512, num_hidden_layers=3)]
    plan, file = settings_for(corpus, tokens=1500), tokens_file(cache, corpus)
    rungs = [Rung(shape=s, tokens=plan.tokens) for s in shapes]
    settled: dict[str, Any] = {}
    found = []
    for name, pool in (("apart", None), ("here", InlinePool(threads=1))):
        store, told = Store(tmp_path / name), Told()
        with TrainingRuns(store, file, scheme="int4-b32", report=told, pool=pool) as runner:
            if pool is None:
                assert isinstance(runner.pool, ChildPool)
            measured = settle_acceleration(rungs, plan, 1.0, runner, told)
            assert set(measured["acceleration"]["tokens_per_s"]) == {"fp32", "bf16"}
            assert measured["speed"] > 0
            # What is faster here is another matter at another moment.
            settled = settled or measured["acceleration"]
            settings = replace(
                plan, number_type=settled["number_type"], compiled=settled["compiled"]
            )
            found.append(
                [
                    s.bits_per_byte
                    for s in runner.scores(
                        [Run(shape=s, settings=settings, seed=0) for s in shapes]
                    )
                ]
            )
    assert found[0] == found[1]
    assert None not in found[0]


@pytest.mark.parametrize(
    ("limit", "workers"), [(None, 8), (2**40, 8), (2_000_000_000, 2), (500_000_000, 1)]
)
def test_a_containers_memory_bounds_how_many_train_at_once(
    monkeypatch: pytest.MonkeyPatch, limit: int | None, workers: int
) -> None:
    found = MemoryLimit(limit_bytes=limit, available_bytes=0) if limit else None
    monkeypatch.setattr("phonelm_search.train.pool.memory_limit", lambda: found)
    monkeypatch.setattr("phonelm_search.train.pool.usable_threads", lambda: 8)
    assert usual_workers() == workers
