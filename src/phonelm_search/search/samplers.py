"""Optuna samplers by name."""

from typing import Any, Literal, get_args

import optuna

from phonelm_search.core.errors import UnknownNameError
from phonelm_search.space import Coordinates

SamplerName = Literal["model", "tpe", "nsga2", "random", "grid"]
SAMPLERS: tuple[SamplerName, ...] = get_args(SamplerName)
_STARTUP = 10
_POPULATION = 20


def check_sampler(name: str) -> None:
    """Refuse an unknown sampler before anything is started with it.

    Raises:
        UnknownNameError: If there is none of that name.
    """
    if name not in SAMPLERS:
        raise UnknownNameError("sampler", name, list(SAMPLERS))


def make_sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    """A sampler; ``grid`` draws nothing itself, its points are enqueued.

    ``model`` draws at random: half of a study's shapes, of which a model of latency tells the
    shapes that the other half is made of.

    Raises:
        UnknownNameError: If there is none of that name.
    """
    if name == "tpe":
        return optuna.samplers.TPESampler(
            seed=seed, multivariate=True, n_startup_trials=_STARTUP, constant_liar=True
        )
    if name == "nsga2":
        return optuna.samplers.NSGAIISampler(seed=seed, population_size=_POPULATION)
    if name in ("model", "random", "grid"):
        return optuna.samplers.RandomSampler(seed=seed)
    raise UnknownNameError("sampler", name, list(SAMPLERS))


def distributions(coordinates: Coordinates) -> dict[str, Any]:
    """Optuna distributions of a space's dimensions."""
    found: dict[str, Any] = {}
    for d in coordinates.dimensions:
        if d.kind == "categorical":
            found[d.name] = optuna.distributions.CategoricalDistribution(d.choices)
        elif d.kind == "int":
            found[d.name] = optuna.distributions.IntDistribution(int(d.low), int(d.high))
        else:
            found[d.name] = optuna.distributions.FloatDistribution(d.low, d.high)
    return found


def grid_rows(size: int, trials: int) -> list[int]:
    """``trials`` rows spread evenly over ``size`` enumerated shapes."""
    count = min(size, trials)
    return [round(i * (size - 1) / max(1, count - 1)) for i in range(count)]
