"""What a study knows of one shape: its times, its loss, and how sure both are."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from phonelm_search.core.judgement import Verdict
from phonelm_search.core.latency import Extent, Latency, LatencySummary, ScenarioTime
from phonelm_search.core.printable import visible
from phonelm_search.core.reason import Reason
from phonelm_search.core.records import Kind
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.statistics import Floats
from phonelm_search.core.units import format_ms
from phonelm_search.quality import Score
from phonelm_search.reading.row_judgement import RowJudgement, judge_row


def least_coverage(parts: Iterable[Latency]) -> float | None:
    """Least share of a graph's nodes that an accelerator took; None on processors."""
    shares = [p.coverage for p in parts if isinstance(p, LatencySummary)]
    return min((s for s in shares if s is not None), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRow:
    """One shape of a study: measured, or told by models beside those that were."""

    shape: ModelShape
    """The shape."""
    name: str | None
    """A reference's name; None for a sampled shape."""
    time: ScenarioTime
    """Of the study's scenario; of several devices, on the one where the shape is worst off."""
    device: str
    """Name of that device's profile."""
    elsewhere: Mapping[str, ScenarioTime] = field(default_factory=dict)
    """Its times on the study's other devices, by their names."""
    latency: Extent
    """What rows are compared by: time of the whole scenario as a share of the baseline's, which
    shared processes with it; see `StudyView.baseline`."""
    baseline: str
    """Name of what it is a share of."""
    draw: Callable[[], Floats] = field(repr=False, compare=False)
    """Makes ``[draws]`` of it; draws of the same number belong together."""
    loss: Extent
    """Loss as a share of the baseline's after `StudyView.train_tokens`, as the law tells it."""
    draw_loss: Callable[[], Floats] = field(repr=False, compare=False)
    """Makes ``[draws]`` of it; draws of the same number belong together."""
    prior_share: float
    """Share of the prior's variance of it that own trainings left: 1 where they told nothing."""
    doubts: tuple[Reason, ...] = ()
    """Why `latency` is suspect, whatever stands behind it."""
    peak_bytes: int | None
    """Peak memory, where it was measured."""
    score: Score | None
    """What an earlier release trained for the shape itself."""
    estimate_ms: float | None = None
    """Time of the whole scenario as blocks tell it, where they were measured."""

    @property
    def draws(self) -> Floats:
        """``[draws]`` of `latency`, as `draw` makes them."""
        return self.draw()

    @property
    def loss_draws(self) -> Floats:
        """``[draws]`` of `loss`, as `draw_loss` makes them."""
        return self.draw_loss()

    @property
    def kind(self) -> Kind:
        """Measured whole, estimated from blocks, or predicted from other shapes."""
        return self.time.kind

    @property
    def end_to_end_ms(self) -> float:
        """Time of the whole scenario."""
        return self.time.end_to_end.ms

    @property
    def verdict(self) -> Verdict:
        """The worst of its latencies', on all devices, and of the whole."""
        return self.judgement.verdict

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """Why it is not valid."""
        return self.judgement.reasons

    @property
    def coverage(self) -> float | None:
        """Least share of a graph's nodes that an accelerator took; None on processors."""
        return least_coverage(p for time in self.times.values() for p in time.parts)

    @property
    def times(self) -> Mapping[str, ScenarioTime]:
        """Its times on all devices of the study, by their names."""
        return {self.device: self.time, **self.elsewhere}

    @property
    def judgement(self) -> RowJudgement:
        """How far to trust it."""
        parts = [(device, time.parts) for device, time in self.times.items()]
        return judge_row(parts, self.doubts)

    @property
    def notes(self) -> tuple[str, ...]:
        """What is unusual about the graph; estimates tell nothing of it."""
        return self.judgement.notes

    @property
    def bits_per_byte(self) -> float | None:
        """Of that score, where there is one."""
        return self.score.bits_per_byte if self.score else None

    @property
    def latency_text(self) -> str:
        """`latency` in words, with its interval, and milliseconds beside."""
        middle, low, high = self.latency
        on = f" on {self.device}" if self.elsewhere else ""
        return (
            f"{middle:.3g} of {self.baseline}, {low:.3g} to {high:.3g}; "
            f"{format_ms(self.end_to_end_ms)} ms{on}"
        )

    @property
    def label(self) -> str:
        """How pictures call it."""
        return visible(self.name) if self.name else self.shape.label


def names_of(rows: Sequence[StudyRow]) -> list[str]:
    """Labels; ids of those that share one."""
    labels = Counter(label for label, _ in {(r.label, r.shape.shape_id) for r in rows})
    return [r.label if labels[r.label] == 1 else r.shape.shape_id for r in rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedShape:
    """A shape that could not be measured."""

    shape: ModelShape
    """The shape."""
    name: str | None
    """A reference's name; None for a sampled shape."""
    reason: str
    """Why."""
