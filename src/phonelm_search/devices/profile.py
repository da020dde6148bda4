"""The device-profile YAML as pydantic reads it."""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    field_validator,
    model_validator,
)

from phonelm_search.core.defaults import DEFAULT_PRECISION
from phonelm_search.core.precision import PRECISIONS, Precision, get_precision
from phonelm_search.core.workload import MOST_TOKENS, PHASES, Phase, Workload
from phonelm_search.core.yamlfile import Named, NamedFiles, validate

CPU = "CPUExecutionProvider"
STATIC_PROVIDERS = ("QNNExecutionProvider",)
"""Those that take static integer graphs, compiled for a chip."""
DEVICES = NamedFiles("device_profiles", "device profile")

_MOST_CORES = 4096
_Tokens = Annotated[int, Field(ge=1, le=MOST_TOKENS)]
_Core = Annotated[int, Field(ge=0, lt=_MOST_CORES)]


class ProfileWorkload(BaseModel):
    """What ``profile`` measures when nothing else is asked."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompt_tokens: tuple[_Tokens, ...] = (128,)
    context_tokens: tuple[_Tokens, ...] = (512,)


class Thermal(BaseModel):
    """When a phone is cool enough for a round."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    highest_start_c: float = Field(default=45.0, gt=0, le=100)
    """A round begins at no higher temperature of the processor; where only the battery's is told,
    at no higher one than `battery_start_c`."""
    battery_start_c: float = Field(default=36.0, gt=0, le=100)
    """The battery's, which stays far below the processor's."""
    longest_cooldown_s: float = Field(default=300.0, ge=0, le=86_400)
    """After so long it begins all the same; its records then tell how hot it was."""

    def limit_c(self, *, of_battery: bool) -> float:
        """The limit for a temperature, by what it is of."""
        return (
            min(self.battery_start_c, self.highest_start_c) if of_battery else self.highest_start_c
        )


class PerPhase(BaseModel):
    """A name for each phase; in YAML one name for both, or ``{prefill: …, decode: …}``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prefill: str
    decode: str

    @classmethod
    def of_both(cls, name: str) -> "PerPhase":
        """The same name for both."""
        return cls(prefill=name, decode=name)

    def of(self, phase: Phase) -> str:
        """The name for a phase."""
        return self.prefill if phase == "prefill" else self.decode

    def __str__(self) -> str:
        if self.prefill == self.decode:
            return self.decode
        return f"prefill {self.prefill}, decode {self.decode}"


def _for_both(value: Any) -> Any:
    return PerPhase.of_both(value) if isinstance(value, str) else value


def _written(value: PerPhase) -> Any:
    return value.decode if value.prefill == value.decode else dict(value)


_PerPhase = Annotated[PerPhase, BeforeValidator(_for_both), PlainSerializer(_written)]


class DeviceProfile(Named):
    """One file of ``device_profiles/``."""

    connection: Literal["local", "adb"] = "local"
    match: dict[str, str] = Field(default_factory=dict)
    """Properties (``getprop``) that a phone must have, for example ``ro.product.model``."""
    cores: Literal["big", "all"] | Annotated[tuple[_Core, ...], Field(min_length=1)] = "all"
    """Cores to run on: all, those of at least half the largest capacity, or numbers."""
    thermal: Thermal | None = None
    """Of a phone; by default `Thermal`'s own."""
    runtime: str = "onnxruntime"
    execution_provider: _PerPhase = PerPhase.of_both(CPU)
    provider_options: dict[str, str] = Field(default_factory=dict)
    """Of the provider that is not the CPU's."""
    threads: Annotated[int, Field(ge=1, le=_MOST_CORES)] | Literal["all"] = "all"
    allow_fallback: tuple[str, ...] = ()
    """Operators of a graph that may run elsewhere than on the execution provider."""
    precision: _PerPhase = PerPhase.of_both(DEFAULT_PRECISION)
    cache: Literal["cold", "warm"] = "cold"
    workload: ProfileWorkload = ProfileWorkload()

    @field_validator("precision")
    @classmethod
    def _known_precision(cls, value: PerPhase) -> PerPhase:
        return PerPhase(
            prefill=get_precision(value.prefill).name, decode=get_precision(value.decode).name
        )

    @property
    def scheme(self) -> Precision:
        """The precision scheme; where phases differ, decode's, whose weights every token reads."""
        return self.scheme_of("decode")

    def scheme_of(self, phase: Phase) -> Precision:
        """The precision scheme of a phase."""
        return get_precision(self.precision.of(phase))

    def is_accelerated(self, phase: Phase) -> bool:
        """Whether a phase runs on static integer graphs, which are compiled for a chip."""
        return self.scheme_of(phase).storage == "static"

    @property
    def accelerated(self) -> bool:
        """Whether any phase runs on an accelerator."""
        return bool(self.accelerated_phases)

    @property
    def accelerated_phases(self) -> tuple[Phase, ...]:
        """The phases that run on an accelerator."""
        return tuple(p for p in PHASES if self.is_accelerated(p))

    def for_phase(self, phase: Phase) -> "DeviceProfile":
        """The same device with a phase's provider and precision for both.

        The processor takes no options beside another provider, whose they are.
        """
        theirs = self.execution_provider
        beside = theirs.of(phase) == CPU and theirs.prefill != theirs.decode
        return self.model_copy(
            update={
                "execution_provider": PerPhase.of_both(theirs.of(phase)),
                "precision": PerPhase.of_both(self.precision.of(phase)),
                "provider_options": {} if beside else self.provider_options,
            }
        )

    @property
    def parts(self) -> tuple["DeviceProfile", ...]:
        """The device for each phase; one where they are alike."""
        first, step = self.for_phase("prefill"), self.for_phase("decode")
        return (first,) if first == step else (first, step)

    @property
    def schemes(self) -> tuple[Precision, ...]:
        """The precision schemes of the phases, decode's first; one where they are alike."""
        first, step = self.scheme_of("prefill"), self.scheme
        return (step,) if first == step else (step, first)

    def with_precision(self, precision: PerPhase | str) -> Self:
        """The same device with another scheme for both phases, or for each.

        Raises:
            UnknownNameError: If there is none of that name.
            ConfigurationError: If a provider does not take it.
        """
        if isinstance(precision, str):
            precision = PerPhase.of_both(get_precision(precision).name)
        if precision == self.precision:
            return self
        changed = {**self.model_dump(), "precision": dict(precision)}
        return validate(changed, type(self), source=f"{self.name} with precision {precision}")

    def cache_mode(self, workload: Workload) -> Literal["cold", "warm"]:
        """How weights meet the cache: prefill is bound by computing and always measured warm.

        An accelerator has no cache of the processor's; models that take turns see to its own.
        """
        warm = workload.phase == "prefill" or self.is_accelerated(workload.phase)
        return "warm" if warm else self.cache

    @model_validator(mode="after")
    def _integers_for_accelerators(self) -> Self:
        for phase in PHASES:
            provider, scheme = self.execution_provider.of(phase), self.scheme_of(phase)
            wants = provider in STATIC_PROVIDERS
            if wants != (scheme.storage == "static"):
                schemes = [p.name for p in PRECISIONS.values() if (p.storage == "static") == wants]
                raise ValueError(
                    f"{provider} takes a precision of {', '.join(schemes)}, got {scheme.name} "
                    f"for {phase}"
                )
        if len(self.accelerated_phases) == 2 and self.precision.prefill != self.precision.decode:
            raise ValueError(
                "an accelerator that runs both phases takes one precision, since they share the KV "
                f"cache, got {self.precision}"
            )
        if self.accelerated_phases == ("decode",):
            raise ValueError(
                "prefill on the processor before decode on an accelerator is not timed: the KV "
                "cache would have to become integers; take the accelerator for prefill, too"
            )
        return self

    @model_validator(mode="after")
    def _phones_alone(self) -> Self:
        if self.connection == "local" and (self.match or self.thermal):
            raise ValueError("match and thermal are for connection: adb")
        return self

    def thread_count(self, cores: int) -> int:
        """Threads that compute on so many cores; ``all`` is one for each."""
        return cores if self.threads == "all" else self.threads


def load_device(name: str) -> DeviceProfile:
    """Load a device profile by name or path.

    Raises:
        UnknownNameError: If there is none of that name.
        ConfigurationError: If the file is malformed; the message names the file and the key.
    """
    return DEVICES.load(name, DeviceProfile)
