"""The device-profile YAML as pydantic reads it."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from phonelm_search.errors import ConfigurationError
from phonelm_search.precision import Precision, get_precision
from phonelm_search.workload import Workload, decode, prefill
from phonelm_search.yamlfile import NamedFiles, load_yaml

DEVICES = NamedFiles("device_profiles", "device profile")

_Tokens = Annotated[int, Field(ge=1)]
_Core = Annotated[int, Field(ge=0)]


class ProfileWorkload(BaseModel):
    """What ``profile`` measures when nothing else is asked."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompt_tokens: tuple[_Tokens, ...] = (128,)
    context_tokens: tuple[_Tokens, ...] = (512,)

    def workloads(self) -> tuple[Workload, ...]:
        """Every prompt's prefill and every context's decode step."""
        return (
            *(prefill(n) for n in self.prompt_tokens),
            *(decode(n) for n in self.context_tokens),
        )


class Thermal(BaseModel):
    """When a phone is cool enough for a round."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    highest_start_c: float = Field(default=45.0, gt=0, le=100)
    """A round begins at no higher temperature of the processor; where only the battery's is told,
    at no higher one than `battery_start_c`."""
    battery_start_c: float = Field(default=36.0, gt=0, le=100)
    """The battery's, which stays far below the processor's."""
    longest_cooldown_s: float = Field(default=300.0, ge=0)
    """After so long it begins all the same; its records then tell how hot it was."""

    def limit_c(self, *, of_battery: bool) -> float:
        """The limit for a temperature, by what it is of."""
        return (
            min(self.battery_start_c, self.highest_start_c) if of_battery else self.highest_start_c
        )


class DeviceProfile(BaseModel):
    """One file of ``device_profiles/``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    connection: Literal["local", "adb"] = "local"
    match: dict[str, str] = {}
    """Properties (``getprop``) that a phone must have, for example ``ro.product.model``."""
    cores: Literal["big", "all"] | Annotated[tuple[_Core, ...], Field(min_length=1)] = "all"
    """Cores to run on: all, those of at least half the largest capacity, or numbers."""
    thermal: Thermal | None = None
    """Of a phone; by default `Thermal`'s own."""
    runtime: str = "onnxruntime"
    execution_provider: str = "CPUExecutionProvider"
    provider_options: dict[str, str] = {}
    threads: Annotated[int, Field(ge=1)] | Literal["all"] = "all"
    precision: str = "int4-b32"
    cache: Literal["cold", "warm"] = "cold"
    workload: ProfileWorkload = ProfileWorkload()

    @field_validator("precision")
    @classmethod
    def _known_precision(cls, value: str) -> str:
        return get_precision(value).name

    @property
    def scheme(self) -> Precision:
        """The precision scheme."""
        return get_precision(self.precision)

    def cache_mode(self, workload: Workload) -> Literal["cold", "warm"]:
        """How weights meet the cache: prefill is bound by computing and always measured warm."""
        return "warm" if workload.phase == "prefill" else self.cache

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
    path = DEVICES.resolve(name)
    profile = load_yaml(path, DeviceProfile)
    if profile.name != path.stem:
        raise ConfigurationError(
            f"{path}: name must be the file's, '{path.stem}', got '{profile.name}'"
        )
    return profile
