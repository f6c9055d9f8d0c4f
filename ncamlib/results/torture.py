"""The attacks of `make torture` that the project withstood: the counts behind the claim that nothing gets lost."""

from dataclasses import dataclass

from ncamlib.project import Records


@dataclass(frozen=True)
class Attack:
    """One kind of attack, after which nothing was found wrong."""

    attack: str
    count: int
    minutes: float
    device: str
    date: str
    commit: str


RECORDS = Records("torture.json", Attack)


def record(attack: Attack) -> None:
    """Add an attack, or replace the record of its kind."""
    RECORDS.update(lambda rows: [*(row for row in rows if row.attack != attack.attack), attack])


def markdown() -> str:
    """A table of the latest attacks."""
    lines = ["| attack | times | minutes | date | commit |", "|---|--:|--:|---|---|"]
    for row in sorted(RECORDS.load(), key=lambda row: row.attack):
        lines.append(f"| {row.attack} | {row.count:,} | {row.minutes:.0f} | {row.date} | {row.commit} |")
    return "\n".join(lines)
