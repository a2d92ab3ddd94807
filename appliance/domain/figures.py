"""Numbers that stages tell about themselves, on their way to `/metrics`.

Invariant: labels are closed sets, never ids; a family is told whole or not at all. A histogram here
is a list of counts, so that a process which only counts needs no library for it.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Final

from msgspec import Struct

SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0, 600.0)
"""Upper ends of the bins of durations."""


class Kind(StrEnum):
    """What a number does: only grow, go up and down, or count durations in bins."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Sample(Struct, frozen=True, kw_only=True):
    """One number, or the counts of a histogram's bins with the sum of what was counted."""

    labels: dict[str, str]
    value: float
    bins: tuple[int, ...] = ()


class Family(Struct, frozen=True, kw_only=True):
    """Numbers of one name; that of a counter ends in `_total`."""

    name: str
    kind: Kind
    meaning: str
    samples: tuple[Sample, ...]


class Histogram:
    """Durations counted in the bins of `SECONDS`, the last one open."""

    def __init__(self) -> None:
        self._bins = [0] * (len(SECONDS) + 1)
        self._sum = 0.0

    def observe(self, seconds: float, *, times: int = 1) -> None:
        """Count a duration, once or several times."""
        self._bins[bisect_left(SECONDS, seconds)] += times
        self._sum += seconds * times

    def sample(self, **labels: str) -> Sample:
        """What was counted by now."""
        return Sample(labels=labels, value=self._sum, bins=tuple(self._bins))


class Report(Struct, frozen=True, kw_only=True):
    """What one process tells about itself now and then."""

    process: str
    pid: int
    families: tuple[Family, ...]


def merge(families: Iterable[Family]) -> tuple[Family, ...]:
    """One family for each name, in order of first appearance, with the samples of all."""
    found: dict[str, Family] = {}
    for family in families:
        known = found.get(family.name)
        found[family.name] = family if known is None else _joined(known, family)
    return tuple(found.values())


def _joined(one: Family, other: Family) -> Family:
    return Family(
        name=one.name,
        kind=one.kind,
        meaning=one.meaning,
        samples=(*one.samples, *other.samples),
    )


def render(families: Sequence[Family]) -> str:
    """The families in Prometheus' text form."""
    lines: list[str] = []
    for family in families:
        lines.append(f"# HELP {family.name} {family.meaning}")
        lines.append(f"# TYPE {family.name} {family.kind}")
        for sample in family.samples:
            lines.extend(_lines(family, sample))
    return "\n".join(lines) + "\n" if lines else ""


def _lines(family: Family, sample: Sample) -> list[str]:
    if family.kind is not Kind.HISTOGRAM:
        return [f"{family.name}{_labels(sample.labels)} {sample.value:.17g}"]
    lines: list[str] = []
    below = 0
    for number, end in zip(sample.bins, (*(f"{end:g}" for end in SECONDS), "+Inf"), strict=True):
        below += number
        lines.append(f"{family.name}_bucket{_labels({**sample.labels, 'le': end})} {below}")
    lines.append(f"{family.name}_sum{_labels(sample.labels)} {sample.value:.17g}")
    lines.append(f"{family.name}_count{_labels(sample.labels)} {below}")
    return lines


def _labels(labels: dict[str, str]) -> str:
    if not labels:
        return ""
    pairs = ",".join(f'{name}="{_quoted(text)}"' for name, text in labels.items())
    return f"{{{pairs}}}"


def _quoted(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
