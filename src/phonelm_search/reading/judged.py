"""How rounds of shapes at one place were judged, by columns."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from phonelm_search.core.judged_round import JudgedRound
from phonelm_search.core.latency import Extent, LatencySummary
from phonelm_search.core.reason import Reason
from phonelm_search.core.statistics import Floats
from phonelm_search.measure import RoundsJudgement, json_array, json_of, judge_together

Indices = npt.NDArray[np.intp]
_NONE = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedColumns:
    """What the rounds of each shape and workload come to, but for their time."""

    judgements: Sequence[RoundsJudgement]
    """What was said of some measurement."""
    codes: Indices
    """``[shapes, workloads]``: which of them; -1 where there is no round."""
    bandwidths: Floats
    """``[shapes, workloads]``: bytes/s that could be read at the time; NaN where unknown."""
    peaks: npt.NDArray[np.int64]
    """``[shapes]``: bytes of peak memory; -1 where it was not measured."""

    @classmethod
    def of(
        cls,
        rounds: Iterable[JudgedRound],
        keys: Sequence[Sequence[str]],
        file_keys: Sequence[str],
    ) -> "JudgedColumns":
        """Of rounds in the order they were made.

        Args:
            rounds: Those of the keys, and others.
            keys: ``[workloads, shapes]``: of measurements.
            file_keys: ``[shapes]``: of those that exist for their peak memory.
        """
        found: dict[str, list[JudgedRound]] = {}
        for m in rounds:
            found.setdefault(m.key, []).append(m)
        numbers: dict[RoundsJudgement, int] = {}
        codes = np.full((len(file_keys), len(keys)), _NONE, np.intp)
        bandwidths = np.full(codes.shape, np.nan)
        for workload, of_shapes in enumerate(keys):
            for shape, key in enumerate(of_shapes):
                if key in found:
                    judgement, bandwidth = judge_together(found[key])
                    codes[shape, workload] = numbers.setdefault(judgement, len(numbers))
                    bandwidths[shape, workload] = np.nan if bandwidth is None else bandwidth
        peaks = [found[key][-1].peak_bytes if key in found else None for key in file_keys]
        return cls(
            judgements=tuple(numbers),
            codes=codes,
            bandwidths=bandwidths,
            peaks=np.array([_NONE if p is None else p for p in peaks], np.int64),
        )

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """As they are kept."""
        return {
            "judgements": json_array([asdict(j) for j in self.judgements]),
            "codes": self.codes, "bandwidths": self.bandwidths, "peaks": self.peaks,
        }  # fmt: skip

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> "JudgedColumns":
        """Of what was kept.

        Raises:
            ValueError: If it is something else.
            KeyError: Likewise.
            TypeError: Likewise.
        """
        return cls(
            judgements=tuple(map(_judgement, json_of(arrays["judgements"]))),
            codes=arrays["codes"],
            bandwidths=arrays["bandwidths"],
            peaks=arrays["peaks"],
        )

    @property
    def whole(self) -> npt.NDArray[np.bool_]:
        """``[shapes]``: whether each workload has a round."""
        found: npt.NDArray[np.bool_] = np.all(self.codes != _NONE, axis=1)
        return found

    @property
    def rejected(self) -> npt.NDArray[np.bool_]:
        """``[shapes]``: whether all rounds of a workload were rejected."""
        bad = np.array([j.verdict == "rejected" for j in self.judgements] + [False])
        found: npt.NDArray[np.bool_] = np.any(bad[self.codes], axis=1)
        return found

    def of_shape(self, shape: int) -> tuple[RoundsJudgement, ...]:
        """Of a shape that has rounds of each workload."""
        return tuple([self.judgements[code] for code in self.codes[shape].tolist()])

    def summary(self, shape: int, workload: int, ms: Extent) -> LatencySummary:
        """One measurement with its time, which all rounds beside each other tell."""
        bandwidth = float(self.bandwidths[shape, workload])
        judgement = self.judgements[int(self.codes[shape, workload])]
        return judgement.summary(ms, None if np.isnan(bandwidth) else bandwidth)

    def peak_bytes(self, shape: int) -> int | None:
        """Peak memory, where it was measured."""
        peak = int(self.peaks[shape])
        return None if peak == _NONE else peak


def _judgement(told: Mapping[str, Any]) -> RoundsJudgement:
    reasons = tuple(Reason(**r) for r in told["reasons"])
    return RoundsJudgement(**{**told, "reasons": reasons, "notes": tuple(told["notes"])})
