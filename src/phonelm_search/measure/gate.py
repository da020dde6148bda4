"""Which shapes a device computes rightly; each kernel size is checked once and remembered."""

from collections.abc import Sequence

from phonelm_search.core.errors import MeasurementError, TransportError, UnsupportedShapeError
from phonelm_search.core.records import NumericsCheck
from phonelm_search.core.shape import ModelShape
from phonelm_search.devices import DeviceProfile
from phonelm_search.graph import GRAPH_VERSION
from phonelm_search.measure import numerics
from phonelm_search.measure.bench import Bench
from phonelm_search.store import Store

Refusal = MeasurementError | UnsupportedShapeError


class Gate:
    """Checks the logits of shapes before anything is timed.

    Args:
        store: Where checks are kept.
        executor: Runs them.
    """

    def __init__(self, store: Store, executor: Bench) -> None:
        self._store, self._executor = store, executor
        self._known: dict[tuple[str, str], NumericsCheck] | None = None

    def refusals(self, shapes: Sequence[ModelShape]) -> list[Refusal | None]:
        """Why each shape must not be timed; None where its logits are right.

        Raises:
            StoreError: If the database cannot be read or written.
            TransportError: If the device is lost.
        """
        found: list[Refusal | None] = [None] * len(shapes)
        for device in self._executor.processors:
            theirs = self._refusals(shapes, device)
            found = [first or second for first, second in zip(found, theirs, strict=True)]
        return found

    def _refusals(
        self, shapes: Sequence[ModelShape], device: DeviceProfile
    ) -> list[Refusal | None]:
        gates = [numerics.gate_shape(s) for s in shapes]
        known, precision = self._checks(), device.scheme.name
        missing = list(dict.fromkeys(g for g in gates if (precision, g.shape_id) not in known))
        failures = self._check(missing, device)
        return [failures.get(g) or self._refusal(known[precision, g.shape_id]) for g in gates]

    def _checks(self) -> dict[tuple[str, str], NumericsCheck]:
        if self._known is None:
            found = self._store.numerics(environment_id=self._executor.environment_id)
            self._known = {
                (c.precision, c.shape_id): c for c in found if c.graph_version == GRAPH_VERSION
            }
        return self._known

    def _check(
        self, gates: Sequence[ModelShape], device: DeviceProfile
    ) -> dict[ModelShape, Refusal]:
        """Check gates in one process; where that fails, in a process for each."""
        if not gates:
            return {}
        try:
            checks = self._executor.check_numerics(gates, device)
        except TransportError:
            raise
        except (MeasurementError, UnsupportedShapeError) as error:
            if len(gates) == 1:
                return {gates[0]: error}
            return {g: e for gate in gates for g, e in self._check([gate], device).items()}
        for check in checks:
            self._store.set_numerics(check)
            self._checks()[check.precision, check.shape_id] = check
        return {}

    def _refusal(self, check: NumericsCheck) -> Refusal | None:
        return numerics.refusal(
            check,
            device=self._executor.device.name,
            capabilities=self._executor.capabilities(),
        )
