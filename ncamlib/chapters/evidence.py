"""Tables of the page on evidence, from the records alone: codes, leak factors, unseen images."""

from collections.abc import Sequence

from ncamlib import results
from ncamlib.model import checkpoint
from ncamlib.model.blocks import LEAK_INITIAL
from ncamlib.model.manifold import Growing
from ncamlib.results import information as codes
from ncamlib.results import studies, trials
from ncamlib.results import unseen as others
from ncamlib.results.tables import number

CODES = ("full-ce-sto", "full-dna-sto", "full-ce-syn", "full-dna-syn")  # which are compared under noise


def table(titles: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Markdown, with the first columns aligned to the left and the others to the right."""
    lines = [f"| {' | '.join(titles)} |", f"|{'---|' * left}{'--:|' * (len(titles) - left)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def recorded(name: str, kind: str = results.BEST) -> str:
    """The recorded error of a run, with its steps if runs are compared."""
    row = results.load(kind).get(name)
    if row is None:
        return "–"
    return number(row.mse) if kind == results.BEST else f"{number(row.mse)} ({row.train_steps:,} steps)"


def leak_curves() -> dict[str, list[tuple[tuple[int, float], ...]]]:
    """The automaton's leak factor over training, at full size: a curve per seed, by variant."""
    variants = trials.by_variant(studies.CLAIMS)
    curves = {name: [row.leaks for row in rows] for name, rows in variants.items() if "leak" not in name}
    return {name: [curve for curve in some if len(curve) > 1] for name, some in curves.items()}  # not of the first runs


def leak_factors() -> str:
    """The automaton's learned leak factor in every shipped model."""
    rows = []
    for name in results.load():
        if not checkpoint.checkpoint_path(name).exists():
            continue
        model, header = checkpoint.load_model(name)
        if isinstance(model, Growing) and model.config.leak == "learned":
            training = header["experiment"]["train"]  # as written by the commit that trained it
            grown = training["stages"][0]["grid"] if training.get("stages") else model.config.image_size
            scale = grown / model.config.image_size if training.get("scale_leak") else 1
            start = f"{LEAK_INITIAL * scale:g}" if len(header["parts"]) == 1 else "–"  # what a part began with is lost
            rows.append([f"`{name}`", start, f"{model.nca.leak().item():.3f}"])
    return table(["model", "at the start", "at the end"], rows)


def information() -> str:
    """What the letters of each DNA model hold, and the errors of changed codes."""
    shown = [codes.CLEAN, codes.HARD, "nearest of 2 words", codes.REPLACED, codes.BOTH, codes.WRONG]
    rows = []
    for row in codes.RECORDS.load():
        if row.words is not None:
            errors = dict(row.errors)
            facts = [str(row.words), f"{row.two_words:.0%}", f"{row.entropy:.1f}", f"{row.read:.0%}"]
            rows.append([f"`{row.experiment}`", *facts, *(number(errors[name]) for name in shown)])
    letters, alphabet = 16, 4
    read = codes.repetition_right(letters, alphabet, codes.TEST_MUTATION)
    rows.append(["a repetition code", str(alphabet), "50%", "2.0", f"{read:.0%}", *("–" for _ in shown)])
    titles = ["model", "words", "the two most frequent", "bits per gene", "read right", *shown]
    return table(titles, rows)


def noise() -> str:
    """What noise on the code costs: in DNA models from replaced letters, in continuous ones as much Gaussian noise."""
    rows = []
    for row in codes.RECORDS.load():
        if row.experiment in CODES:
            errors = dict(row.errors)
            clean, noisy = errors[codes.CLEAN], errors[codes.REPLACED if row.words else codes.NOISY]
            more = f"{noisy / clean - 1:+.0%}"
            rows.append([f"`{row.experiment}`", f"{row.noise:.2f}", number(clean), number(noisy), more])
    return table(["model", "noise, in units of the code's size", "without", "with it", "change"], rows)


def unseen_by_version() -> str:
    """The errors on unseen emoji, version by version of the standard, beside the nearest known emoji."""
    rows = [row for row in others.RECORDS.load() if row.versions]
    titles = ["version", "emoji", *(f"`{row.experiment}`" for row in rows), "nearest known image"]
    parts = zip(*(row.versions for row in rows), strict=True)
    return table(
        titles,
        [
            [
                f"Emoji {same[0].version}",
                str(same[0].images),
                *(number(part.mse) for part in same),
                number(same[0].nearest),
            ]
            for same in parts
        ],
    )


def unseen(names: Sequence[str] = ()) -> str:
    """The errors on images that were not trained on, beside the baselines; of all models, or those named."""
    rows = [
        [
            f"`{row.experiment}`",
            f"{row.measured.images:,} images of {row.images}"
            + (f" ({row.note})" if row.note and row.images not in row.note else ""),
            recorded(row.experiment),
            *(number(value) for value in (row.measured.mse, row.mean, row.nearest, row.linear)),
        ]
        for row in others.RECORDS.load()
        if not names or row.experiment in names
    ]
    return table(
        ["model", "unseen images", "known ones", "unseen ones", "mean image", "nearest known image", "linear code"],
        rows,
        left=2,
    )
