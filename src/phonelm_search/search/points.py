"""What a sampler asks for next, told by its seed and the trials before alone."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import optuna
from optuna.trial import FrozenTrial

from phonelm_search.search.samplers import make_sampler

_LEARNING = ("tpe", "nsga2")


class Points:
    """Points of a sampler; a search that was stopped gets the same ones as one that was not.

    The sampler is made anew for every trial, with a seed of the trial's own, and asked in memory:
    a trial is written down with all of its point or not at all.

    Args:
        sampler: Name of the sampler.
        seed: Its seed.
        directions: Of the objectives.
        distributions: Of the space's dimensions.
    """

    def __init__(
        self,
        sampler: str,
        seed: int,
        directions: Sequence[Literal["minimize", "maximize"]],
        distributions: Mapping[str, Any],
    ) -> None:
        make_sampler(sampler, seed)  # an unknown name is refused at once
        self._sampler, self._seed = sampler, seed
        self._directions, self._distributions = list(directions), dict(distributions)
        self._memory = self._study()

    def _study(self) -> optuna.Study:
        storage = optuna.storages.InMemoryStorage()
        return optuna.create_study(storage=storage, directions=self._directions)

    def begin(self, trials: Sequence[FrozenTrial]) -> None:
        """Forget all trials but these, in their order: those that a batch is asked after."""
        self._memory = self._study()
        if self._sampler in _LEARNING:
            self._memory.add_trials(trials)

    def add(self, trial: FrozenTrial) -> None:
        """A trial of the batch whose point came from elsewhere."""
        if self._sampler in _LEARNING:
            self._memory.add_trial(trial)

    def next(self, number: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """The point of the trial of a number, and what the sampler keeps with it."""
        seed = int(self.random(number).integers(2**32))
        self._memory.sampler = make_sampler(self._sampler, seed)
        self._memory.ask(self._distributions)
        trial = self._memory.get_trials(deepcopy=False)[-1]
        return dict(trial.params), dict(trial.system_attrs)

    def random(self, number: int) -> np.random.Generator:
        """What else is drawn for the trial of a number."""
        return np.random.default_rng([self._seed, number])
