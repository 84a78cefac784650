"""Many boots of several contenders → medians, ratios to the floor, and the table. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from contender import FLOOR, OURS, OURS_STRIPPED
from machine import Clock

#: How far the guest's clock may be from the host's: the stopwatch itself is worth 5 %.
CLOCK_TOLERANCE = 0.03

#: Contender → clock → the most it may take, as a multiple of the floor with signed modules.
BARS = {
    OURS: {Clock.ICOUNT: 1.15, Clock.STOPWATCH: 1.15},
    OURS_STRIPPED: {Clock.ICOUNT: 0.5, Clock.STOPWATCH: 0.95},
}


@dataclass(frozen=True)
class Row:
    """One contender on one machine by one clock."""

    target: str
    clock: Clock
    contender: str
    seconds: tuple[float, ...]
    """Every boot's stage, in the order in which they ran."""
    gzip_bytes: int
    clock_ratios: tuple[float, ...] = ()
    """Host seconds a guest second, by the boots that ticked: 1 where the stopwatch can be believed."""
    failures: tuple[str, ...] = ()
    """Boots that gave no figure and were run again, and why."""

    @property
    def median(self) -> float:
        """The median stage, in seconds."""
        return median(self.seconds)

    @property
    def spread(self) -> float:
        """(slowest - fastest) / median."""
        return (max(self.seconds) - min(self.seconds)) / self.median


def ratio(row: Row, rows: list[Row]) -> float | None:
    """The row's median over the floor's on the same machine by the same clock; `None` where no floor was run."""
    for other in rows:
        if (other.target, other.clock, other.contender) == (row.target, row.clock, FLOOR):
            return row.median / other.median
    return None


def as_json(rows: list[Row]) -> list[dict[str, object]]:
    """The rows for a script: seconds, bytes, plain numbers."""
    return [
        {
            "target": row.target,
            "clock": row.clock.value,
            "contender": row.contender,
            "median_s": round(row.median, 6),
            "boots_s": list(row.seconds),
            "spread": round(row.spread, 4),
            "gzip_bytes": row.gzip_bytes,
            "host_per_guest_second": [round(value, 4) for value in row.clock_ratios],
            "failed_boots": list(row.failures),
            "ratio": value if (value := ratio(row, rows)) is None else round(value, 4),
            "bar": BARS.get(row.contender, {}).get(row.clock),
        }
        for row in rows
    ]


def as_text(rows: list[Row]) -> str:
    """One block a machine and clock, aligned."""
    blocks = []
    for target, clock in dict.fromkeys((row.target, row.clock) for row in rows):
        boots = max(len(row.seconds) for row in rows if (row.target, row.clock) == (target, clock))
        lines = [
            f"{target}, {clock.value}, median of {boots}",
            f"  {'contender':<16} {'stage s':>9} {'spread':>7} {'gzip KiB':>9} {'x floor':>8}  bar",
        ]
        for row in rows:
            if (row.target, row.clock) != (target, clock):
                continue
            value = ratio(row, rows)
            bar = BARS.get(row.contender, {}).get(row.clock)
            lines.append(
                f"  {row.contender:<16} {row.median:>9.4f} {row.spread:>7.1%} {row.gzip_bytes / 1024:>9.0f} "
                f"{'-' if value is None else f'{value:.3f}':>8}  "
                f"{'' if bar is None or value is None else f'<= {bar} ' + ('met' if value <= bar else 'MISSED')}".rstrip()
            )
            if row.failures:
                lines.append(f"    boots that failed and were repeated: {len(row.failures)}")
            clock_ratio = median(row.clock_ratios) if row.clock_ratios else 1
            if abs(clock_ratio - 1) > CLOCK_TOLERANCE:
                lines.append(f"    not to be believed: a guest second took {clock_ratio:.2f} s of the host")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)
