"""The quality law on published trainings: its form, its orders where it was not fitted, its prior.

    python tests/benchmarks/law.py FOLDER -o results/law.csv
    python tests/benchmarks/law.py FOLDER --prior src/phonelm_search/quality/law/prior.json

The folder holds the tables of Gemstones (arXiv 2502.06857) and of OpenLM's grid (arXiv 2403.08540);
neither is part of the project. A row for each question: what the law was fitted to, what it was
asked, and how it ordered that. With ``--prior`` the law that ships is fitted to all and written.
"""

import argparse
import csv
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from common import say, write_table
from scipy.optimize import minimize

from phonelm_search.core.shape import ModelShape
from phonelm_search.core.statistics import Floats
from phonelm_search.quality.law import (
    OWN,
    SHARED,
    Dimensions,
    Discrepancy,
    Evidence,
    Gaussian,
    LawPrior,
    Observations,
    Points,
    QualityLaw,
    Training,
    check_fitted,
    observations_of,
    save_prior,
)

GEMSTONES, OPENLM, OURS = "Gemstones", "OpenLM", "ours"
ROOT = Path(__file__).parents[2]
SIZED = (
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads",
)  # fmt: skip
# Mean and deviation before any table, in the scale of the coefficients: exponents as laws of size
# have them; the rest as small as ablations say, in both directions where they disagree.
BEFORE = {
    "data_exponent": (np.log(0.4), 0.5),
    "width_exponent": (np.log(0.3), 0.6),
    "depth_exponent": (np.log(0.2), 0.8),
    "width": (np.log(1.2), 0.8),
    "depth": (np.log(1.2), 0.8),
    "head": (np.log(0.002), 0.7),
    "head_exponent": (np.log(3.0), 0.3),
    "share": (np.log(0.006), 0.6),
    "best_share": (np.log(2.5), 0.35),
    "groups": (0.002, 0.002),
    "relu": (0.002, 0.004),
    "relu2": (-0.003, 0.005),
    "gelu": (0.0, 0.002),
    "plain": (0.010, 0.008),
}
OWN_BEFORE = {"floor": (np.log(0.5), 1.0), "data": (np.log(0.4), 0.7), "scale": (0.0, 0.3)}
UNIT = 1.0  # deviation of the logarithm of a unit: nats per token, bits per byte, another tokenizer
SOURCES = (
    "Gemstones, arXiv 2502.06857: 22 shapes of width and depth, constant learning rate, 10B to "
    "110B tokens",
    "OpenLM's scaling grid, arXiv 2403.08540: widths 512 to 1024, depth, heads, 20 tokens per "
    "parameter",
    "assumed, with wide intervals: the share of the feed-forward network is flat near its best "
    "(Kaplan et al., arXiv 2001.08361, figure 5; arXiv 2510.18245), grouped key-value heads cost "
    "little (Ainslie et al., arXiv 2305.13245), activations differ little (So et al., arXiv "
    "2109.08668; Mirzadeh et al., arXiv 2310.04564), gates gain one per cent (Shazeer, arXiv "
    "2002.05202)",
)


def rows_of(path: Path) -> Iterator[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file)


def observed(
    name: str, width: Any, depth: Any, head_dim: Any, share: Any, groups: Any, tokens: Any,
    loss: Any, runs: list[str],
) -> Observations:  # fmt: skip
    n = len(runs)
    numbers = {r: i for i, r in enumerate(dict.fromkeys(runs))}

    def column(values: Any) -> Floats:
        return np.broadcast_to(np.asarray(values, float), n).copy()

    shapes = Dimensions(
        width=column(width), depth=column(depth), head_dim=column(head_dim), share=column(share),
        groups=column(groups), kinds=np.zeros((n, 4)),
    )  # fmt: skip
    return Observations(
        points=Points(shapes=shapes, tokens=column(tokens)),
        log_loss=np.log(column(loss)),
        datasets=np.array([name] * n),
        runs=np.array([numbers[r] for r in runs], float) + 1000 * (name == OPENLM),
    )


def gemstones(folder: Path) -> Observations:
    """Constant rate; a layer is 15·width²: a gated network of 4 widths, two groups."""
    rows = [
        r for r in rows_of(folder / "gemstones_width_depth_tokens_loss.csv") if r["set"] == "hot"
    ]
    columns = [[float(r[k]) for r in rows] for k in ("width", "depth", "tokens", "loss")]
    width, depth, tokens, loss = columns
    return observed(GEMSTONES, width, depth, 128, 4, 2, tokens, loss, [r["run"] for r in rows])


def openlm(folder: Path) -> Observations:
    rows = list(rows_of(folder / "openlm_512_to_640.csv"))
    names = (
        "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "head_dim",
        "tokens", "loss",
    )  # fmt: skip
    hidden, inner, depth, heads, head_dim, tokens, loss = (
        np.array([float(r[k]) for r in rows]) for k in names
    )
    attention, forward = 4 * hidden * heads * head_dim, 3 * hidden * inner
    width = np.sqrt((attention + forward) / 15)
    runs = [str(i) for i in range(len(rows))]
    share = forward / attention
    return observed(OPENLM, width, depth, head_dim, share, 1, tokens, loss, runs)


def ours() -> Observations:
    """Trainings of a third of a million parameters on the embedded text, by this project."""
    rows = [
        r
        for r in rows_of(ROOT / "results/rank-quality.csv")
        if float(r["tokens_per_parameter"]) >= 2
    ]
    trainings = [
        Training(
            shape=ModelShape(
                **{n: int(r[n]) for n in SIZED}, vocab_size=512, hidden_act=r["hidden_act"],
                head_dim=int(r["hidden_size"]) // int(r["num_attention_heads"]),
            ),
            tokens=float(r["tokens_per_parameter"]) * int(r["decoder_parameters"]),
            loss=float(r["bits_per_byte"]), dataset=OURS, seed=r["seed"],
        )
        for r in rows
    ]  # fmt: skip
    found = observations_of(trainings)
    return replace(found, runs=found.runs + 2000)


def joined(*parts: Observations) -> Observations:
    points = [p.points for p in parts]
    shapes = {
        name: np.concatenate([getattr(p.shapes, name) for p in points])
        for name in ("width", "depth", "head_dim", "share", "groups", "kinds")
    }
    return Observations(
        points=Points(
            shapes=Dimensions(**shapes), tokens=np.concatenate([p.tokens for p in points])
        ),
        log_loss=np.concatenate([p.log_loss for p in parts]),
        datasets=np.concatenate([p.datasets for p in parts]),
        runs=np.concatenate([p.runs for p in parts]),
    )


def before(discrepancy: Discrepancy, observations: Observations) -> LawPrior:
    own_mean, own_deviation = np.array([OWN_BEFORE[n] for n in OWN]).T
    mean, deviation = np.array([BEFORE[n] for n in SHARED]).T
    shapes = observations.points.shapes
    return LawPrior(
        shared=Gaussian(mean=mean, covariance=np.diag(deviation**2)),
        own=Gaussian(mean=own_mean, covariance=np.diag(own_deviation**2) + UNIT**2),
        discrepancy=discrepancy,
        evidence=Evidence(
            sizes=extent(shapes.parameters), tokens=extent(observations.points.tokens),
            aspects=extent(shapes.aspect),
        ),
        sources=SOURCES,
    )  # fmt: skip


def extent(values: Floats) -> tuple[float, float]:
    return float(values.min()), float(values.max())


def fitted_discrepancy(observations: Observations) -> Discrepancy:
    """Deviations that make the tables most probable; distances and growth are assumed."""
    start = Discrepancy(
        level=0.004, form=0.004, run=0.002, rest=0.001, growth=1.0, size_decades=1.0,
        aspect_decades=0.6, token_decades=0.6, sizes=extent(observations.points.shapes.parameters),
        tokens=extent(observations.points.tokens),
    )  # fmt: skip
    names = ("level", "form", "run", "rest")

    def of(x: Floats) -> Discrepancy:
        return replace(start, **dict(zip(names, np.exp(x).tolist(), strict=True)))

    def cost(x: Floats) -> float:
        if np.abs(x - x0).max() > 4:
            return 1e9
        return -QualityLaw(before(of(x), observations), observations).log_evidence

    x0 = np.log([getattr(start, n) for n in names])
    found = minimize(cost, x0, method="Nelder-Mead", options={"maxfev": 200, "xatol": 0.05})
    say(f"log evidence {-found.fun:.1f} with {of(found.x)}")
    return of(found.x)


def questions(
    all_of: Observations,
) -> Iterator[tuple[str, str, Observations, Observations]]:
    """What is fitted, what is asked."""
    size, tokens = all_of.points.shapes.parameters, all_of.points.tokens
    gem, other, own = (all_of.datasets == name for name in (GEMSTONES, OPENLM, OURS))
    small, large = gem & (size < 100e6), gem & (size > 400e6)
    asks: list[tuple[str, str, Any, Any]] = [
        ("Gemstones below 100M", "Gemstones 0.4B to 1.9B", small, large),
        ("Gemstones below 100M, OpenLM", "Gemstones 0.4B to 1.9B", small | other, large),
        ("Gemstones to 50B tokens, OpenLM", "Gemstones from 90B tokens",
         gem & (tokens <= 50.5e9) | other, gem & (tokens >= 89e9)),
        ("Gemstones", "OpenLM", gem, other),
        ("OpenLM", "Gemstones", other, gem),
        ("Gemstones, OpenLM", "ours", gem | other, own),
        ("all", "all", gem | other, gem | other),
    ]  # fmt: skip
    for told, asked, fit, ask in asks:
        for name in dict.fromkeys(all_of.datasets[ask].tolist()):
            yield told, asked, all_of.rows(fit), all_of.rows(ask & (all_of.datasets == name))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="of the published tables")
    parser.add_argument("--prior", type=Path, help="file of the law that is fitted to all")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    published = joined(gemstones(options.folder), openlm(options.folder))
    discrepancy = fitted_discrepancy(published)
    everything = joined(published, ours())
    rows = []
    for told, asked, fit, ask in questions(everything):
        law = QualityLaw(before(discrepancy, fit), fit, dataset=str(ask.datasets[0]))
        rows.append({"fitted_to": told, "asked": asked, **asdict(check_fitted(law, ask))})
    if options.prior:
        prior = before(discrepancy, published)
        fitted = QualityLaw(prior, published).coefficients
        n = len(SHARED)
        shared = Gaussian(mean=fitted.mean[:n], covariance=fitted.covariance[:n, :n])
        save_prior(replace(prior, shared=shared, own=own_of(prior, published)), options.prior)
    for row in rows:
        for key, value in row.items():
            row[key] = round(value, 4) if isinstance(value, float) else value
    write_table(rows, options.output)


def own_of(prior: LawPrior, observations: Observations) -> Gaussian:
    """Own coefficients of a data set that nobody has seen: the mean of those that were."""
    law = QualityLaw(prior, observations, dataset=GEMSTONES)
    k = len(OWN)
    own = law.coefficients.mean[len(SHARED) :].reshape(-1, k)
    deviation = np.array([OWN_BEFORE[n][1] for n in OWN]) / 2
    return Gaussian(mean=own.mean(axis=0), covariance=np.diag(deviation**2) + UNIT**2)


if __name__ == "__main__":
    main()
