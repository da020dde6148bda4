"""Which tokens a step trains on: a function of seed and step, the same for every candidate."""

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int64]


class Batches:
    """Batches of a tokenised text, every stretch once per epoch, shuffled.

    Common random numbers: shapes of one study see the same text in the same order, which takes
    off the larger part of the deviation between seeds. A step's batch depends on nothing before
    it, so that a training resumes anywhere.

    Args:
        tokens: The text; longer than one batch.
        sequence: Tokens of a sequence.
        batch: Sequences of a step.
        seed: Any integer from 0 on.
    """

    def __init__(
        self, tokens: npt.NDArray[np.uint16], *, sequence: int, batch: int, seed: int
    ) -> None:
        self._tokens, self._sequence, self._batch, self._seed = tokens, sequence, batch, seed
        # An epoch begins at an offset below one sequence, so the last one may not fit.
        self.steps_per_epoch = ((len(tokens) - 1) // sequence - 1) // batch
        self._epoch: tuple[int, Ids] | None = None

    def __getitem__(self, step: int) -> Ids:
        """Token ids ``[batch, sequence + 1]`` of a step, from 0 on without end."""
        epoch, index = divmod(step, self.steps_per_epoch)
        if self._epoch is None or self._epoch[0] != epoch:
            rng = np.random.default_rng([self._seed, epoch])
            offset = int(rng.integers(self._sequence))
            starts = np.arange(offset, len(self._tokens) - self._sequence, self._sequence)
            rng.shuffle(starts)
            self._epoch = (epoch, starts)
        starts = self._epoch[1][index * self._batch : (index + 1) * self._batch]
        found: Ids = self._tokens[starts[:, None] + np.arange(self._sequence + 1)].astype(np.int64)
        return found


def validation_chunks(tokens: npt.NDArray[np.uint16], *, sequence: int, count: int) -> Ids:
    """Chunks ``[n, sequence + 1]`` spread evenly over the tokens, without overlap; n ≤ count."""
    available = (len(tokens) - 1) // sequence
    picked = np.unique(np.linspace(0, available - 1, min(count, available)).round().astype(int))
    return tokens[picked[:, None] * sequence + np.arange(sequence + 1)].astype(np.int64)
