"""Successive halving on the trunk, within depth bins, kept as an Optuna study of its own.

At short horizons shallow shapes learn faster, so a shape is only held against others of about
its depth. A rung's decision waits for the whole bin: it depends on the values alone, and not on
which training was quicker.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from phonelm_search.core.records import identity
from phonelm_search.store import Store, open_optuna_storage, optuna_calls
from phonelm_search.train import Candidate, TrainingSettings

_SHARES = (0.25, 0.5)
"""Rungs, as shares of the trunk."""
_LEAST_IN_BIN = 4
_BIN, _SHAPE = "depth_bin", "shape_id"
_DIMENSIONS = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """A point of the trunk where the weaker half stops."""

    step: int
    """Optimiser steps done."""
    tokens: int
    """Tokens trained on."""


def plan_rungs(settings: TrainingSettings, *, candidates: int, finalists: int) -> list[Rung]:
    """Where candidates are compared; nowhere when all of them can be finalists."""
    if candidates <= finalists:
        return []
    trunk = settings.trunk_steps
    steps = dict.fromkeys(max(1, round(share * trunk)) for share in _SHARES)
    return [Rung(step=s, tokens=s * settings.step_tokens) for s in steps if s < trunk]


def depth_bins(depths: Sequence[int], finalists: int) -> list[int]:
    """The bin of each candidate: equal counts by depth, at least four to a bin where there are.

    Args:
        depths: Layers of each candidate.
        finalists: How many shall be left; a bin keeps at least two of them where it can.
    """
    count = max(1, min(finalists // 2, len(depths) // _LEAST_IN_BIN))
    order = np.argsort(depths, kind="stable")
    bins = np.empty(len(depths), int)
    for number, members in enumerate(np.array_split(order, count)):
        bins[members] = number
    return [int(b) for b in bins]


def survivors(values: Mapping[str, float], finalists: int, *, last: bool) -> set[str]:
    """Who of one bin goes on from a rung.

    Args:
        values: Bits per byte by shape id.
        finalists: How many of the bin shall be left at the end.
        last: Whether no rung comes after; then exactly those are left, else the better half, and
            never fewer than the finalists.
    """
    kept = finalists if last else max(finalists, math.ceil(len(values) / 2))
    return set(sorted(values, key=lambda shape_id: (values[shape_id], shape_id))[:kept])


class Halving:
    """The Optuna study of one scoring: a trial a candidate, a step a rung.

    Args:
        store: Its database.
        study: Name of the study that is scored.
        settings: How candidates are trained.
        candidates: Who takes part.
        seed: Of the trainings.
        finalists: How many shall be left.
        anew: Whether an earlier halving of the same candidates is dropped.

    Raises:
        StoreError: If the database cannot be used.
    """

    def __init__(
        self,
        store: Store,
        study: str,
        settings: TrainingSettings,
        candidates: Sequence[Candidate],
        *,
        seed: int,
        finalists: int,
        anew: bool = False,
    ) -> None:
        bins = depth_bins([c.trained.num_hidden_layers for c in candidates], finalists)
        dimensions = {n: [getattr(c.shape, n) for c in candidates] for n in _DIMENSIONS}
        self._distributions: dict[str, optuna.distributions.BaseDistribution] = {
            n: optuna.distributions.IntDistribution(min(v), max(v)) for n, v in dimensions.items()
        }
        shares = np.array_split(range(finalists), max(bins) + 1)
        self._finalists = [len(share) for share in shares]
        self.rungs = plan_rungs(settings, candidates=len(candidates), finalists=finalists)
        ids = sorted(c.shape.shape_id for c in candidates)
        content = {
            "settings": settings.settings_id,
            "seed": seed,
            "candidates": ids,
            "finalists": finalists,
        }
        name = f"{study}.score-{identity(content)}"
        with optuna_calls("open"):
            storage = open_optuna_storage(store)
            if anew and name in optuna.get_all_study_names(storage):
                optuna.delete_study(study_name=name, storage=storage)
            self._study = optuna.create_study(
                study_name=name,
                storage=storage,
                direction="minimize",
                sampler=optuna.samplers.RandomSampler(seed=0),  # every trial's point is given
                pruner=optuna.pruners.NopPruner(),  # a whole bin is judged at once, see `weak`
                load_if_exists=True,
            )
            known = {t.user_attrs[_SHAPE]: t for t in self._study.get_trials(deepcopy=False)}
            self._numbers = {
                c.shape.shape_id: (
                    known[c.shape.shape_id].number
                    if c.shape.shape_id in known
                    else self._start(c, bins[i])
                )
                for i, c in enumerate(candidates)
            }

    def _start(self, candidate: Candidate, number: int) -> int:
        shape = candidate.shape
        trial = optuna.trial.create_trial(
            state=TrialState.RUNNING,
            params={name: getattr(shape, name) for name in _DIMENSIONS},
            distributions=self._distributions,
            user_attrs={_SHAPE: shape.shape_id, _BIN: number},
        )
        self._study.add_trial(trial)
        return max(t.number for t in self._study.get_trials(deepcopy=False))

    def running(self) -> set[str]:
        """Candidates that are neither stopped nor finished."""
        return {i for i in self._numbers if self._frozen(i).state == TrialState.RUNNING}

    def value(self, shape_id: str, rung: Rung) -> float | None:
        """What a candidate reported at a rung."""
        return self._frozen(shape_id).intermediate_values.get(rung.tokens)

    def values(self, shape_id: str) -> tuple[tuple[int, float], ...]:
        """(tokens, bits per byte) of all rungs that a candidate came to."""
        return tuple(sorted(self._frozen(shape_id).intermediate_values.items()))

    def report(self, shape_id: str, rung: Rung, bits_per_byte: float) -> None:
        """A candidate came to a rung."""
        with optuna_calls("write"):
            self._trial(shape_id).report(bits_per_byte, rung.tokens)

    def finished(self) -> set[str]:
        """Candidates that came to the end."""
        return {i for i in self._numbers if self._frozen(i).state == TrialState.COMPLETE}

    def weak(self, rung: Rung) -> dict[str, str]:
        """Who is still running and not among the survivors of a rung, and why in words.

        Everyone who is still running must have reported: a bin is judged by all its values at
        this rung, those of stopped candidates included, so the answer is the same at any time.
        """
        found = {}
        running = self.running()
        for number, finalists in enumerate(self._finalists):
            members = self._members(number)
            values = {
                t.user_attrs[_SHAPE]: t.intermediate_values[rung.tokens]
                for t in members
                if rung.tokens in t.intermediate_values
            }
            kept = survivors(values, finalists, last=rung == self.rungs[-1])
            layers = [t.params["num_hidden_layers"] for t in members]
            for shape_id in values.keys() & running - kept:
                found[shape_id] = (
                    f"stopped by halving after {rung.tokens} tokens at {values[shape_id]:.3f} "
                    f"bits per byte (undecayed), behind {len(kept)} of {len(members)} candidates "
                    f"of {min(layers)} to {max(layers)} layers"
                )
        return found

    def _members(self, number: int) -> list[FrozenTrial]:
        with optuna_calls("read"):
            trials = self._study.get_trials(deepcopy=False)
        return [t for t in trials if t.user_attrs[_BIN] == number]

    def stop(self, shape_id: str) -> None:
        """A candidate goes no further."""
        with optuna_calls("write"):
            self._study.tell(self._numbers[shape_id], state=TrialState.PRUNED)

    def finish(self, shape_id: str, bits_per_byte: float | None) -> None:
        """A candidate has its score, or failed."""
        if self._frozen(shape_id).state != TrialState.RUNNING:
            return
        with optuna_calls("write"):
            if bits_per_byte is None:
                self._study.tell(self._numbers[shape_id], state=TrialState.FAIL)
            else:
                self._study.tell(self._numbers[shape_id], bits_per_byte)

    def _frozen(self, shape_id: str) -> FrozenTrial:
        with optuna_calls("read"):
            return self._study.get_trials(deepcopy=False)[self._numbers[shape_id]]

    def _trial(self, shape_id: str) -> optuna.Trial:
        trials: Collection[FrozenTrial] = self._study.get_trials(deepcopy=False)
        (trial_id,) = [t._trial_id for t in trials if t.number == self._numbers[shape_id]]
        return optuna.Trial(self._study, trial_id)
