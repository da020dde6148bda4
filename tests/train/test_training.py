"""Training one candidate: the schedule, the text it sees, divergence, memory, resuming."""

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from helpers import small_shape
from phonelm_search.core.decoder import Decoder
from phonelm_search.core.errors import TrainingError
from phonelm_search.core.precision import get_precision
from phonelm_search.train import Outcome, TokenisedCorpus, TrainingSettings, tokens_file
from phonelm_search.train import training as t
from phonelm_search.train.batches import Batches, validation_chunks
from phonelm_search.train.jobs import TrainingJob
from phonelm_search.train.optimiser import LearningRates, decay_factor, trunk_factor
from phonelm_search.train.pool import ChildPool

MINI = small_shape(vocab_size=512)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def settings_for(of: TokenisedCorpus, **changes: Any) -> TrainingSettings:
    base: dict[str, Any] = {
        "corpus": of.digest, "vocab_size": 512, "tokens": 12_000, "sequence": 64, "batch": 4,
        "warmup_steps": 4, "validation_chunks": 32,
    }  # fmt: skip
    return TrainingSettings(**{**base, **changes})


def test_learning_rates_warm_up_stay_and_decay() -> None:
    factors = [trunk_factor(i, 4) for i in range(6)]
    assert factors == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert [decay_factor(i, 4) for i in range(4)] == [1.0, 0.75, 0.5, 0.25]
    assert trunk_factor(0, 0) == 1.0


@given(st.integers(1, 10**9), st.floats(0.01, 0.99))
def test_a_run_is_a_trunk_and_a_decay(tokens: int, share: float) -> None:
    found = TrainingSettings(corpus="", vocab_size=512, tokens=tokens, decay_share=share)
    assert found.trunk_steps >= 1
    assert found.decay_steps >= 1
    assert found.trunk_steps + found.decay_steps == found.steps
    assert found.steps * found.step_tokens >= tokens


def test_runs_of_other_lengths_share_a_trunk_and_others_do_not(corpus: TokenisedCorpus) -> None:
    base = settings_for(corpus)
    assert settings_for(corpus, tokens=99_000).trunk_id == base.trunk_id
    assert settings_for(corpus, tokens=99_000).settings_id != base.settings_id
    for other in ({"lr_factor": 2.0}, {"batch": 8}, {"number_type": "bf16"}, {"corpus": "x"}):
        assert settings_for(corpus, **other).trunk_id != base.trunk_id


@settings(max_examples=30, deadline=None)
@given(st.integers(300, 3000), st.integers(2, 9), st.integers(1, 5), st.integers(0, 99))
def test_an_epoch_shows_every_stretch_at_most_once(
    length: int, sequence: int, batch: int, seed: int
) -> None:
    tokens = np.arange(length, dtype=np.uint16)
    batches = Batches(tokens, sequence=sequence, batch=batch, seed=seed)
    epoch = [batches[i] for i in range(batches.steps_per_epoch)]
    assert {b.shape for b in epoch} == {(batch, sequence + 1)}
    starts = np.concatenate([b[:, 0] for b in epoch])
    assert len(set(starts)) == len(starts) == batch * batches.steps_per_epoch
    assert (starts % sequence == starts[0] % sequence).all()
    for b in epoch:  # each row is a stretch of the text
        assert (np.diff(b, axis=1) == 1).all()
    # A step's batch is the same whatever was asked before it.
    again = Batches(tokens, sequence=sequence, batch=batch, seed=seed)
    last = batches.steps_per_epoch + 1
    assert (again[last] == batches[last]).all()


def test_training_learns_and_the_same_seed_gives_the_same_bits(corpus: TokenisedCorpus) -> None:
    plan = settings_for(corpus)
    scheme = get_precision("int4-b32")
    first, model = t.train(MINI, corpus, plan, seed=1, scheme=scheme)
    second, _ = t.train(MINI, corpus, plan, seed=1)
    other, _ = t.train(MINI, corpus, plan, seed=2)
    assert first.chunk_bits == second.chunk_bits != other.chunk_bits
    assert first.reason is None
    assert first.finished
    assert first.tokens == plan.steps * 256 >= plan.tokens
    assert first.curve[-1][0] == first.tokens
    # Untrained, a byte-pair vocabulary of 512 costs about 9 bits a token.
    untrained = t.validate(Decoder(MINI), corpus, plan)
    assert first.bits_per_byte is not None
    assert first.bits_per_byte < 0.85 * sum(untrained[0]) / sum(untrained[1])
    # What is returned is the plain Llama that was scored.
    assert model.scales.residual == 1
    assert t.validate(model, corpus, plan)[0] == pytest.approx(first.chunk_bits)
    # Rounding the weights to four bits costs something, and not everything.
    assert first.quantised is not None
    assert 0 < first.quantised - first.bits_per_byte < 1
    assert second.quantised is None


def test_bits_per_byte_is_the_cross_entropy_of_the_text(corpus: TokenisedCorpus) -> None:
    plan = settings_for(corpus, validation_chunks=3)
    model = Decoder(MINI)
    with torch.no_grad():  # equal logits: every token costs log2(512) bits
        model.model.norm.weight.zero_()
    bits, text_bytes = t.validate(model, corpus, plan)
    assert bits == pytest.approx([9.0 * 64] * 3, rel=1e-5)
    chunks = validation_chunks(corpus.validation, sequence=64, count=3)
    assert list(text_bytes) == [int(corpus.token_bytes[row[1:]].sum()) for row in chunks]


def test_every_candidate_sees_the_same_data(
    corpus: TokenisedCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = settings_for(corpus, tokens=1500)
    seen: list[list[bytes]] = []
    forward = Decoder.forward

    def watched(self: Decoder, ids: torch.Tensor, past: Any = None) -> Any:
        seen[-1].append(ids.numpy().tobytes())
        return forward(self, ids, past)

    monkeypatch.setattr(Decoder, "forward", watched)
    for shape in (MINI, small_shape(vocab_size=512, num_hidden_layers=3, hidden_size=96)):
        seen.append([])
        t.train(shape, corpus, plan, seed=3)
    assert seen[0] == seen[1]
    assert len(set(seen[0])) == len(seen[0]) > plan.steps
    seen.append([])
    t.train(MINI, corpus, plan, seed=4)
    assert seen[2][0] != seen[0][0]


class KilledError(RuntimeError):
    """Stands for a kill in the middle of training."""


@pytest.mark.parametrize("compiled", [False, True])
def test_a_killed_training_goes_on_to_the_same_bits(
    corpus: TokenisedCorpus, tmp_path: Path, *, compiled: bool
) -> None:
    plan = settings_for(corpus, compiled=compiled)
    whole, _ = t.train(MINI, corpus, plan, seed=0)
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    folder = tmp_path / "states"
    short = replace(plan, tokens=17 * plan.step_tokens)
    assert short.trunk_steps == 12
    rung, _ = t.train(MINI, corpus, short, seed=0, checkpoints=folder)
    assert rung.finished
    assert rung.tokens == short.steps * plan.step_tokens
    assert rung.bits_per_byte is not None

    def kill(tokens: int, bits: float) -> None:
        raise KilledError

    with pytest.raises(KilledError):  # on the way from one length to the next: back to the first
        t.train(MINI, corpus, plan, seed=0, checkpoints=folder, report=kill)
    assert [f.name for f in folder.iterdir()] == ["0000012.safetensors"]
    resumed, _ = t.train(MINI, corpus, plan, seed=0, checkpoints=folder)
    assert resumed.chunk_bits == whole.chunk_bits
    assert resumed.curve[-1] == whole.curve[-1]
    if compiled:
        assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == graphs  # by the first
        return  # what follows is no other matter then, and a compilation takes seconds
    # A longer run goes on from the end of the trunk, and comes where it would come from scratch.
    longer = replace(plan, tokens=16_000)
    steps: list[int] = []
    far, _ = t.train(
        MINI, corpus, longer, seed=0, checkpoints=folder, report=lambda n, b: steps.append(n)
    )
    assert min(steps) > plan.trunk_steps * plan.step_tokens
    assert far.chunk_bits == t.train(MINI, corpus, longer, seed=0)[0].chunk_bits


def test_a_damaged_checkpoint_costs_time_and_nothing_else(
    corpus: TokenisedCorpus, tmp_path: Path
) -> None:
    plan = settings_for(corpus, tokens=4000)
    expected, _ = t.train(MINI, corpus, plan, seed=0, checkpoints=tmp_path)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    tensors = {k: v.clone() for k, v in load_file(file).items()}
    for content in (b"", b"junk" * 9, whole[: len(whole) // 2]):
        file.write_bytes(content)
        found, _ = t.train(MINI, corpus, plan, seed=0, checkpoints=tmp_path)
        assert found.chunk_bits == expected.chunk_bits
    save_file(tensors, file)  # without a header of ours
    assert t.train(MINI, corpus, plan, seed=0, checkpoints=tmp_path)[0].reason is None
    (tmp_path / "notes.safetensors").write_text("not a step")
    assert t.train(MINI, corpus, plan, seed=0, checkpoints=tmp_path)[0].reason is None
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(TrainingError, match=r"checkpoint .* must be writable"):
        t.train(MINI, corpus, plan, seed=0, checkpoints=blocked / "below")


def test_memory_that_is_short_splits_the_batch_and_changes_no_more_than_rounding(
    corpus: TokenisedCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = settings_for(corpus, tokens=2000)
    plain, _ = t.train(MINI, corpus, plan, seed=0)
    forward = Decoder.forward
    most = 2

    def small(self: Decoder, ids: torch.Tensor, past: Any = None) -> Any:
        if torch.is_grad_enabled() and len(ids) > most:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to ...")
        return forward(self, ids, past)

    monkeypatch.setattr(Decoder, "forward", small)
    split, _ = t.train(MINI, corpus, plan, seed=0)
    assert split.notes == ("memory was short: the batch was split into 2 sequences",)
    assert split.chunk_bits == pytest.approx(plain.chunk_bits, rel=1e-3)
    most = 0
    with pytest.raises(TrainingError, match="one sequence must fit in memory"):
        t.train(MINI, corpus, plan, seed=0)


def test_an_error_that_is_not_memory_is_not_hidden(
    corpus: TokenisedCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("a shape mismatch")

    monkeypatch.setattr(Decoder, "forward", broken)
    with pytest.raises(RuntimeError, match="a shape mismatch"):
        t.train(MINI, corpus, settings_for(corpus), seed=0)


def test_a_validation_that_is_no_number_is_no_score(
    corpus: TokenisedCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(t, "validate", lambda *_: ((math.nan, 1.0), (5, 5)))
    outcome, _ = t.train(MINI, corpus, settings_for(corpus, tokens=600), seed=0)
    assert outcome.bits_per_byte is None
    assert outcome.reason == "training diverged: the validation loss is no number"


def test_a_diverging_candidate_is_a_result_with_its_reason(
    corpus: TokenisedCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    for rate, message in ((1e38, "the loss is (nan|inf) after step"), (30.0, "above its start of")):
        rates = LearningRates(matrices=rate, embedding=rate, vectors=rate)
        monkeypatch.setattr(t, "LearningRates", lambda rates=rates: rates)
        outcome, _ = t.train(MINI, corpus, settings_for(corpus, tokens=3000), seed=0)
        assert outcome.bits_per_byte is None
        assert re.search(f"training diverged: .*{message}", outcome.reason or "")


def test_the_pool_trains_in_children_and_reports(
    corpus: TokenisedCorpus, cache: Path, tmp_path: Path
) -> None:
    plan = settings_for(corpus, tokens=1500)
    file = tokens_file(cache, corpus)
    shapes = [MINI, small_shape(vocab_size=77)]
    jobs = [
        TrainingJob(
            shape=shape, settings=plan, tokens_file=file, seed=0, checkpoints=tmp_path / str(i),
            scheme="int4-b32",
        )
        for i, shape in enumerate(shapes)
    ]  # fmt: skip
    done: dict[int, Outcome] = {}
    seen: list[tuple[int, int]] = []
    with ChildPool(2) as pool:
        pool.run(jobs, on_progress=lambda i, n, b: seen.append((i, n)), on_done=done.__setitem__)
        # The one that failed is replaced, the other one serves on.
        again: dict[int, Outcome] = {}
        later = [replace(jobs[0], checkpoints=tmp_path / f"again{i}") for i in range(2)]
        pool.run(later, on_progress=lambda i, n, b: None, on_done=again.__setitem__)
    assert done[0].bits_per_byte is not None
    assert done[0].quantised is not None
    assert (0, done[0].tokens) in seen
    # Token ids outside the vocabulary: the child fails, the other candidate does not.
    assert done[1].bits_per_byte is None
    assert "the child process failed" in (done[1].reason or "")
    assert (done[0].transient, done[1].transient) == (False, True)
    assert [again[i].chunk_bits for i in range(2)] == [done[0].chunk_bits] * 2
