"""Effects of many shapes and processes, drawn without a matrix of all of them.

Whole systems of normal equations are solved with a right side that is disturbed as the equations
say: the solution is a draw (Papandreou & Yuille, Gaussian Sampling by Local Perturbations, 2010).
Shapes are eliminated, for each meets few processes; what is left is solved by conjugate gradients,
whose steps cost as much as there are rounds.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from phonelm_search.core.statistics import Floats

_ACCURACY = 1e-4
"""Of the right side, whose size is that of the noise: far below what draws differ by."""
_MOST_STEPS = 200


class SparseEffects:
    """Draws of shapes, covariates and processes, given how much each round counts.

    Args:
        shapes: ``[rounds]``, index of each round's shape.
        processes: ``[rounds]``, index of its process.
        covariates: ``[rounds, k]``
        information: ``[k]``, of the covariates' coefficients before anything is seen.
        chains: Chains side by side.
    """

    def __init__(
        self,
        shapes: npt.NDArray[np.intp],
        processes: npt.NDArray[np.intp],
        covariates: Floats,
        information: Floats,
        chains: int,
    ) -> None:
        from scipy.sparse import csr_array  # takes a while to load

        self._shapes, self._processes, self._x = shapes, processes, covariates
        self._information, self._chains = information, chains
        self._counts = int(shapes.max()) + 1, int(processes.max()) + 1
        self._order = np.argsort(processes, kind="stable")
        each = np.bincount(processes, minlength=self._counts[1])
        offsets = np.arange(chains)[:, None] * self._counts[0]
        self._met: Any = csr_array(
            (
                np.ones(chains * len(shapes)),
                (shapes[self._order] + offsets).ravel().astype(np.int32),
                np.concatenate([[0], np.cumsum(np.tile(each, chains))]).astype(np.int32),
            ),
            shape=(chains * self._counts[1], chains * self._counts[0]),
        )
        self._transposed: Any = self._met.T

    def draw(
        self,
        log_ms: Floats,
        precision: Floats,
        spread2: Floats,
        start: tuple[Floats, Floats, Floats],
        random: np.random.Generator,
    ) -> tuple[Floats, Floats, Floats]:
        """Draw all effects at once.

        Args:
            log_ms: ``[rounds]``
            precision: ``[chains, rounds]``
            spread2: ``[chains]``, variance between processes.
            start: As what is returned, of the step before.
            random: Of the draws.

        Returns:
            ``[chains, shapes]``, ``[chains, k]`` and ``[chains, processes]``.
        """
        shapes, coefficients, processes = start
        fixed = shapes[:, self._shapes] + coefficients @ self._x.T
        left = log_ms - fixed - processes[:, self._processes]
        pulled = precision * left
        pulled += np.sqrt(precision) * random.standard_normal(precision.shape)
        known = 1 / spread2[:, None]
        system = _System(self, precision, known)
        side = (
            self._of_processes(pulled)
            + np.sqrt(known) * random.standard_normal(processes.shape)
            - known * processes,
            pulled @ self._x
            + np.sqrt(self._information) * random.standard_normal(coefficients.shape)
            - self._information * coefficients,
        )
        of_shapes = self._of_shapes(pulled)
        more, moved = system.solve(system.reduced(side, of_shapes))
        return (
            shapes + (of_shapes - system.on_shapes(more, moved)) / system.shapes,
            coefficients + moved,
            processes + more,
        )

    def _of_shapes(self, values: Floats) -> Floats:
        """``[chains, shapes]``: sums of ``[chains, rounds]``."""
        return np.stack([np.bincount(self._shapes, v, self._counts[0]) for v in values])

    def _of_processes(self, values: Floats) -> Floats:
        """``[chains, processes]``: likewise."""
        return np.stack([np.bincount(self._processes, v, self._counts[1]) for v in values])


class _System:
    """The equations of processes and covariates, shapes eliminated; for all chains at once."""

    def __init__(self, owner: SparseEffects, precision: Floats, known: Floats) -> None:
        x = owner._x
        self._owner, self._information = owner, owner._information
        owner._met.data[:] = precision[:, owner._order].ravel()
        self.shapes = owner._of_shapes(precision)
        self._processes = owner._of_processes(precision) + known
        beside = [precision * column for column in x.T]
        self._x_shapes = [owner._of_shapes(b) for b in beside]
        self._x_processes = [owner._of_processes(b) for b in beside]
        self._crossed = np.einsum("cr,rk,rl->ckl", precision, x, x, optimize=True)
        owner._met.data[:] **= 2
        twice = self._from_shapes(1 / self.shapes)
        owner._met.data[:] = precision[:, owner._order].ravel()
        squares = [(s**2 / self.shapes).sum(axis=1) for s in self._x_shapes]
        own = np.einsum("ckk->ck", self._crossed) + self._information
        self._diagonal = (
            np.maximum(self._processes - twice, known),
            np.maximum(own - np.reshape(squares, (-1, len(precision))).T, self._information),
        )

    def _from_shapes(self, values: Floats) -> Floats:
        found = self._owner._met @ values.ravel()
        return np.asarray(found, float).reshape(len(values), -1)

    def on_shapes(self, processes: Floats, coefficients: Floats) -> Floats:
        """``[chains, shapes]``: what the others pull shapes by."""
        found = np.asarray(self._owner._transposed @ processes.ravel(), float)
        told: Floats = found.reshape(len(processes), -1)
        for k, column in enumerate(self._x_shapes):
            told += coefficients[:, k : k + 1] * column
        return told

    def reduced(self, side: tuple[Floats, Floats], of_shapes: Floats) -> tuple[Floats, Floats]:
        """The right side of the others after shapes are eliminated."""
        share = of_shapes / self.shapes
        beside = [(share * column).sum(axis=1) for column in self._x_shapes]
        return (
            side[0] - self._from_shapes(share),
            side[1] - np.reshape(beside, (-1, len(share))).T,
        )

    def _times(self, processes: Floats, coefficients: Floats) -> tuple[Floats, Floats]:
        share = self.on_shapes(processes, coefficients) / self.shapes
        first = self._processes * processes - self._from_shapes(share)
        second = np.einsum("ckl,cl->ck", self._crossed, coefficients)
        second += self._information * coefficients
        for k, column in enumerate(self._x_processes):
            first += coefficients[:, k : k + 1] * column
            second[:, k] += (processes * column).sum(axis=1)
            second[:, k] -= (share * self._x_shapes[k]).sum(axis=1)
        return first, second

    def solve(self, side: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
        """Conjugate gradients from 0, each chain with its own steps."""
        left = side
        found = np.zeros_like(side[0]), np.zeros_like(side[1])
        turned = left[0] / self._diagonal[0], left[1] / self._diagonal[1]
        along, size = turned, _dot(left, turned)
        enough = _ACCURACY**2 * size
        for _ in range(_MOST_STEPS):
            if (size <= enough).all():
                break
            ahead = self._times(*along)
            step = size / np.maximum(_dot(along, ahead), 1e-300)
            found = found[0] + step * along[0], found[1] + step * along[1]
            left = left[0] - step * ahead[0], left[1] - step * ahead[1]
            turned = left[0] / self._diagonal[0], left[1] / self._diagonal[1]
            after = _dot(left, turned)
            grown = after / np.maximum(size, 1e-300)
            along = turned[0] + grown * along[0], turned[1] + grown * along[1]
            size = after
        return found


def _dot(a: tuple[Floats, Floats], b: tuple[Floats, Floats]) -> Floats:
    """Products of the same chain: ``[chains, 1]``."""
    found: Floats = (a[0] * b[0]).sum(axis=1) + (a[1] * b[1]).sum(axis=1)
    return found[:, None]
