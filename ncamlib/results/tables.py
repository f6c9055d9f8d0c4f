"""The recorded results as tables: the rows of the paper, the published numbers and ours."""

import itertools
import math
import re
import statistics
from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

from ncamlib import data
from ncamlib.config import Experiment
from ncamlib.errors import NcamError
from ncamlib.experiments import CHAPTERS, EXPERIMENTS, ROUGH
from ncamlib.project import write_atomically
from ncamlib.results import pca, quality, store, studies, trials
from ncamlib.results.measurement import BEST, TABLE, Result
from ncamlib.results.trials import Trial

BEGIN, END = "<!-- results: written by 'ncam list --write', not by hand -->", "<!-- end of results -->"
OWN = "Models of your own"


def summary() -> list[dict[str, Any]]:
    """One row per experiment, with the paper's result and ours; models of one's own come last."""
    best, alike = store.load(BEST), store.load(TABLE)
    own = [name for name in best if name not in EXPERIMENTS]
    rows = [_summary(name, EXPERIMENTS[name], best.get(name), alike.get(name)) for name in EXPERIMENTS]
    return rows + [_summary(name, None, best[name], alike.get(name)) for name in own]


def _summary(name: str, experiment: Experiment | None, best: Result | None, alike: Result | None) -> dict[str, Any]:
    run = best or alike  # a run that is only compared ships no checkpoint
    yardstick = run and pca.load().get(run.data_digest)
    errors = ("mse", "mse_rgb_white", "psnr", "heldout_mse", "holders")
    about = ("train_steps", "minutes", "data_digest", "note")
    return {
        "name": name,
        "dataset": experiment.images if experiment else "",
        "table": experiment.table if experiment else OWN,
        "row": experiment.row if experiment else "",
        "paper_mse": experiment and experiment.paper_mse,
        "pca_mse": yardstick.left(experiment.model.embedding) if yardstick and experiment else None,
        "images": data.count(experiment.images) if experiment else run and run.images,
        **{key: best and getattr(best, key) for key in errors},
        **{key: run and getattr(run, key) for key in about},
        "device": run and " + ".join(run.devices),
        "commit": run and " + ".join(run.commits),
        "devices": run.devices if run else [],
        "commits": run.commits if run else [],
        "others": run.others if run else {},
        "table_mse": alike and alike.mse,
        "table_steps": alike and alike.train_steps,
    }


def machine(devices: Sequence[str]) -> str:
    """Recorded devices without their threads and trade marks, as a table shows them."""
    parts = (device.split(",")[0].replace("(R)", "").replace("(TM)", "") for device in devices)
    return ", ".join(dict.fromkeys(part.removesuffix(" Processor").strip() for part in parts))


def short(commits: Sequence[str]) -> str:
    """Recorded commits, as a table shows them."""
    return ", ".join(commit[:7] for commit in commits)


def number(value: float | None) -> str:
    """An error as the tables show it: four decimal places, halves rounded up as in the paper (0.05035 -> 0.0504)."""
    if value is None:
        return "–"
    return str(Decimal(repr(value)).quantize(Decimal("0.0001"), ROUND_HALF_UP)) if value < 10 else f"{value:.0e}"


def published(name: str, error: float | None) -> str:
    """The paper's error of an experiment, as the tables show it."""
    return f"≈{error:g}" if name in ROUGH else number(error)


def markdown(rows: list[dict[str, Any]], book: str = "") -> str:
    """The results as a Markdown table, grouped as in the paper; experiments not yet trained show a dash.

    `book` is the path to the folder of the chapters.
    """
    titles = ["experiment", "paper", "ours", "matched", "PCA", "PSNR (dB)", "steps", "min", "machine", "commit"]
    empty = " |" * (len(titles) - 1)
    lines = [f"| {' | '.join(titles)} |", f"|---|{'--:|' * 7}---|---|"]
    for where, group in itertools.groupby(rows, key=lambda row: row["table"]):
        notes = []
        title = f"[{where}]({book}{CHAPTERS[where]}.ipynb)" if where in CHAPTERS else where
        lines.append(f"| **{title}** |{empty}")
        for row in group:
            errors = (number(row[key]) for key in ("mse", "table_mse", "pca_mse"))
            cells = [f"`{row['name']}`", published(row["name"], row["paper_mse"]), *errors]
            if row["train_steps"] is not None:
                psnr = "–" if row["psnr"] is None else f"{row['psnr']:.1f}"
                cells += [psnr, f"{row['train_steps']:,}", f"{row['minutes']:.0f}"]
                cells += [machine(row["devices"]), short(row["commits"])]
                notes += [f"images {row['note']}"] if row["note"] else []
                notes += [f"{start}, whose {steps:,} steps are counted" for start, steps in _starts(row)]
            lines.append(f"| {' | '.join(cells)} |{' |' * (len(titles) - len(cells))}")
        lines += [f"| *{note}* |{empty}" for note in dict.fromkeys(notes)]
    return "\n".join(lines)


def _starts(row: dict[str, Any]) -> list[tuple[str, int]]:
    """That a run started from other experiments, one after the other, in words, with the steps of all."""
    chain = ", and that from ".join(f"`{other}`" for other in reversed(row["others"]))
    return [(f"`{row['name']}` started from {chain}", sum(row["others"].values()))] if chain else []


def runs_markdown() -> str:
    """The models that took several runs: how each run was started, and its optimiser steps, in Markdown."""
    runs: dict[str, Result] = {}
    for row in store.rows():
        runs.setdefault(row.experiment, row)  # the best comes first
    lines = ["| experiment | first | then | minutes of its runs | their optimiser steps |", "|---|---|---|--:|--:|"]
    for name, result in runs.items():
        own = [part for part in result.parts if not part.experiment]
        if len(result.parts) > 1 and all(part.step for part in own):  # an old record keeps only the sums
            chain = result.others  # the last of which it went on from
            first = f"`--from {[*chain][-1]}` (of {sum(chain.values()):,} steps)" if chain else "from random weights"
            then = f"{len(own) - 1} × `--more`" if len(own) > 1 else "–"
            minutes, steps = (
                " + ".join(each) for each in zip(*((f"{p.minutes:.0f}", f"{p.step:,}") for p in own), strict=True)
            )
            lines.append(f"| `{name}` | {first} | {then} | {minutes} | {steps} |")
    return "\n".join(lines)


def compared_markdown(rows: list[dict[str, Any]]) -> str:
    """The paper's errors beside those of our best runs, as a short Markdown table of the rows that have both."""
    lines = ["| experiment | paper | ours | ours / paper |", "|---|--:|--:|--:|"]
    both = [row for row in rows if row["paper_mse"] and row["mse"] is not None]
    for where, group in itertools.groupby(both, key=lambda row: row["table"]):
        lines.append(f"| **[{where}]({CHAPTERS[where]}.ipynb)** | | | |")
        for row in group:
            paper = published(row["name"], row["paper_mse"])
            ratio = "–" if row["name"] in ROUGH else f"{row['mse'] / row['paper_mse']:.2f}"
            lines.append(f"| `{row['name']}` | {paper} | {number(row['mse'])} | {ratio} |")
    lines += [f"| *{start}, not from random weights* | | | |" for row in both for start, _ in _starts(row)]
    return "\n".join(lines)


def trials_markdown(rows: Sequence[Trial]) -> str:
    """The trials as a Markdown table."""

    def shown(value: float | None) -> str:
        return "diverged" if value is None else number(value)

    lines = ["| trial | optimiser steps | MSE, 50% mutation | MSE, clean codes |", "|---|--:|--:|--:|"]
    last = None
    for row in rows:
        if row.study != last:
            commits = " and ".join(dict.fromkeys(r.commit[:7] for r in rows if r.study == row.study))
            where = f"{row.minutes:.0f} min each, {machine([row.device])}, commit {commits}"
            lines.append(f"| **`{row.study}`**, {where} | | | |")
        last = row.study
        lines.append(f"| {row.change} | {row.train_steps:,} | {shown(row.mse)} | {shown(row.mse_clean)} |")
    return "\n".join(lines)


def spread(values: Sequence[float | None], without: str = "diverged") -> str:
    """Mean and standard deviation over seeds, as a table shows them; how many are `without` a value, if any."""
    there = [value for value in values if value is not None]
    lost = f" ({len(values) - len(there)} of {len(values)} {without})" if len(there) < len(values) else ""
    if not there:
        return without
    deviation = f" ± {number(statistics.stdev(there))}" if len(there) > 1 else ""
    return f"{number(statistics.mean(there))}{deviation}{lost}"


def seeds_markdown(study: str) -> str:
    """Trials over several seeds as a Markdown table: a row per variant, with means and standard deviations."""
    titles = ["variant", "seeds", "MSE, as trained", "clean codes", "after 2 T", "felt far away", "leak factor"]
    lines = [f"| {' | '.join(titles)} |", f"|---|{'--:|' * (len(titles) - 1)}"]
    for variant, rows in trials.by_variant(study).items():
        errors = [spread([row.mse for row in rows]), spread([row.mse_clean for row in rows], "beyond bounds")]
        errors.append(spread([row.mse_2t for row in rows], "beyond bounds"))
        far = [row.far for row in rows if row.far is not None]
        felt = f"{statistics.mean(far):.0%}" if far else "–"
        leaks = [row.leaks[-1][1] for row in rows if row.leaks]
        cells = [variant, str(len(rows)), *errors, felt, spread(leaks) if leaks else "–"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def rates_markdown() -> str:
    """The ablation at several learning rates: a row per variant, the lowest mean of a row in bold."""
    variants = trials.over_seeds(studies.ABLATION)
    rows = dict.fromkeys(variant.split(studies.AT_RATE)[0] for variant in variants)
    lines = [
        f"| variant | {' | '.join(f'learning rate {rate:g}' for rate in studies.RATES)} |",
        f"|---|{'--:|' * len(studies.RATES)}",
    ]
    for row in rows:
        errors = [variants.get(f"{row}{studies.AT_RATE}{rate:g}", []) for rate in studies.RATES]
        means = [statistics.mean(e) if e and None not in e else math.inf for e in errors]
        cells = [spread(e) if e else "–" for e in errors]
        best = means.index(min(means))
        cells[best] = f"**{cells[best]}**" if means[best] < math.inf else cells[best]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return "\n".join(lines)


def quality_markdown() -> str:
    """The error that each recipe reaches in the time it had, as a Markdown table."""
    lines = ["| recipe | min | optimiser steps | MSE | |", "|---|--:|--:|--:|---|"]
    for row in quality.RECORDS.load():
        where = f"`{row.experiment}`, {machine([row.device])}, {row.date}, commit {row.commit[:7]}"
        lines.append(f"| {row.recipe} | {row.minutes:.0f} | {row.train_steps:,} | {number(row.mse)} | {where} |")
    return "\n".join(lines)


def rendered() -> dict[str, list[str]]:
    """The tables of README and book, rendered from the recorded results, by file."""
    rows = summary()
    present, earlier = trials.of_the_recipe()
    return {
        "README.md": [markdown(rows, book="book/")],
        "book/intro.md": [compared_markdown(rows)],
        "book/choices.md": [trials_markdown(present), quality_markdown(), trials_markdown(earlier)],
    }


def write_into(file: Path, tables: Sequence[str]) -> None:
    """Replace the tables between the pairs of marks in a Markdown file, in their order."""
    parts = re.split(f"({re.escape(BEGIN)}.*?{re.escape(END)})", file.read_text(encoding="utf-8"), flags=re.DOTALL)
    if len(parts) != 2 * len(tables) + 1:
        needed = f"{len(tables)}, each between the lines {BEGIN} and {END}"
        raise NcamError(f"{file} has {len(parts) // 2} places for tables: it needs {needed}")
    parts[1::2] = [f"{BEGIN}\n\n{table}\n\n{END}" for table in tables]
    write_atomically(file, "".join(parts).encode())
