"""How sure a score is, and whether two scores differ. Pure functions of validation chunks."""

import math

import numpy as np

from phonelm_search.errors import TrainingError
from phonelm_search.records import ProxyScore

SEED_DEVIATION = 0.017
"""Deviation of a paired difference between seeds, in bits per byte.

One seed cannot show it. Assumed from what was measured before this project at 1M parameters: a
score's deviation was 0.006 to 0.018 once the shift common to a seed was removed, and a difference
of two scores has √2 times that; the middle of the range is taken.
"""


def score_interval(score: ProxyScore) -> float | None:
    """Half width of the 95 % interval of bits per byte, from the validation text's sampling.

    The standard error of a ratio of sums over chunks; None without a score.
    """
    if score.bits_per_byte is None or len(score.chunk_bits) < 2:
        return None
    bits, text_bytes = np.asarray(score.chunk_bits), np.asarray(score.chunk_bytes)
    return 1.96 * _ratio_error(bits - score.bits_per_byte * text_bytes, text_bytes)


def paired_difference(a: ProxyScore, b: ProxyScore) -> tuple[float, float]:
    """Difference of two scores on the same chunks, and its deviation.

    Returns:
        bits per byte of a minus those of b, and the deviation of that difference: the chunks'
        and, as each was trained with one seed, `SEED_DEVIATION`.

    Raises:
        TrainingError: If the two were not scored on the same text in the same way.
    """
    same = (a.settings_id, a.seed) == (b.settings_id, b.seed)
    if not same or a.chunk_bytes != b.chunk_bytes or not a.chunk_bits:
        raise TrainingError(
            "two scores must be of the same settings, seed and validation text to be compared, "
            f"got {a.settings_id} with seed {a.seed} and {b.settings_id} with seed {b.seed}; "
            "score the study again"
        )
    text_bytes = np.asarray(a.chunk_bytes)
    bits = np.asarray(a.chunk_bits) - np.asarray(b.chunk_bits)
    difference = float(bits.sum() / text_bytes.sum())
    return difference, math.hypot(
        _ratio_error(bits - difference * text_bytes, text_bytes), SEED_DEVIATION
    )


def _ratio_error(residuals: np.ndarray, text_bytes: np.ndarray) -> float:
    n = len(residuals)
    return float(math.sqrt(n / (n - 1) * np.square(residuals).sum()) / text_bytes.sum())
