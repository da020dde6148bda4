"""The training proxy: text, miniatures, training, scoring, comparison."""

import lzma
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from helpers import score, small_shape
from phonelm_search.decoder import Decoder
from phonelm_search.errors import TrainingError
from phonelm_search.precision import get_precision
from phonelm_search.proxy import corpus as c
from phonelm_search.proxy import training as t
from phonelm_search.proxy.comparison import SEED_DEVIATION, paired_difference, score_interval
from phonelm_search.proxy.miniature import NARROWEST, make_candidates, too_narrow
from phonelm_search.proxy.optimiser import make_optimisers, schedule
from phonelm_search.proxy.pool import TrainingJob, TrainingPool
from phonelm_search.proxy.scoring import ScoreSettings, plan_scoring, score_shapes
from phonelm_search.shape import ModelShape
from phonelm_search.space import FeasibleSet, enumerate_space, load_space
from phonelm_search.store import Store

TRAIN, VALIDATION = c.load_documents()


@pytest.fixture(scope="session")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, c.TokenisedCorpus]:
    cache = tmp_path_factory.mktemp("tokens")
    return cache, c.tokenise(512, cache)


def test_the_corpus_is_whole_and_split_by_document() -> None:
    assert (len(TRAIN), len(VALIDATION)) == (214, 19)
    assert sum(len(d.encode()) for d in (*TRAIN, *VALIDATION)) == 10_761_413
    assert not set(TRAIN) & set(VALIDATION)


def test_lzma_reaches_what_is_shown_beside_every_score() -> None:
    text = "\n\n".join(VALIDATION).encode()
    assert round(8 * len(lzma.compress(text)) / len(text), 2) == c.LZMA_BITS_PER_BYTE


def test_tokens_stand_for_exactly_the_texts_bytes(tokens: tuple[Path, c.TokenisedCorpus]) -> None:
    _, corpus = tokens
    assert corpus.vocab_size == 512
    for ids, documents in ((corpus.train, TRAIN), (corpus.validation, VALIDATION)):
        assert corpus.token_bytes[ids].sum() == sum(len(d.encode()) for d in documents)
        assert (ids == 0).sum() == len(documents)
    assert c.tokenise(512, tokens[0]).digest == corpus.digest


def test_a_damaged_token_file_is_named(
    tmp_path: Path, tokens: tuple[Path, c.TokenisedCorpus]
) -> None:
    file = tmp_path / "tokens-x.npz"
    whole = (tokens[0] / f"tokens-{tokens[1].digest}.npz").read_bytes()
    for content in (b"junk", b"", whole[: len(whole) // 2]):
        file.write_bytes(content)
        with pytest.raises(TrainingError, match=r"tokens-x.npz is damaged; remove it"):
            c.load_tokens(file)
    with pytest.raises(TrainingError, match="257 to 65536"):
        c.train_tokenizer(["x"], 100)


SPACES = {
    n: enumerate_space(load_space(n), get_precision("int4-b32"))
    for n in ("slm-100m", "phonelm-0.5b")
}


def widest(feasible: FeasibleSet) -> ModelShape:
    return feasible.shape(int(np.argmax(feasible.columns["hidden_size"])))


@given(st.data())
def test_miniatures_keep_what_they_promise(data: st.DataObject) -> None:
    feasible = SPACES[data.draw(st.sampled_from(sorted(SPACES)))]
    rows = data.draw(
        st.lists(st.integers(0, len(feasible) - 1), min_size=1, max_size=6, unique=True)
    )
    shapes = [feasible.shape(r) for r in rows]
    typical = int(np.median(feasible.columns["decoder_parameters"]))
    shapes = [s for s in shapes if not too_narrow(s, typical, 1_000_000)] or [widest(feasible)]
    found = make_candidates(shapes, vocab_size=512, typical=typical, budget=1_000_000)
    factors = []
    for candidate in found:
        full, mini = candidate.shape, candidate.trained
        assert candidate.miniature
        assert mini.num_hidden_layers == full.num_hidden_layers
        assert mini.kv_groups == full.kv_groups
        assert (mini.hidden_act, mini.ffn) == (full.hidden_act, full.ffn)
        assert mini.hidden_size >= NARROWEST
        assert mini.ffn_ratio == pytest.approx(full.ffn_ratio, rel=0.2)
        off = abs(mini.ffn_ratio / full.ffn_ratio - 1) > 0.02
        assert off == any("FFN ratio" in n for n in candidate.notes)
        changed = mini.num_attention_heads != full.num_attention_heads
        assert changed == any("heads of" in n for n in candidate.notes)
        if mini.head_dim < 16:  # only where one KV head is all there is, and said
            assert mini.num_key_value_heads == 1
            assert any("head dimension" in n for n in candidate.notes)
        factors.append(mini.hidden_size / full.hidden_size)
    # One common width factor, up to rounding to a multiple of 4.
    assert max(factors) / min(factors) < 1.07


@pytest.mark.parametrize("name", sorted(SPACES))
def test_miniatures_keep_the_order_of_sizes(name: str) -> None:
    feasible = SPACES[name]
    typical = int(np.median(feasible.columns["decoder_parameters"]))
    rows = np.random.default_rng(0).integers(0, len(feasible), 300)
    shapes = [feasible.shape(int(r)) for r in rows]
    shapes = [s for s in shapes if not too_narrow(s, typical, 1_000_000)]
    found = make_candidates(shapes, vocab_size=512, typical=typical, budget=1_000_000)
    full = np.array([f.shape.decoder_parameters for f in found])
    mini = np.array([f.trained.decoder_parameters for f in found])
    relative = mini / full / np.median(mini / full)
    assert np.abs(relative - 1).max() < 0.01
    # Any two sizes that differ by more than the rounding keep their order.
    first, second = np.triu_indices(len(full), 1)
    apart = np.abs(full[first] / full[second] - 1) > 0.02
    assert ((full[first] > full[second]) == (mini[first] > mini[second]))[apart].all()
    assert len(shapes) > 50


def test_small_shapes_are_trained_as_they_are() -> None:
    shape = small_shape(vocab_size=9999, tie_word_embeddings=False)
    (found,) = make_candidates([shape], vocab_size=512, typical=90_000, budget=1_000_000)
    assert not found.miniature
    assert found.trained == replace(shape, vocab_size=512, tie_word_embeddings=True)
    large = SPACES["slm-100m"].shape(0)
    (full,) = make_candidates([large], vocab_size=512, typical=85_000_000, budget=None)
    assert full.trained.decoder_parameters == full.shape.decoder_parameters
    with pytest.raises(TrainingError, match="at least one measured shape"):
        make_candidates([], vocab_size=512, typical=1, budget=None)


def test_a_miniature_that_would_be_too_narrow_is_refused_with_the_budget_that_would_do() -> None:
    feasible = SPACES["slm-100m"]
    narrow = feasible.shape(int(np.argmin(feasible.columns["hidden_size"])))
    with pytest.raises(TrainingError, match=r"would be 56; --proxy-parameters 1.33M would do"):
        make_candidates([narrow], vocab_size=512, typical=85_000_000, budget=1_000_000)
    assert too_narrow(narrow, 85_000_000, None) is None
    (found,) = make_candidates([narrow], vocab_size=512, typical=85_000_000, budget=1_340_000)
    assert found.trained.hidden_size == NARROWEST


def test_schedule_warms_up_stays_and_decays() -> None:
    factors = [schedule(i, 100) for i in range(100)]
    assert factors[0] == pytest.approx(0.2)
    assert factors[5:70] == [1.0] * 65
    assert factors[-1] == pytest.approx(1 / 30)
    assert schedule(0, 1) == 1.0


def test_muon_takes_the_matrices_and_adamw_the_rest() -> None:
    model = Decoder(small_shape(qkv_bias=True))
    muon, adamw = make_optimisers(model, matrix_lr=0.1, vector_lr=0.1, fused=False)
    matrices = {id(p) for g in muon.param_groups for p in g["params"]}
    rest = {id(p) for g in adamw.param_groups for p in g["params"]}
    assert not matrices & rest
    assert matrices | rest == {id(p) for p in model.parameters()}
    assert id(model.model.embed_tokens.weight) in rest
    assert id(model.model.layers[0].self_attn.q_proj.weight) in matrices


def settings_for(corpus: c.TokenisedCorpus, **changes: Any) -> t.TrainingSettings:
    base: dict[str, Any] = {
        "corpus": corpus.digest, "vocab_size": 512, "tokens": 12_000, "budget": None,
        "width_factor": 1.0, "sequence": 64, "batch": 4, "validation_chunks": 32,
    }  # fmt: skip
    return t.TrainingSettings(**{**base, **changes})


MINI = small_shape(vocab_size=512)


def test_training_learns_and_the_same_seed_gives_the_same_bits(
    tokens: tuple[Path, c.TokenisedCorpus],
) -> None:
    _, corpus = tokens
    torch.set_num_threads(1)
    settings = settings_for(corpus)
    first, model = t.train(MINI, corpus, settings, seed=1)
    second, _ = t.train(MINI, corpus, settings, seed=1)
    other, _ = t.train(MINI, corpus, settings, seed=2)
    assert first.chunk_bits == second.chunk_bits != other.chunk_bits
    assert first.reason is None
    assert first.tokens == settings.steps * 256 >= settings.tokens
    assert first.curve[-1][0] == first.tokens
    # Untrained, a byte-pair vocabulary of 512 costs about 9 bits a token.
    untrained = t.validate(Decoder(MINI), corpus, settings)
    start = sum(untrained[0]) / sum(untrained[1])
    assert first.bits_per_byte is not None
    assert first.bits_per_byte < 0.85 * start
    again = t.validate(model, corpus, settings)
    assert sum(again[0]) / sum(again[1]) == pytest.approx(first.bits_per_byte)


def test_bits_per_byte_is_the_cross_entropy_of_the_text(
    tokens: tuple[Path, c.TokenisedCorpus],
) -> None:
    _, corpus = tokens
    settings = settings_for(corpus, validation_chunks=3)
    model = Decoder(MINI)
    with torch.no_grad():  # equal logits: every token costs log2(512) bits
        model.model.norm.weight.zero_()
    bits, text_bytes = t.validate(model, corpus, settings)
    assert bits == pytest.approx([9.0 * 64] * 3, rel=1e-5)
    chunks = t.validation_chunks(corpus.validation, settings)
    assert list(text_bytes) == [int(corpus.token_bytes[row[1:]].sum()) for row in chunks]


def test_every_candidate_sees_the_same_data(
    tokens: tuple[Path, c.TokenisedCorpus], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, corpus = tokens
    settings = settings_for(corpus, tokens=1500)
    seen: list[list[bytes]] = []
    forward = Decoder.forward

    def watched(self: Decoder, ids: torch.Tensor, past: Any = None) -> Any:
        seen[-1].append(ids.numpy().tobytes())
        return forward(self, ids, past)

    monkeypatch.setattr(Decoder, "forward", watched)
    for shape in (MINI, small_shape(vocab_size=512, num_hidden_layers=3, hidden_size=96)):
        seen.append([])
        t.train(shape, corpus, settings, seed=3)
    assert seen[0] == seen[1]
    assert len(set(seen[0])) == len(seen[0]) > settings.steps
    seen.append([])
    t.train(MINI, corpus, settings, seed=4)
    assert seen[2][0] != seen[0][0]


def test_a_validation_that_is_no_number_is_no_score(
    tokens: tuple[Path, c.TokenisedCorpus], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, corpus = tokens
    monkeypatch.setattr(t, "validate", lambda *_: ((math.nan, 1.0), (5, 5)))
    outcome, _ = t.train(MINI, corpus, settings_for(corpus, tokens=600), seed=0)
    assert outcome.bits_per_byte is None
    assert outcome.reason == "training diverged: the validation loss is no number"


def test_a_diverging_candidate_is_a_result_with_its_reason(
    tokens: tuple[Path, c.TokenisedCorpus],
) -> None:
    _, corpus = tokens
    for rate, message in ((1e38, "the loss is (nan|inf) after step"), (30.0, "above its start of")):
        wild = settings_for(corpus, matrix_lr=rate, vector_lr=rate, tokens=3000)
        outcome, _ = t.train(MINI, corpus, wild, seed=0)
        assert outcome.bits_per_byte is None
        assert re.search(f"training diverged: .*{message}", outcome.reason or "")


def test_the_pool_trains_in_children_and_reports(tokens: tuple[Path, c.TokenisedCorpus]) -> None:
    cache, corpus = tokens
    settings = settings_for(corpus, tokens=1500)
    file = c.tokens_file(cache, corpus)
    jobs = [
        TrainingJob(shape=MINI, settings=settings, tokens_file=file, seed=0),
        TrainingJob(shape=small_shape(vocab_size=77), settings=settings, tokens_file=file, seed=0),
    ]
    done: dict[int, t.Outcome] = {}
    seen: list[tuple[int, int]] = []
    TrainingPool(2).run(
        jobs, on_progress=lambda i, n, b: seen.append((i, n)), on_done=done.__setitem__
    )
    assert done[0].bits_per_byte is not None
    assert (0, done[0].tokens) in seen
    # Token ids outside the vocabulary: the child fails, the other candidate does not.
    assert done[1].bits_per_byte is None
    assert "the child process failed" in (done[1].reason or "")
    assert (done[0].transient, done[1].transient) == (False, True)


def test_scores_are_kept_and_not_trained_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    shapes = [small_shape(), small_shape(num_hidden_layers=3)]
    settings = ScoreSettings(tokens_per_parameter=0.02)
    plan = plan_scoring(shapes, settings)
    least = 0.02 * plan.candidates[1].trained.decoder_parameters
    assert plan.tokens == 16_384 * math.ceil(least / 16_384)
    started: list[int] = []
    scores, settings_id = score_shapes(
        store, shapes, settings, on_start=lambda jobs, _: started.append(jobs)
    )
    again, same_id = score_shapes(
        store, shapes, settings, on_start=lambda jobs, _: started.append(jobs)
    )
    assert (scores, settings_id) == (again, same_id)
    assert started == [2, 0]
    # Another typical size is another width factor: none of these scores compares with it.
    wide = [small_shape(hidden_size=128, head_dim=32)]
    plans = [
        plan_scoring(wide, replace(settings, typical=n, budget=70_000)) for n in (140_000, 150_000)
    ]
    assert plans[0].width_factor > plans[1].width_factor
    # A training that was killed is made again.
    store.add_score(shapes[0], replace(scores[0], bits_per_byte=None, transient=True))
    score_shapes(store, shapes, settings, on_start=lambda jobs, _: started.append(jobs))
    assert started == [2, 0, 1]
    assert {s.tokens for s in scores} == {scores[0].tokens}
    assert all(s.bits_per_byte and 1 < s.bits_per_byte < 9 for s in scores)
    assert scores[0].tokens_per_parameter > scores[1].tokens_per_parameter >= 0.02


def test_paired_differences_see_through_common_scatter() -> None:
    a, b = score(small_shape(), 2.50), score(small_shape(num_hidden_layers=3), 2.45)
    difference, deviation = paired_difference(a, b)
    assert difference == pytest.approx(0.05)
    assert deviation == pytest.approx(SEED_DEVIATION, rel=1e-3)
    # Alone, each is far less sure than their difference.
    assert score_interval(a) == pytest.approx(1.96 * 0.2 / 8, rel=0.25)
    assert score_interval(score(small_shape(), None)) is None
    with pytest.raises(TrainingError, match="same settings, seed and validation text"):
        paired_difference(a, replace(b, settings_id="other"))
    with pytest.raises(TrainingError, match="with seed 0 and s with seed 1"):
        paired_difference(a, replace(b, seed=1))
