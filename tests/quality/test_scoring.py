"""Scoring a set of shapes: what is trained, kept, stopped, and not trained again."""

import contextlib
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from helpers import small_shape
from phonelm_search.core.errors import TrainingError
from phonelm_search.core.precision import get_precision
from phonelm_search.core.shape import ModelShape
from phonelm_search.quality import ScoreSettings, Scoring, plan_scoring, score_shapes
from phonelm_search.quality import scoring as s
from phonelm_search.quality.learning_rate import (
    LearningRateCheck,
    choose_factor,
    extremes,
    learning_rate_runs,
)
from phonelm_search.store import Store
from phonelm_search.train import (
    Candidate,
    TokenisedCorpus,
    TrainingSettings,
    make_candidates,
    tokens_file,
)
from phonelm_search.train.probe import choose_acceleration, compare_variants

SCHEME = get_precision("int4-b32")
PLAIN = {"number_type": "fp32", "compiled": False, "tokens_per_s": {}, "note": None}
SETTINGS = ScoreSettings(tokens_per_parameter=0.02, settled={"acceleration": PLAIN})


HALVED: dict[str, Any] = {"finalists": 2, "tokens_per_parameter": 0.1}
"""Rungs after some steps of a few thousand tokens, in `short_units`."""


@pytest.fixture
def short_units(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings of a quarter of the least length: what is compared here are numbers of one kind."""
    monkeypatch.setattr(s, "_TOKEN_UNIT", 4096)


class Recorder:
    """Progress that a test looks at."""

    def __init__(self) -> None:
        self.stages: list[tuple[str, float]] = []
        self.notes: list[str] = []
        self.done = 0.0

    def stage(self, title: str, total: float) -> None:
        self.stages.append((title, total))
        self.done = 0.0

    def advance(self, amount: float, detail: str = "") -> None:
        self.done += amount

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def store(tmp_path: Path, corpus: TokenisedCorpus, cache: Path) -> Store:
    found = Store(tmp_path / "results")
    target = tokens_file(found.results / "cache", corpus)
    target.parent.mkdir(parents=True)
    target.symlink_to(tokens_file(cache, corpus))
    return found


def run(
    store: Store, shapes: list[ModelShape], corpus: TokenisedCorpus, **changes: Any
) -> tuple[Scoring, Recorder]:
    report = Recorder()
    retrain = changes.pop("retrain", False)
    settings = replace(SETTINGS, **changes)
    found = score_shapes(
        store, "study", shapes, settings, corpus, scheme=SCHEME, report=report, retrain=retrain
    )
    return found, report


def bits(found: Scoring) -> dict[str, float | None]:
    return {i: x.bits_per_byte for i, x in found.scores.items()}


def test_the_plan_gives_all_the_same_tokens() -> None:
    shapes = [small_shape(), small_shape(num_hidden_layers=3)]
    plan = plan_scoring(shapes, SETTINGS)
    least = 0.02 * plan.candidates[1].trained.decoder_parameters
    assert plan.tokens == 16_384 * math.ceil(least / 16_384)
    # Another typical size is another width factor: none of these scores compares with it.
    wide = [small_shape(hidden_size=128, head_dim=32)]
    plans = [
        plan_scoring(wide, replace(SETTINGS, typical=n, budget=70_000)) for n in (140_000, 150_000)
    ]
    assert plans[0].width_factor > plans[1].width_factor


def test_a_quick_look_has_one_seed_and_more_tokens_have_two() -> None:
    assert ScoreSettings(tokens_per_parameter=1.99).all_seeds == (0,)
    assert ScoreSettings(tokens_per_parameter=2, seed=5).all_seeds == (5, 6)
    assert ScoreSettings(seeds=3).all_seeds == (0, 1, 2)
    plan = plan_scoring([small_shape()], SETTINGS)
    quick, sure = (
        plan.estimated_seconds(replace(SETTINGS, tokens_per_parameter=n), 1) for n in (0.5, 2)
    )
    assert sure > 2 * quick


@pytest.mark.usefixtures("inline_training", "short_units")
def test_scores_are_kept_and_not_trained_again(store: Store, corpus: TokenisedCorpus) -> None:
    shapes = [small_shape(), small_shape(num_hidden_layers=3)]
    first, report = run(store, shapes, corpus, seeds=2)
    assert report.done == report.stages[-1][1] > 0
    assert all(1 < (b or 0) < 9 for b in bits(first).values())
    assert {len(x.finished) for x in first.scores.values()} == {2}
    assert all(
        (x.quantised("int4-b32") or 0) > (x.bits_per_byte or 9) for x in first.scores.values()
    )
    assert len({r.tokens for x in first.scores.values() for r in x.runs}) == 1
    again, report = run(store, shapes, corpus, seeds=2)
    assert again == first
    assert report.done == report.stages[-1][1]
    # One that was killed is made again, with the same number.
    (lost,) = [r for r in first.scores[shapes[0].shape_id].runs if r.seed == 0]
    store.add_score(shapes[0], replace(lost, bits_per_byte=None, transient=True))
    assert bits(run(store, shapes, corpus, seeds=2)[0]) == bits(first)
    kept = store.scores(shape_ids=[shapes[0].shape_id], settings_id=first.settings.settings_id)
    assert {r.created_at >= lost.created_at for r in kept} == {True}
    assert bits(run(store, shapes, corpus, seeds=2, retrain=True)[0]) == bits(first)


@pytest.mark.usefixtures("inline_training", "short_units")
def test_halving_stops_the_weak_and_says_where(store: Store, corpus: TokenisedCorpus) -> None:
    shapes = [small_shape(num_hidden_layers=n) for n in (1, 2, 3, 4, 5)]
    found, report = run(store, shapes, corpus, **HALVED)
    finished = [i for i, x in found.scores.items() if x.bits_per_byte is not None]
    stopped = [x.first for x in found.scores.values() if x.bits_per_byte is None]
    assert len(finished) == 2
    assert all(x.stopped and "stopped by halving after" in (x.reason or "") for x in stopped)
    assert {len(x.rungs) for x in stopped} == {1, 2}
    assert all(len(found.scores[i].first.rungs) == 2 for i in finished)
    assert report.done == pytest.approx(report.stages[-1][1])
    again, report = run(store, shapes, corpus, **HALVED)
    assert again == found
    # Among other rivals a stopped one may come further; nothing that was reported is trained again.
    # The largest stays: it decides how many tokens all train on.
    rivals = [x for x in shapes if x.shape_id not in finished or x is shapes[-1]]
    other, _ = run(store, rivals, corpus, **HALVED)
    assert other.settings == found.settings
    assert sum(b is not None for b in bits(other).values()) >= 2
    for shape_id, score in other.scores.items():
        before = found.scores[shape_id].first.rungs
        assert score.first.rungs[: len(before)] == before
    # One that was finished among other rivals keeps its score, even where it is weak.
    every, _ = run(store, shapes, corpus, **HALVED)
    for shape_id, value in {**bits(found), **bits(other)}.items():
        if value is not None:
            assert bits(every)[shape_id] == value


@pytest.mark.usefixtures("inline_training", "short_units")
def test_a_training_that_is_cut_off_judges_nobody(
    store: Store, corpus: TokenisedCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = [small_shape(num_hidden_layers=n) for n in (1, 2, 3)]
    plain = s.TrainingRuns.outcomes

    def cut_off(self: Any, runs: Any, on_done: Any = lambda run, found: None) -> Any:
        def lost(run: Any, outcome: Any) -> None:
            on_done(run, replace(outcome, chunk_bits=(), transient=True, reason="killed"))

        return [
            replace(o, chunk_bits=(), transient=True, reason="killed")
            for o in plain(self, runs, lost)
        ]

    monkeypatch.setattr(s.TrainingRuns, "outcomes", cut_off)
    with pytest.raises(TrainingError, match=r"3 did not: killed; .* run again to continue"):
        run(store, shapes, corpus, **HALVED)
    monkeypatch.setattr(s.TrainingRuns, "outcomes", plain)
    found, _ = run(store, shapes, corpus, **HALVED)
    assert sum(b is not None for b in bits(found).values()) == 2


def test_equal_miniatures_are_trained_once(store: Store, corpus: TokenisedCorpus) -> None:
    # They differ in what the proxy replaces by its own: here in the vocabulary.
    same = [small_shape(), small_shape(vocab_size=640)]
    found, report = run(store, same, corpus)  # by a real child process
    first, second = bits(found).values()
    assert first == second
    assert report.done == report.stages[-1][1]
    folders = list((store.results / "cache" / "training" / found.settings.trunk_id).iterdir())
    assert len(folders) == 1


class KilledError(RuntimeError):
    """Stands for a kill between two rungs."""


@pytest.mark.usefixtures("inline_training", "short_units")
def test_a_killed_halving_comes_to_the_same_numbers(
    store: Store, corpus: TokenisedCorpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = [small_shape(num_hidden_layers=n) for n in (1, 2, 3, 4, 5)]
    other = Store(tmp_path / "whole")
    cache = other.results / "cache"
    cache.mkdir(parents=True)
    tokens_file(cache, corpus).symlink_to(tokens_file(store.results / "cache", corpus).resolve())
    whole, _ = run(other, shapes, corpus, **HALVED)
    for name in ("report", "stop", "finish"):
        plain = getattr(s.Halving, name)
        calls = 0

        def once(self: Any, *args: Any, plain: Any = plain) -> None:
            nonlocal calls
            calls += 1
            if calls == 3:
                raise KilledError
            plain(self, *args)

        monkeypatch.setattr(s.Halving, name, once)
        with contextlib.suppress(KilledError):
            run(store, shapes, corpus, **HALVED)
        monkeypatch.setattr(s.Halving, name, plain)
    resumed, _ = run(store, shapes, corpus, **HALVED)
    assert bits(resumed) == bits(whole)
    assert [x.first.rungs for x in resumed.scores.values()] == [
        x.first.rungs for x in whole.scores.values()
    ]


def candidates(*shapes: ModelShape) -> list[Candidate]:
    return make_candidates(shapes, vocab_size=512, typical=1, budget=None)


def test_the_learning_rate_is_checked_on_the_two_most_different() -> None:
    sizes = candidates(small_shape(hidden_size=128), small_shape(), small_shape(hidden_size=96))
    assert [c.shape.hidden_size for c in extremes(sizes)] == [64, 128]
    deep = small_shape(num_hidden_layers=4, intermediate_size=48)
    alike = candidates(deep, small_shape(intermediate_size=160), small_shape(intermediate_size=161))
    assert [c.shape.num_hidden_layers for c in extremes(alike)] == [2, 4]
    assert len(extremes(candidates(small_shape()))) == 1
    plan = TrainingSettings(
        corpus="", vocab_size=512, tokens=400_000, budget=None, width_factor=1.0
    )
    runs = learning_rate_runs(alike, plan, seed=3)
    assert [r.settings.lr_factor for r in runs] == [0.5, 1.0, 2.0] * 2
    assert {r.settings.tokens for r in runs} == {100_000}
    assert {r.seed for r in runs} == {3}


@pytest.mark.parametrize(
    ("bits_per_byte", "chosen"),
    [
        ({"a": (2.2, 2.1, 2.3), "b": (2.0, 1.9, 2.2)}, 1.0),
        ({"a": (2.2, 2.1, 2.0), "b": (2.0, 1.9, 1.8)}, 2.0),
        ({"a": (2.2, 2.1, 2.09), "b": (2.0, 1.9, 1.89)}, 1.0),  # not worth it
        ({"a": (2.0, 2.1, 2.2), "b": (2.0, 1.8, 1.9)}, 1.0),
        ({"a": (2.0, None, None), "b": (2.0, 1.9, None)}, 0.5),
    ],
)
def test_a_learning_rate_is_changed_only_for_a_real_gain_of_both(
    bits_per_byte: dict[str, tuple[float | None, ...]], chosen: float
) -> None:
    assert choose_factor(bits_per_byte) == chosen


def test_what_a_learning_rate_gives_up_is_told() -> None:
    check = LearningRateCheck(
        factors=(0.5, 1.0, 2.0), bits_per_byte={"a": (2.0, 2.1, 2.2), "b": (2.0, 1.8, 1.9)},
        chosen=1.0, tokens=5,
    )  # fmt: skip
    assert check.given_up == {"a": pytest.approx(0.1), "b": 0.0}
    assert LearningRateCheck.from_dict(check.as_dict()) == check


@pytest.mark.usefixtures("inline_training")
def test_the_check_is_made_once_and_kept(
    store: Store, corpus: TokenisedCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s, "QUICK_LOOK", 0.01)
    shapes = [small_shape(), small_shape(num_hidden_layers=4)]
    found, report = run(store, shapes, corpus, seeds=1)
    assert "checking the learning rate" in [title for title, _ in report.stages]
    check = LearningRateCheck.from_dict(found.settled["learning_rate"])
    assert set(check.bits_per_byte) == {x.shape_id for x in shapes}
    assert found.settings.lr_factor == check.chosen
    again, report = run(store, shapes, corpus, seeds=1, settled=found.settled)
    assert again == found
    assert "checking the learning rate" not in [title for title, _ in report.stages]


def test_the_fastest_way_to_train_is_measured_and_kept(
    store: Store, corpus: TokenisedCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = small_shape(vocab_size=512)
    plan = TrainingSettings(
        corpus=corpus.digest, vocab_size=512, tokens=20_000, budget=None, width_factor=1.0
    )
    file = tokens_file(store.results / "cache", corpus)
    found = choose_acceleration(shape, plan, file, threads=1)
    assert set(found.tokens_per_s) == {"fp32", "bf16"}
    fastest = max(found.tokens_per_s, key=lambda n: found.tokens_per_s[n])
    assert found.number_type in ("fp32", fastest)
    assert not found.compiled  # 20k tokens are over before a compiler has started

    from phonelm_search.train import probe
    from phonelm_search.train.training import step_seconds

    assert len(step_seconds(shape, corpus, plan, 3)) == 3
    assert len(step_seconds(shape, corpus, plan, 3, limit=0.0)) == 1  # hopeless: no more of it

    seconds = {("fp32", False): 1.0, ("bf16", False): 0.5, ("bf16", True): 0.2}
    monkeypatch.setattr(
        probe, "step_seconds",
        lambda shape, corpus, plan, steps, limit=9: [seconds[plan.number_type, plan.compiled]] * 3,
    )  # fmt: skip
    long = replace(plan, tokens=10**7)
    chosen = compare_variants(shape, corpus, long)
    assert (chosen.number_type, chosen.compiled) == ("bf16", True)
    del seconds["bf16", True]
    chosen = compare_variants(shape, corpus, long)
    assert (chosen.number_type, chosen.compiled) == ("bf16", False)
    assert "layers could not be compiled" in (chosen.note or "")
