"""Learning rates carry over width and depth: the optimiser and the coordinate check."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from helpers import small_shape
from phonelm_search.core.decoder import Decoder
from phonelm_search.core.shape import ModelShape
from phonelm_search.quality.relatives import relatives
from phonelm_search.train import TokenisedCorpus, TrainingSettings
from phonelm_search.train.batches import Batches
from phonelm_search.train.muon import StackedMuon, orthogonalise
from phonelm_search.train.optimiser import LearningRates, make_optimisers, set_learning_rates
from phonelm_search.train.parametrisation import build_decoder
from phonelm_search.train.training import train

STEPS, WARMUP = 24, 16


def test_muon_takes_the_matrices_and_adamw_the_rest() -> None:
    model = Decoder(small_shape(qkv_bias=True, tie_word_embeddings=False))
    muon, adamw = make_optimisers(model, LearningRates(), fused=False)
    matrices = {id(p) for g in muon.param_groups for p in g["params"]}
    tables, vectors = ({id(p) for p in g["params"]} for g in adamw.param_groups)
    assert not matrices & (tables | vectors)
    assert matrices | tables | vectors == {id(p) for p in model.parameters()}
    assert tables == {id(model.model.embed_tokens.weight), id(model.lm_head.weight)}
    attention = model.model.layers[0].self_attn
    assert {id(attention.q_proj.weight), id(attention.k_proj.weight)} <= matrices
    assert id(attention.q_proj.bias) in vectors
    rates = LearningRates()
    set_learning_rates([muon, adamw], 0.5)
    assert {g["lr"] for g in muon.param_groups} == {0.5 * rates.matrices}
    assert [g["lr"] for g in adamw.param_groups] == [0.5 * rates.embedding, 0.5 * rates.vectors]


@pytest.mark.parametrize("size", [(48, 48), (96, 32), (32, 96)])
def test_stacked_muon_steps_like_torchs(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    ours = [torch.nn.Parameter(torch.randn(size)) for _ in range(3)]
    theirs = [torch.nn.Parameter(p.detach().clone()) for p in ours]
    stacked = StackedMuon(ours, lr=0.02)
    reference = torch.optim.Muon(
        theirs, lr=0.02, weight_decay=0.0, momentum=0.95, adjust_lr_fn="original"
    )
    start = [p.detach().clone() for p in ours]
    for _ in range(4):
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn(size)
            b.grad = a.grad.clone()
        stacked.step()
        reference.step()
    for a, b, before in zip(ours, theirs, start, strict=True):
        # torch's iterates in bf16, which is worth two decimals.
        off = (a - b).detach().norm() / (b - before).detach().norm()
        assert float(off) < 0.03


@pytest.mark.parametrize("size", [(64, 64), (128, 32), (32, 128)])
def test_orthogonalised_matrices_have_singular_values_of_about_one(size: tuple[int, int]) -> None:
    torch.manual_seed(1)
    stack = torch.randn(3, *size) * torch.tensor([1e-6, 1.0, 1e6])[:, None, None]
    values = torch.linalg.svdvals(orthogonalise(stack))
    assert values.min() > 0.3
    assert values.max() < 1.3
    assert torch.isfinite(orthogonalise(torch.zeros(1, 4, 4))).all()


def trained_scales(shape: ModelShape, corpus: TokenisedCorpus) -> dict[str, float]:
    """Root mean square of activations in the last layer after some steps of training."""
    torch.set_num_threads(1)
    model = build_decoder(shape, seed=0)
    optimisers = make_optimisers(model, LearningRates(), fused=True)
    batches = Batches(corpus.train, sequence=64, batch=4, seed=0)
    for step in range(STEPS):
        set_learning_rates(optimisers, min(1, (step + 1) / WARMUP))
        ids = torch.from_numpy(batches[step])
        logits, _ = model(ids[:, :-1])
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()).backward()
        for optimiser in optimisers:
            optimiser.step()
            optimiser.zero_grad()
    found: dict[str, float] = {}
    last = model.model.layers[-1]
    last.register_forward_hook(lambda m, i, o: found.update(stream=rms(o[0])))
    last.self_attn.register_forward_hook(lambda m, i, o: found.update(attention=rms(o[0])))
    last.mlp.register_forward_hook(lambda m, i, o: found.update(feed_forward=rms(o)))
    with torch.no_grad():
        logits, _ = model(torch.from_numpy(batches[999])[:, :-1])
    return {**found, "logits": float(logits.std())}


def rms(x: torch.Tensor) -> float:
    return float(x.square().mean().sqrt())


def slope(sizes: list[int], values: list[float]) -> float:
    """Exponent of the power law through the values."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def shape_of(width: int, layers: int) -> ModelShape:
    heads = width // 32
    return small_shape(
        hidden_size=width, intermediate_size=width * 5 // 2, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=heads, head_dim=32, vocab_size=512,
    )  # fmt: skip


def test_activations_are_level_over_width(corpus: TokenisedCorpus) -> None:
    widths = [64, 128, 256, 384]
    seen = [trained_scales(shape_of(w, 2), corpus) for w in widths]
    for name in seen[0]:
        assert abs(slope(widths, [s[name] for s in seen])) < 0.2, name


def test_activations_are_level_over_depth(corpus: TokenisedCorpus) -> None:
    depths = [2, 4, 8, 16]
    seen = [trained_scales(shape_of(64, d), corpus) for d in depths]
    slopes = {name: slope(depths, [s[name] for s in seen]) for name in seen[0]}
    # With branches of 1/√layers each one learns less, so that all of them together are level.
    assert -0.7 < slopes.pop("feed_forward") < 0.1
    assert all(abs(s) < 0.3 for s in slopes.values()), slopes


def test_activations_are_level_over_kv_groups_and_feed_forward(corpus: TokenisedCorpus) -> None:
    def varied(kv_heads: int = 8, ratio: int = 2) -> ModelShape:
        return small_shape(
            hidden_size=128, intermediate_size=128 * ratio, num_hidden_layers=3,
            num_attention_heads=8, num_key_value_heads=kv_heads, head_dim=16, vocab_size=512,
        )  # fmt: skip

    sizes = [1, 2, 4, 8]
    for shapes in ([varied(kv_heads=n) for n in sizes], [varied(ratio=n) for n in sizes]):
        seen = [trained_scales(s, corpus) for s in shapes]
        for name in seen[0]:
            assert abs(slope(sizes, [s[name] for s in seen])) < 0.4, name


def test_the_check_would_notice_a_branch_that_is_not_scaled(
    corpus: TokenisedCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    from phonelm_search.core.decoder import Scales
    from phonelm_search.train import parametrisation

    plain = parametrisation.scales_of(shape_of(64, 2))
    monkeypatch.setattr(
        parametrisation,
        "scales_of",
        lambda shape: Scales(residual=plain.residual, logits=plain.logits),
    )
    depths = [2, 4, 8, 16]
    seen = [trained_scales(shape_of(64, d), corpus) for d in depths]
    assert slope(depths, [s["stream"] for s in seen]) > 0.3


CANDIDATE = small_shape(
    hidden_size=768, intermediate_size=2048, num_hidden_layers=12, num_attention_heads=12,
    num_key_value_heads=4, head_dim=64,
)  # fmt: skip


@pytest.mark.parametrize(("parameters", "layers"), [(160_000, 1), (40_000, 2)])
def test_the_learning_rates_hold_over_the_ladder(
    corpus: TokenisedCorpus, parameters: int, layers: int
) -> None:
    torch.set_num_threads(1)
    found = relatives(CANDIDATE, parameters, vocab_size=512)
    shape = next(s for s in found if s.num_hidden_layers == layers)
    plan = TrainingSettings(corpus=corpus.digest, vocab_size=512, tokens=65_536)
    bits = {}
    for factor in (0.5, 1.0, 2.0):
        outcome, _ = train(shape, corpus, replace(plan, lr_factor=factor), seed=0)
        assert outcome.bits_per_byte is not None
        bits[factor] = outcome.bits_per_byte
    assert bits[1.0] < 1.02 * min(bits.values()), bits
