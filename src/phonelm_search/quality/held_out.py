"""How the law would have told the largest trainings of a study, had they not been made."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from phonelm_search.core.statistics import Z_95, Floats
from phonelm_search.core.units import format_counted
from phonelm_search.quality.law import (
    LawCheck,
    LawPrior,
    QualityLaw,
    Training,
    check_fitted,
    observations_of,
)

_RUNG = 1.15  # ratio of sizes that are one rung
_LEAST = 2  # trainings that a rung must have to be held out


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOutRung:
    """The largest size that was trained, left out of a second fit and told by it."""

    trainings: tuple[Training, ...]
    """Of that size."""
    told: Floats
    """``[n]``: loss that the law tells, over the mean of the rung, as a share."""
    error: Floats
    """``[n]``: half width of its 95 % interval."""
    trained: Floats
    """``[n]``: loss as it came out, likewise."""
    check: LawCheck
    """Orders and errors."""

    @property
    def summary(self) -> str:
        """In one sentence."""
        sizes = [t.shape.decoder_parameters for t in self.trainings]
        text = (
            f"of {format_counted(len(sizes), 'training')} of {min(sizes) / 1e6:.2g}M parameters "
            f"that it was not fitted to, the law tells losses, one shift for all, to "
            f"{self.check.median_error:.1%} (median)"
        )
        if self.check.rightly_ordered is None:
            return f"{text}; no two of equal length are 0.3 % apart"
        right = round(self.check.rightly_ordered * self.check.pairs)
        return f"{text} and orders {right} of {format_counted(self.check.pairs, 'pair')} rightly"


def held_out_rung(prior: LawPrior, trainings: Sequence[Training]) -> HeldOutRung | None:
    """Fit the law without the largest size and ask it for that.

    Args:
        prior: The law before the study.
        trainings: Of the study; those of the last one's text are looked at.

    Returns:
        None where that size has fewer than two trainings.
    """
    own = [t for t in trainings if t.dataset == trainings[-1].dataset]
    if not own:
        return None
    largest = max(t.shape.decoder_parameters for t in own)
    rung = [t for t in own if t.shape.decoder_parameters * _RUNG >= largest]
    rest = [t for t in own if t.shape.decoder_parameters * _RUNG < largest]
    if len(rung) < _LEAST:
        return None
    law = QualityLaw(prior, observations_of(rest) if rest else None, dataset=own[0].dataset)
    observed = observations_of(rung)
    mean, covariance = law.joint(observed.points)
    covariance = covariance + prior.discrepancy.of_runs(observed.points, observed.runs)
    centred = np.eye(len(rung)) - 1 / len(rung)
    variance = np.diag(centred @ covariance @ centred)
    return HeldOutRung(
        trainings=tuple(rung),
        told=np.expm1(centred @ mean),
        error=Z_95 * np.sqrt(np.maximum(variance, 0)),
        trained=np.expm1(centred @ observed.log_loss),
        check=check_fitted(law, observed),
    )
