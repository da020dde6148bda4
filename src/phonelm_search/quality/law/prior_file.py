"""The law in a file: the one that ships with the package, and those that teams fit."""

import json
from dataclasses import asdict
from importlib.resources import files
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from phonelm_search.core.errors import ConfigurationError, first_line, shown, unwritable
from phonelm_search.core.statistics import Floats
from phonelm_search.core.textfile import parse_json, read_text
from phonelm_search.quality.law.discrepancy import Discrepancy, Points
from phonelm_search.quality.law.form import OWN, SHARED, Dimensions
from phonelm_search.quality.law.posterior import Evidence, Gaussian, LawPrior, QualityLaw

_NO_LAW = (
    ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError,
)  # fmt: skip
_USUAL = (
    (32, 8192), (1, 128), (8, 256), (0.1, 16), (1, 64), (1e5, 1e14), range(5),
)  # fmt: skip
"""Widths, depths, head dimensions, shares, groups, tokens and kinds of shapes."""
_MOST_MEAN, _VARIANCES = 30.0, (1e-12, 1e4)
"""Of logarithms and shares; beyond, what is made of them is no number."""
_SHIPPED = files("phonelm_search.quality.law") / "prior.json"


def load_prior(path: Path | None = None) -> LawPrior:
    """Read a law.

    Args:
        path: Its file; None: the one that ships with the package.

    Raises:
        ConfigurationError: If it cannot be read, or is none.
    """
    try:
        if path is None:
            return decode_prior(json.loads(_SHIPPED.read_text(encoding="utf-8")))
        prior = decode_prior(parse_json(read_text(path)))
        _check_losses(prior)
        return prior
    except ConfigurationError:
        raise
    except _NO_LAW as error:
        raise ConfigurationError(
            f"{path or 'the shipped law'} must be a law as `law fit` writes it: {first_line(error)}"
        ) from error


def _check_losses(prior: LawPrior) -> None:
    """Refuse coefficients that tell no loss of some usual shape.

    Raises:
        ValueError: If one is infinite, or the logarithm of a number below 0.
    """
    values = np.array(list(product(*_USUAL)))
    widths, depths, heads, shares, groups, tokens, kinds = values.T
    shapes = Dimensions(
        width=widths, depth=depths, head_dim=heads, share=shares, groups=groups,
        kinds=np.equal.outer(kinds, range(1, 5)).astype(float),
    )  # fmt: skip
    with np.errstate(all="ignore"):
        told = QualityLaw(prior).log_loss(Points(shapes=shapes, tokens=tokens))
    if not (np.isfinite(told.mean).all() and np.isfinite(told.deviation).all()):
        raise ValueError("its coefficients must tell a finite loss of every usual shape")


def save_prior(prior: LawPrior, path: Path) -> None:
    """Write a law.

    Raises:
        ConfigurationError: If it cannot be written.
    """
    document = encode_prior(prior)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(unwritable(path, error)) from error


def encode_prior(prior: LawPrior) -> dict[str, Any]:
    """A law as what JSON can hold."""
    return {
        "shared": _encoded(prior.shared, SHARED),
        "own": _encoded(prior.own, OWN),
        "discrepancy": asdict(prior.discrepancy),
        "evidence": asdict(prior.evidence),
        "sources": list(prior.sources),
    }


def _encoded(gaussian: Gaussian, names: tuple[str, ...]) -> dict[str, Any]:
    return {
        "names": names,
        "mean": [float(f"{x:.6g}") for x in gaussian.mean],
        "covariance": [[float(f"{x:.6g}") for x in row] for row in gaussian.covariance],
    }


def decode_prior(document: dict[str, Any]) -> LawPrior:
    """The inverse of `encode_prior`.

    Raises:
        ValueError, TypeError, KeyError: If the document is none of its.
    """
    discrepancy: dict[str, Any] = {
        k: tuple(map(_number, v)) if isinstance(v, list | tuple) else _number(v)
        for k, v in document["discrepancy"].items()
    }
    evidence = {k: (_number(low), _number(high)) for k, (low, high) in document["evidence"].items()}
    return LawPrior(
        shared=_gaussian(document["shared"], SHARED),
        own=_gaussian(document["own"], OWN),
        discrepancy=Discrepancy(**discrepancy),
        evidence=Evidence(**evidence),
        sources=tuple(map(str, document["sources"])),
    )


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e300:
        raise ValueError(f"a number must be positive and finite, got {shown(value)}")
    return float(value)


def _plausible(variances: Floats) -> bool:
    low, high = _VARIANCES
    return bool(((variances >= low) & (variances <= high)).all())


def _gaussian(document: dict[str, Any], names: tuple[str, ...]) -> Gaussian:
    if tuple(document["names"]) != names:
        raise ValueError(f"coefficients must be {', '.join(names)}")
    mean, covariance = np.array(document["mean"], float), np.array(document["covariance"], float)
    if mean.shape != (len(names),) or covariance.shape != (len(names),) * 2:
        raise ValueError(f"there must be {len(names)} coefficients with their covariance")
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        raise ValueError("coefficients and their covariance must be finite")
    if (np.abs(mean) > _MOST_MEAN).any() or not _plausible(np.diag(covariance)):
        raise ValueError("coefficients and their variances must be of a usual size")
    np.linalg.cholesky(covariance)  # LinAlgError is a ValueError
    return Gaussian(mean=mean, covariance=covariance)
