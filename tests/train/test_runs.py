"""Trainings of a study: what is known is read, the rest is trained, kept and gone on from."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from helpers import Told, small_shape
from phonelm_search.core.errors import TrainingError
from phonelm_search.core.records import ProxyScore
from phonelm_search.core.shape import ModelShape
from phonelm_search.store import Store
from phonelm_search.train import (
    Outcome,
    Run,
    TokenisedCorpus,
    TrainingRuns,
    TrainingSettings,
    tokens_file,
)
from phonelm_search.train.batches import Batches
from phonelm_search.train.jobs import TrainingJob, cut_off
from phonelm_search.train.pool import InlinePool

MINI, DEEP = small_shape(vocab_size=512), small_shape(vocab_size=512, num_hidden_layers=3)
OUTSIDE = small_shape(vocab_size=77)  # token ids are outside its vocabulary


class Progress(Told):
    """How far the last stage came, too."""

    total = done = 0.0

    def stage(self, title: str, total: float) -> None:
        super().stage(title, total)
        self.total, self.done = total, 0.0

    def advance(self, amount: float, detail: str = "") -> None:
        self.done += amount


class WatchedPool(InlinePool):
    """Remembers what it trained, and in which steps."""

    def __init__(self) -> None:
        super().__init__(threads=1)
        self.jobs: list[TrainingJob] = []
        self.steps: list[list[int]] = []

    def _train(self, job: TrainingJob, on_progress: Callable[[int, float], None]) -> Outcome:
        self.jobs.append(job)
        self.steps.append([])
        batch = Batches.__getitem__

        def watched(batches: Batches, step: int) -> Any:
            self.steps[-1].append(step)
            return batch(batches, step)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Batches, "__getitem__", watched)
            return super()._train(job, on_progress)


class Bench:
    """A database, a text and a pool."""

    def __init__(self, folder: Path, corpus: TokenisedCorpus, file: Path) -> None:
        self.store, self.pool, self.report = Store(folder), WatchedPool(), Progress()
        self._corpus, self._file = corpus, file

    def run(self, shape: ModelShape, tokens: int = 1500, seed: int = 0) -> Run:
        settings = TrainingSettings(
            corpus=self._corpus.digest, vocab_size=512, tokens=tokens, sequence=64, batch=4,
            warmup_steps=4, validation_chunks=16,
        )  # fmt: skip
        return Run(shape=shape, settings=settings, seed=seed)

    def runner(self, scheme: str | None = None) -> TrainingRuns:
        return TrainingRuns(
            self.store, self._file, scheme=scheme, report=self.report, pool=self.pool
        )

    def scores(self, *runs: Run, scheme: str | None = None) -> list[ProxyScore]:
        """Of a stage of these runs."""
        runner = self.runner(scheme)
        runner.stage("training", runs)
        return runner.scores(runs)

    @property
    def folders(self) -> set[str]:
        return {f.name for f in (self.store.results / "cache" / "training").glob("*/*")}


@pytest.fixture
def make(corpus: TokenisedCorpus, cache: Path, tmp_path: Path) -> Callable[[str], Bench]:
    return lambda name: Bench(tmp_path / name, corpus, tokens_file(cache, corpus))


@pytest.fixture
def bench(make: Callable[[str], Bench]) -> Bench:
    return make("results")


def test_what_is_in_the_database_is_not_trained_again(bench: Bench) -> None:
    runs = [bench.run(MINI), bench.run(DEEP), bench.run(MINI, seed=1)]
    first = bench.scores(*runs)
    assert bench.report.done == bench.report.total == sum(r.tokens for r in runs)
    assert [(s.settings_id, s.shape_id, s.seed) for s in first] == [r.key for r in runs]
    assert all(1 < (s.bits_per_byte or 0) < 9 for s in first)
    assert [s.tokens for s in first] == [r.tokens for r in runs]
    assert [s.trained for s in first] == [r.shape.as_dict() for r in runs]
    assert [s.tokens_per_parameter for s in first] == [
        r.tokens / r.shape.decoder_parameters for r in runs
    ]
    assert bench.scores(*reversed(runs)) == first[::-1]
    assert bench.report.done == bench.report.total
    assert set(bench.runner().known(runs)) == {r.key for r in runs}
    assert len(bench.pool.jobs) == 3
    # Other weights, another length: other trainings.
    others = [bench.run(DEEP, seed=1), bench.run(MINI, tokens=3000)]
    assert not bench.runner().known(others)
    bench.scores(*runs, *others)
    assert [j.seed for j in bench.pool.jobs[3:]] == [1, 0]


def test_a_longer_run_goes_on_from_the_trunk_of_a_shorter_one(
    bench: Bench, make: Callable[[str], Bench]
) -> None:
    short, long = bench.run(MINI), bench.run(MINI, tokens=4000)
    assert short.trunk == long.trunk
    bench.scores(short)
    (resumed,) = bench.scores(long)
    assert bench.pool.steps == [
        list(range(short.settings.steps)),
        list(range(short.settings.trunk_steps, long.settings.steps)),
    ]
    assert bench.report.done == bench.report.total == long.tokens
    (whole,) = make("whole").scores(long)
    assert resumed.chunk_bits == whole.chunk_bits
    assert resumed.curve[-1] == whole.curve[-1]
    # Of both in one stage the trunk counts once.
    bench.scores(short, long)
    assert bench.report.done == bench.report.total == long.tokens


def test_a_score_without_this_precision_is_decayed_again_to_the_same_bits(bench: Bench) -> None:
    run = bench.run(MINI)
    (plain,) = bench.scores(run)
    assert plain.quantised == {}
    (rounded,) = bench.scores(run, scheme="int4-b32")
    assert bench.pool.steps[1] == list(range(run.settings.trunk_steps, run.settings.steps))
    assert rounded.chunk_bits == plain.chunk_bits
    assert rounded.quantised["int4-b32"] > (rounded.bits_per_byte or 9)
    # What another precision cost stays known, and neither is made again.
    (both,) = bench.scores(run, scheme="int8-b32")
    assert set(both.quantised) == {"int4-b32", "int8-b32"}
    for scheme in (None, "int4-b32", "int8-b32"):
        assert bench.scores(run, scheme=scheme) == [both]
    assert len(bench.pool.jobs) == 3


def test_a_training_that_is_cut_off_is_an_error_and_the_finished_ones_are_kept(
    bench: Bench,
) -> None:
    runs = [bench.run(MINI), bench.run(OUTSIDE), bench.run(DEEP)]
    message = r"must come to their end, 1 did not: the training failed: .*; what was finished is"
    with pytest.raises(TrainingError, match=message):
        bench.scores(*runs)
    kept = bench.runner().known(runs)
    assert set(kept) == {runs[0].key, runs[2].key}
    bench.pool.jobs.clear()
    assert bench.scores(runs[0], runs[2]) == [kept[runs[0].key], kept[runs[2].key]]
    assert not bench.pool.jobs
    with pytest.raises(TrainingError):  # the one that was cut off is tried again, alone
        bench.scores(*runs)
    assert [j.shape for j in bench.pool.jobs] == [OUTSIDE]


def test_what_was_cut_off_once_is_trained_by_the_next_run(
    bench: Bench, make: Callable[[str], Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = bench.run(MINI)

    def killed(self: Any, job: TrainingJob, on_progress: Any) -> Any:
        return cut_off("the child process was ended by SIGKILL")

    with monkeypatch.context() as patch:
        patch.setattr(WatchedPool, "_train", killed)
        with pytest.raises(TrainingError, match="1 did not: the child process was ended by SIGK"):
            bench.scores(run)
    (found,) = bench.scores(run)
    assert not found.transient
    assert found.chunk_bits == make("other").scores(run)[0].chunk_bits


def test_a_diverged_training_is_a_result_and_not_tried_again(bench: Bench) -> None:
    run = bench.run(MINI, tokens=3000)
    run = replace(run, settings=replace(run.settings, lr_factor=1e30))
    (found,) = bench.scores(run)
    assert found.bits_per_byte is None
    assert "training diverged" in (found.reason or "")
    assert bench.scores(run, scheme="int4-b32") == [found]
    assert len(bench.pool.jobs) == 1


def test_forgotten_trainings_lose_their_rows_and_their_checkpoints(bench: Bench) -> None:
    runs = [bench.run(MINI), bench.run(MINI, seed=1), bench.run(DEEP)]
    first = bench.scores(*runs)
    ids = [f"{r.shape.shape_id}-s{r.seed}" for r in runs]
    assert bench.folders == set(ids)
    bench.runner().forget(first[:1])
    assert bench.folders == set(ids[1:])
    assert set(bench.runner().known(runs)) == {r.key for r in runs[1:]}
    again = bench.scores(*runs)
    assert [j.shape for j in bench.pool.jobs[3:]] == [MINI]
    # From the first step on, to the same bits.
    assert bench.pool.steps[-1] == list(range(runs[0].settings.steps))
    assert [s.chunk_bits for s in again] == [s.chunk_bits for s in first]
