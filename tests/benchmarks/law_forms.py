"""Forms of the law side by side on published trainings: which one tells what it was not fitted to.

    python tests/benchmarks/law_forms.py FOLDER -o results/law-forms.csv

The folder is that of `law.py`. Each form is fitted alone, without a discrepancy term: most probable
coefficients under wide priors. A row for each form and question.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common import say, write_table
from law import GEMSTONES, OPENLM, gemstones, joined, openlm
from scipy.optimize import least_squares

from phonelm_search.core.statistics import Floats
from phonelm_search.quality.law import Observations

TOKENS, WIDTH, DEPTH, PARAMETERS, ASPECT = 1e10, 512.0, 12.0, 50e6, 40.0  # units
NOISE = 0.004  # of a logarithm of loss
EQUAL_SIZE, EQUAL_TOKENS, APART = 1.15, 1.30, 0.003

Part = Callable[[Floats, Floats, Floats, Floats], Floats]
"""Coefficients, effective width, depth and tokens to the shape's part of a loss."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    name: str
    before: tuple[tuple[float, float], ...]
    """Mean and deviation of each coefficient of the shape's part."""
    part: Part


def separable(x: Floats, width: Floats, depth: Floats, tokens: Floats) -> Floats:
    b, beta, c, gamma = np.exp(x[:4])
    return np.asarray(b * (width / WIDTH) ** -beta + c * (depth / DEPTH) ** -gamma)


def token_depth(x: Floats, width: Floats, depth: Floats, tokens: Floats) -> Floats:
    """Depth is worth more, or less, the longer a training is."""
    b, beta, c, gamma = np.exp(x[:4])
    deep = c * (depth / DEPTH) ** -gamma * (tokens / TOKENS) ** x[4]
    return np.asarray(b * (width / WIDTH) ** -beta + deep)


def size_aspect(x: Floats, width: Floats, depth: Floats, tokens: Floats) -> Floats:
    """A power of size, worse the farther width over depth is from the best, which grows."""
    b, beta, curvature = np.exp(x[:3])
    size = 15 * width**2 * depth / PARAMETERS
    off = np.log(width / depth / ASPECT) - x[3] - x[4] * np.log(size)
    return np.asarray(b * size**-beta * (1 + curvature * off**2))


POWER = (np.log(0.3), 0.6), (np.log(1.2), 0.8)
SHAPE = (POWER[1], POWER[0], POWER[1], (np.log(0.2), 0.8))
FORMS = (
    Form(name="separable", before=SHAPE, part=separable),
    Form(name="token-depth interaction", before=(*SHAPE, (0.0, 0.1)), part=token_depth),
    Form(
        name="size and aspect",
        before=(POWER[1], (np.log(0.2), 0.6), (np.log(0.02), 1.0), (0.0, 1.0), (0.0, 0.3)),
        part=size_aspect,
    ),
)
COMMON = ((np.log(0.4), 0.5), (np.log(0.002), 0.7))  # data exponent, loss by small heads
OWN = ((np.log(1.5), 1.0), (np.log(0.4), 0.7), (0.0, 0.3))  # floor, data coefficient, scale


def told(form: Form, x: Floats, names: list[str], asked: Observations) -> Floats:
    """``[n]``: logarithm of loss."""
    n = len(form.before)
    alpha, head = np.exp(x[n : n + 2])
    own = np.exp(x[n + 2 :].reshape(-1, 3)[[names.index(d) for d in asked.datasets]])
    shapes, tokens = asked.points.shapes, asked.points.tokens
    heads = 1 + head * (64 / shapes.head_dim) ** 3
    part = form.part(x[:n], shapes.width, shapes.depth, tokens) * heads
    learnt = own[:, 1] * (tokens / TOKENS) ** -alpha
    return np.asarray(np.log(own[:, 0] + learnt + own[:, 2] * part))


def fitted(form: Form, names: list[str], known: Observations) -> Floats:
    before = np.array([*form.before, *COMMON, *(OWN * len(names))])

    def misses(x: Floats) -> Floats:
        data = (told(form, x, names, known) - known.log_loss) / NOISE
        return np.concatenate([data, (x - before[:, 0]) / before[:, 1]])

    return np.asarray(least_squares(misses, before[:, 0], loss="soft_l1", max_nfev=2000).x)


def answer(form: Form, known: Observations, asked: Observations) -> dict[str, Any]:
    names = list(dict.fromkeys([*known.datasets.tolist(), *asked.datasets.tolist()]))
    x = fitted(form, names, known)
    guess = told(form, x, names, asked)
    i, j = np.triu_indices(len(asked), 1)
    measured, guessed = asked.log_loss[i] - asked.log_loss[j], guess[i] - guess[j]

    def near(values: Floats, ratio: float) -> Any:
        return np.abs(np.log(values[i] / values[j])) <= np.log(ratio)

    shapes = asked.points.shapes
    apart = near(asked.points.tokens, EQUAL_TOKENS) & (np.abs(measured) > np.log1p(APART))
    # One shape at two lengths orders tokens, not shapes.
    apart &= ~(near(shapes.parameters, 1.0) & near(shapes.depth, 1.0) & near(shapes.head_dim, 1.0))
    equal = apart & near(shapes.parameters, EQUAL_SIZE)
    right = measured * guessed > 0
    shift = np.median(guess - asked.log_loss)
    errors = np.abs(np.expm1(guess - asked.log_loss - shift))
    fit = np.abs(np.expm1(told(form, x, names, known) - known.log_loss))
    return {
        "form": form.name, "coefficients": len(form.before), "fit_error": np.median(fit),
        "pairs": int(equal.sum()), "rightly_ordered": right[equal].mean(),
        "pairs_any_size": int(apart.sum()), "rightly_ordered_any_size": right[apart].mean(),
        "median_error": np.median(errors), "largest_error": errors.max(),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="of the published tables")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    everything = joined(gemstones(options.folder), openlm(options.folder))
    size, tokens = everything.points.shapes.parameters, everything.points.tokens
    gem, other = (everything.datasets == name for name in (GEMSTONES, OPENLM))
    questions = (
        ("Gemstones below 100M", "Gemstones 0.4B to 1.9B", gem & (size < 100e6),
         gem & (size > 400e6)),
        ("Gemstones to 50B tokens", "Gemstones from 90B tokens", gem & (tokens <= 50.5e9),
         gem & (tokens >= 89e9)),
        ("Gemstones", "OpenLM", gem, other),
        ("OpenLM", "Gemstones", other, gem),
    )  # fmt: skip
    rows = []
    for known, asked, fit, ask in questions:
        for form in FORMS:
            found = answer(form, everything.rows(fit), everything.rows(ask))
            say(f"{known} tell {asked}: {form.name}")
            row = {"fitted_to": known, "asked": asked, **found}
            rows.append({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()})
    write_table(rows, options.output)


if __name__ == "__main__":
    main()
