"""Studies whose losses are told with known answers."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from phonelm_search.core.latency import Extent
from phonelm_search.measure import DRAWS
from phonelm_search.reading import StudyView


def with_losses(
    view: StudyView, losses: Sequence[float], *, deviation: float = 1e-4, prior_share: float = 0.5
) -> StudyView:
    """The same with so much loss of its sampled rows, fastest first, each off on its own."""
    random = np.random.default_rng(0)
    rows = []
    told = iter(losses)
    for row in view.rows:
        if row.name is not None:
            rows.append(row)
            continue
        loss = next(told)
        draws = loss * np.exp(deviation * random.standard_normal(DRAWS))
        low, high = loss * np.exp(np.array([-1.96, 1.96]) * deviation)
        extent = Extent(loss, float(low), float(high))
        draw = partial(np.copy, draws)
        rows.append(replace(row, loss=extent, draw_loss=draw, prior_share=prior_share))
    return replace(view, rows=tuple(rows))
