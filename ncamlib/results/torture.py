"""What was thrown at the project by `make torture`, and held: the counts behind the claim that nothing gets lost."""

from dataclasses import dataclass

from ncamlib.project import Records


@dataclass(frozen=True)
class Attack:
    """One kind of attack, after all of which nothing was wrong."""

    attack: str
    count: int
    minutes: float
    device: str
    date: str
    commit: str


RECORDS = Records("torture.json", Attack)


def record(attack: Attack) -> None:
    """Add an attack, or replace what was recorded of its kind."""
    RECORDS.update(lambda rows: [*(row for row in rows if row.attack != attack.attack), attack])


def markdown() -> str:
    """A table of the last attacks."""
    lines = ["| attack | times | minutes | date | commit |", "|---|--:|--:|---|---|"]
    for row in sorted(RECORDS.load(), key=lambda row: row.attack):
        lines.append(f"| {row.attack} | {row.count:,} | {row.minutes:.0f} | {row.date} | {row.commit} |")
    return "\n".join(lines)
