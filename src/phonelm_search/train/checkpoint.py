"""A training's state on disk: safetensors, written whole or not at all."""

import json
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from phonelm_search.core.errors import TrainingError
from phonelm_search.work import file_under_way


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What a checkpoint knows beside tensors."""

    step: int
    """Steps done on the trunk."""
    first_loss: float
    """Training bits per byte of the first step."""
    curve: tuple[tuple[int, float], ...]
    """(tokens, training bits per byte)."""
    seconds: float
    """Wall time so far."""


class Checkpoints:
    """The checkpoints of one training, in a folder of its own.

    Args:
        folder: Made when something is saved.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def steps(self) -> list[int]:
        """Steps that there is a file of, ascending."""
        return sorted(int(f.stem) for f in self._folder.glob("*.safetensors") if f.stem.isdecimal())

    def save(self, progress: Progress, model: nn.Module, optimisers: list[Optimizer]) -> None:
        """Write the state after a step; earlier ones are removed.

        Raises:
            TrainingError: If it cannot be written.
        """
        earlier = self.steps()
        tensors = {k: t.detach() for k, t in _tensors(model, optimisers).items()}
        header = {
            "step": str(progress.step),
            "first_loss": progress.first_loss.hex(),
            "curve": json.dumps(progress.curve),
            "seconds": progress.seconds.hex(),
        }
        file = self._file(progress.step)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with file_under_way(file) as part:
                save_file(tensors, part, header)
        except (OSError, SafetensorError) as error:
            raise TrainingError(
                f"the checkpoint {file} must be writable: {error}; what was trained before is kept"
            ) from error
        for step in earlier:
            if step < progress.step:
                self._file(step).unlink(missing_ok=True)

    def load(self, until: int, model: nn.Module, optimisers: list[Optimizer]) -> Progress | None:
        """Read the latest state of at most ``until`` steps; a damaged file counts as missing."""
        for step in reversed(self.steps()):
            if step <= until:
                found = self._read(step, _tensors(model, optimisers))
                if found is not None:
                    return found
        return None

    def _file(self, step: int) -> Path:
        return self._folder / f"{step:07d}.safetensors"

    def _read(self, step: int, into: dict[str, Tensor]) -> Progress | None:
        try:
            with safe_open(self._file(step), "pt") as file:
                header = file.metadata() or {}
                read = {name: file.get_tensor(name) for name in into}
                progress = Progress(
                    step=int(header["step"]),
                    first_loss=float.fromhex(header["first_loss"]),
                    curve=tuple((int(n), float(b)) for n, b in json.loads(header["curve"])),
                    seconds=float.fromhex(header["seconds"]),
                )
        except (OSError, SafetensorError, KeyError, ValueError):
            return None
        if any(read[name].shape != tensor.shape for name, tensor in into.items()):
            return None
        for name, tensor in into.items():
            tensor.detach().copy_(read[name])
        return progress


def _tensors(model: nn.Module, optimisers: list[Optimizer]) -> dict[str, Tensor]:
    """Weights and moments by name; every optimiser's state must exist already."""
    found: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        found[f"weight.{name}"] = parameter
        for optimiser in optimisers:
            for key, value in optimiser.state.get(parameter, {}).items():
                found[f"{key}.{name}"] = value
    return found
