"""Which part of a graph an accelerator took, and whether that is enough to call a number its own.

Execution providers give what they don't take to the processor, and say nothing.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Assigned:
    """Where a node runs."""

    name: str
    """Its name."""
    op_type: str
    """Its operator."""
    provider: str
    """The execution provider that took it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fallback:
    """Nodes of one operator that ran elsewhere."""

    op_type: str
    """The operator."""
    count: int
    """How many."""
    flops_share: float
    """Their share of the graph's arithmetic."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """How much of a graph one provider ran."""

    provider: str
    """The one that was asked for."""
    nodes: int
    """All nodes."""
    fallbacks: tuple[Fallback, ...]
    """What ran elsewhere, the most frequent first."""

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> "Coverage":
        """As ``asdict`` gave it."""
        strays = tuple(Fallback(**f) for f in found["fallbacks"])
        return cls(**{**found, "fallbacks": strays})

    @property
    def share(self) -> float:
        """Share of the nodes that the provider ran."""
        return 1 - sum(f.count for f in self.fallbacks) / self.nodes

    def refused(self, allowed: Collection[str]) -> str | None:
        """Why no number of this graph is the provider's; None where all is well.

        Args:
            allowed: Operators that may run elsewhere.
        """
        strays = [f for f in self.fallbacks if f.op_type not in allowed]
        if not strays:
            return None
        named = ", ".join(f"{f.op_type} ×{f.count} ({f.flops_share:.1%} of FLOPs)" for f in strays)
        return (
            f"every node must run on {self.provider}, {sum(f.count for f in strays)} of "
            f"{self.nodes} did not: {named}; change the graph, or name operators that may in the "
            "profile's allow_fallback"
        )


def coverage_of(assigned: Sequence[Assigned], provider: str, flops: Mapping[str, int]) -> Coverage:
    """Count what ran where.

    Args:
        assigned: Every node, read when the graph was compiled.
        provider: The one that was asked for.
        flops: Operations of the nodes that compute, by name.

    Raises:
        ValueError: If there is no node: a session on a compiled context tells nothing.
    """
    if not assigned:
        raise ValueError("the assignment of nodes must be read from a session that compiles")
    total = sum(flops.values())
    strays = [a for a in assigned if a.provider != provider]
    shares: Counter[str] = Counter()
    for a in strays:
        shares[a.op_type] += flops.get(a.name, 0)
    counts = Counter(a.op_type for a in strays)
    return Coverage(
        provider=provider,
        nodes=len(assigned),
        fallbacks=tuple(
            Fallback(op_type=op, count=n, flops_share=shares[op] / total if total else 0.0)
            for op, n in counts.most_common()
        ),
    )
