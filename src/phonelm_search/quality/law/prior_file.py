"""The law in a file: the one that ships with the package, and those that teams fit."""

import json
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from phonelm_search.core.errors import ConfigurationError, first_line, shown
from phonelm_search.core.textfile import read_text
from phonelm_search.quality.law.discrepancy import Discrepancy
from phonelm_search.quality.law.form import OWN, SHARED
from phonelm_search.quality.law.posterior import Evidence, Gaussian, LawPrior

_NO_LAW = (
    ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError,
)  # fmt: skip
_SHIPPED = files("phonelm_search.quality.law") / "prior.json"


def load_prior(path: Path | None = None) -> LawPrior:
    """Read a law.

    Args:
        path: Its file; None: the one that ships with the package.

    Raises:
        ConfigurationError: If it cannot be read, or is none.
    """
    try:
        text = _SHIPPED.read_text(encoding="utf-8") if path is None else read_text(path)
        return decode_prior(json.loads(text))
    except ConfigurationError:
        raise
    except _NO_LAW as error:
        raise ConfigurationError(
            f"{path or 'the shipped law'} must be a law as `law fit` writes it: {first_line(error)}"
        ) from error


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
        raise ConfigurationError(f"{path} must be writable: {error}") from error


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
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e300:
        raise ValueError(f"a number must be positive and finite, got {shown(value)}")
    return float(value)


def _gaussian(document: dict[str, Any], names: tuple[str, ...]) -> Gaussian:
    if tuple(document["names"]) != names:
        raise ValueError(f"coefficients must be {', '.join(names)}")
    mean, covariance = np.array(document["mean"], float), np.array(document["covariance"], float)
    if mean.shape != (len(names),) or covariance.shape != (len(names),) * 2:
        raise ValueError(f"there must be {len(names)} coefficients with their covariance")
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        raise ValueError("coefficients and their covariance must be finite")
    np.linalg.cholesky(covariance)  # LinAlgError is a ValueError
    return Gaussian(mean=mean, covariance=covariance)
