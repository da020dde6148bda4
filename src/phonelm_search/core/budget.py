"""Limits that a person has: times, memory and loss that a shape must keep."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite
from typing import Any, Literal, get_args

from phonelm_search.core.errors import ConfigurationError, UnknownNameError, shown
from phonelm_search.core.units import format_bytes, format_ms, parse_bytes, parse_ms
from phonelm_search.core.workload import Scenario

Quantity = Literal["ttft", "tpot", "latency", "memory", "loss"]
QUANTITIES: tuple[Quantity, ...] = get_args(Quantity)
Texts = Sequence[str] | str | None
_NAMES: Mapping[Quantity, str] = {
    "ttft": "TTFT", "tpot": "TPOT", "latency": "end to end", "memory": "memory", "loss": "loss",
}  # fmt: skip
_LONGEST_NUMBER = 20
_NO_LIMIT = "none"
"""In place of a limit: the study has none any more."""
_PERCENT = re.compile(r"^([+-]?[0-9]+(?:\.[0-9]+)?) ?%$")
_SCENARIO = re.compile(r"^(?:(?P<device>.+)=)?(?P<scenario>[^=:]+=[0-9]+:[0-9]+):(?P<time>.+)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """One limit.

    Raises:
        ConfigurationError: If it is not positive, or memory is limited on one device.
    """

    quantity: Quantity
    """What is limited: time to first token, time per output token, time of the whole scenario,
    weights and KV cache at its end, or loss."""
    limit: float
    """In ms, bytes, or as a share of the baseline's loss; infinite: none any more."""
    device: str | None = None
    """Name of the device's profile that it holds for; None: each."""
    scenario: str | None = None
    """Which scenario a latency is of, as a person wrote it; None: the study's."""

    def __post_init__(self) -> None:
        if not self.limit > 0:
            raise ConfigurationError(
                f"--max-{self.quantity} must be positive, got {self.shown(self.limit)}"
            )
        if self.quantity == "memory" and self.device:
            raise ConfigurationError(
                "--max-memory holds for all devices, which store the same weights; got one for "
                f"{self.device}"
            )

    @property
    def name(self) -> str:
        """What is limited, and where."""
        return _NAMES[self.quantity] + (f" on {self.device}" if self.device else "")

    def shown(self, value: float) -> str:
        """A value of the quantity in its unit."""
        if self.quantity == "memory":
            return format_bytes(value)
        return f"{value - 1:+.1%}" if self.quantity == "loss" else f"{format_ms(value)} ms"

    @property
    def text(self) -> str:
        """As ``TTFT ≤ 400 ms``."""
        return f"{self.name} ≤ {self.shown(self.limit)}"


def parse_budget(quantity: Quantity, text: str) -> Budget:
    """Parse ``400ms``, ``DEVICE=400ms``, ``chat=256:128:900ms``, ``300MB``, ``+1%`` or ``none``.

    Raises:
        ConfigurationError: If the text is no such limit.
    """
    option = f"--max-{quantity}"
    if text.strip().lower() == _NO_LIMIT:
        return Budget(quantity=quantity, limit=inf)
    try:
        if quantity == "loss":
            return Budget(quantity=quantity, limit=_share(text))
        if quantity == "latency" and (match := _SCENARIO.match(text)):
            scenario = str(Scenario.parse(match["scenario"]))
            limit = parse_ms(match["time"])
            return Budget(quantity=quantity, limit=limit, device=match["device"], scenario=scenario)
        device, equals, value = text.rpartition("=")
        if equals and not device:
            raise ValueError(f"a device's name must stand before '=', got '{text}'")
        limit = float(parse_bytes(value)) if quantity == "memory" else parse_ms(value)
    except ValueError as error:
        raise ConfigurationError(f"{option}: {error}") from error
    return Budget(quantity=quantity, limit=limit, device=device or None)


def parse_budgets(
    *,
    ttft: Texts = (),
    tpot: Texts = (),
    latency: Texts = (),
    memory: Texts = (),
    loss: Texts = (),
) -> tuple[Budget, ...]:
    """Budgets as options and functions take them, see `parse_budget`.

    Raises:
        ConfigurationError: If one is no limit, two limit the same, or ``none`` stands beside one.
    """
    found: list[Budget] = []
    for quantity, given in zip(QUANTITIES, (ttft, tpot, latency, memory, loss), strict=True):
        texts = [given] if isinstance(given, str) else given or ()
        found += [parse_budget(quantity, t) for t in texts]
    places = [(b.quantity, b.device) for b in found]
    cleared = [b.quantity for b in found if not isfinite(b.limit)]
    for place in places:
        if place[0] in cleared and [q for q, _ in places].count(place[0]) > 1:
            raise ConfigurationError(f"--max-{place[0]} must be none or a limit, got both")
        if places.count(place) > 1:
            of = f" of {place[1]}" if place[1] else ""
            raise ConfigurationError(f"--max-{place[0]}{of} must be given once")
    return tuple(found)


def check_budgets(budgets: Sequence[Budget], devices: Sequence[str], scenario: str) -> None:
    """Refuse budgets that a study cannot tell.

    Args:
        budgets: The budgets.
        devices: Names of the study's devices.
        scenario: What it measures.

    Raises:
        ConfigurationError: If a device is none of them, or a scenario is another one.
    """
    for budget in budgets:
        if budget.device is not None and budget.device not in devices:
            raise UnknownNameError("device of this study", budget.device, list(devices))
        if budget.scenario is not None and budget.scenario != scenario:
            raise ConfigurationError(
                f"--max-latency must be of the scenario that is measured, {scenario}, got "
                f"{budget.scenario}; give --scenario {budget.scenario} to another study"
            )


def with_budgets(known: Sequence[Budget], given: Sequence[Budget]) -> tuple[Budget, ...]:
    """Budgets that a study has, after some were given: each takes the place of all of its quantity.

    Args:
        known: What the study has.
        given: As `parse_budgets` reads them; one without a limit leaves none.
    """
    changed = {b.quantity for b in given}
    kept = [b for b in known if b.quantity not in changed]
    found = [*kept, *(b for b in given if isfinite(b.limit))]
    return tuple(sorted(found, key=lambda b: QUANTITIES.index(b.quantity)))


def budgets_of(config: Mapping[str, Any]) -> tuple[Budget, ...]:
    """Those that a study's configuration holds."""
    return tuple(Budget(**b) for b in config.get("budgets", ()))


def _share(text: str) -> float:
    match = _PERCENT.match(text.strip())
    if match is None or len(match[1]) > _LONGEST_NUMBER:
        raise ValueError(
            f"a loss must be told against the baseline's, such as +1%, got {shown(text)}"
        )
    return 1 + float(match[1]) / 100
