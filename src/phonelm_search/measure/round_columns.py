"""Rounds of one workload at one place by columns: what the comparison of shapes is fitted to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from phonelm_search.core.round_median import RoundMedian
from phonelm_search.core.statistics import Floats
from phonelm_search.measure.arrays_file import json_array, json_of
from phonelm_search.measure.effects import Observations

_FIRST, _PHONE = 0.05, 0.2
"""Deviation of how much slower a session is that was made first, and a phone than its kind, before
anything is seen: the first was 1 to 6 % slower on average (results/LOG.md)."""
_NAMES = "names"


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundColumns:
    """Rounds, and which shapes and processes they are of."""

    shapes: Sequence[tuple[str, bool]]
    """Shape id, and whether it is the twin; as `Observations.shapes` numbers them."""
    processes: Sequence[str]
    """Names, as `Observations.processes` numbers them."""
    ends: Sequence[str]
    """UTC time of the last round of each process, ISO 8601."""
    observations: Observations
    """The rounds."""

    @classmethod
    def of(cls, rounds: Sequence[RoundMedian]) -> "RoundColumns":
        """Of rounds in the order they were made.

        Raises:
            ValueError: If there is none.
        """
        if not rounds:
            raise ValueError("at least one round must be given, got none")
        ids, twins, paired_ns, names, places, serials, created = zip(*rounds, strict=True)
        shapes: list[tuple[str, bool]] = list(zip(ids, twins, strict=True))
        index = {shape: i for i, shape in enumerate(dict.fromkeys(shapes))}
        ends: dict[str, str] = dict(zip(names, created, strict=True))
        processes = {name: i for i, name in enumerate(ends)}
        covariates = _covariates(places, serials)
        return cls(
            shapes=tuple(index),
            processes=tuple(processes),
            ends=tuple(ends.values()),
            observations=Observations(
                log_ms=np.log(np.array(paired_ns) / 1e6),
                shapes=np.array([index[shape] for shape in shapes]),
                processes=np.array([processes[name] for name in names]),
                covariates=covariates,
                covariate_deviations=np.array([_FIRST, *[_PHONE] * (covariates.shape[1] - 1)]),
            ),
        )

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """As they are kept."""
        ids, twins = zip(*self.shapes, strict=True)
        names = [ids, [i for i, twin in enumerate(twins) if twin], self.processes, self.ends]
        found = {f.name: getattr(self.observations, f.name) for f in fields(Observations)}
        return {**found, _NAMES: json_array(names)}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> "RoundColumns":
        """Of what was kept.

        Raises:
            ValueError: If it is something else.
            KeyError: Likewise.
        """
        ids, twins, processes, ends = json_of(arrays[_NAMES])
        second = set(twins)
        return cls(
            shapes=tuple((shape_id, i in second) for i, shape_id in enumerate(ids)),
            processes=processes,
            ends=ends,
            # Copied: what is mapped lies at any address, which compiled code need not take.
            observations=Observations(
                **{f.name: np.array(arrays[f.name]) for f in fields(Observations)}
            ),
        )


def _covariates(places: Sequence[int], serials: Sequence[str | None]) -> Floats:
    """``[rounds, 1 + phones − 1]``: whether a session was made first; on which phone it ran."""
    columns = [np.array(places) == 0]
    phones = np.array([serial or "" for serial in serials])
    for serial in sorted(set(phones.tolist()))[1:]:
        phone = (phones == serial).astype(float)
        columns.append(phone - phone.mean())  # shapes are told as on the phones' average
    return np.stack(columns, axis=1).astype(float)
