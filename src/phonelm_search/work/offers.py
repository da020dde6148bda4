"""What nodes of a cluster announce: devices to measure, and trainings at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from phonelm_search.core.errors import EngineError

TRAININGS, GPU_TRAININGS = "phonelm:train", "phonelm:train-gpu"
"""Resources of a node that trains: so many at once, on its processors or on its GPUs."""
_PREFIX = "phonelm:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node that lives."""

    name: str
    """What it calls itself."""
    resources: Mapping[str, float]
    """What it offers, in use or not."""

    @property
    def ours(self) -> dict[str, float]:
        """Of that, what is announced for this package."""
        return {k: v for k, v in sorted(self.resources.items()) if k.startswith(_PREFIX)}


def device_resource(profile: str, unit: str) -> str:
    """The resource that a node announces for one device.

    Args:
        profile: Name of its profile.
        unit: Serial of a phone, or the name of a machine whose processor it is.
    """
    return f"{_PREFIX}{profile}:{unit}"


def offered(nodes: Sequence[Node], resource: str) -> float:
    """How much of a resource all nodes offer together."""
    return sum(n.resources.get(resource, 0.0) for n in nodes)


def device_offers(
    nodes: Sequence[Node], profile: str, serials: Sequence[str] = ()
) -> dict[str, float]:
    """Resources of all devices of a profile, and how many processors their nodes have.

    Args:
        nodes: Those that live.
        profile: Its name.
        serials: Of phones; none: all of them. Those of other profiles are passed over.

    Raises:
        EngineError: If there is none.
    """
    prefix = device_resource(profile, "")
    found = {
        resource: node.resources.get("CPU", 0.0)
        for node in nodes
        for resource in node.ours
        if resource.startswith(prefix)
    }
    every = {r for n in nodes for r in n.ours}
    for serial in serials:
        if not any(r.endswith(f":{serial}") for r in every):
            missing = device_resource(profile, serial)
            raise EngineError(_missing(missing, nodes, f"--device {profile} --serial {serial}"))
    named = {r: c for r, c in found.items() if r[len(prefix) :] in serials}
    chosen = named or found
    if not chosen:
        raise EngineError(_missing(f"{prefix}*", nodes, f"--device {profile}"))
    return chosen


def gpu_share(nodes: Sequence[Node]) -> float:
    """The share of a GPU that one training takes; 0 where nobody trains on GPUs."""
    shares = [
        n.resources.get("GPU", 0.0) / n.resources[GPU_TRAININGS]
        for n in nodes
        if n.resources.get(GPU_TRAININGS)
    ]
    share = min(shares, default=0.0)
    return float(int(share)) if share >= 1 else int(share * 10_000) / 10_000  # as Ray counts


def in_words(nodes: Sequence[Node]) -> str:
    """What nodes offer, as a person reads it."""
    parts = [
        f"{n.name}: {', '.join(f'{k} ({v:g})' for k, v in n.ours.items()) or 'nothing of ours'}"
        for n in nodes
    ]
    return "; ".join(parts) or "nothing, for there is none"


def _missing(resource: str, nodes: Sequence[Node], options: str) -> str:
    return (
        f"a node must offer {resource}, none does; nodes offer {in_words(nodes)}; announce it with "
        f"`phonelm-search ray-node {options}`"
    )
