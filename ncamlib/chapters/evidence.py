"""The page on evidence: every claim of the paper with what was measured, from the records alone."""

import math
from collections.abc import Callable, Sequence

from ncamlib import results
from ncamlib.experiments import EXPERIMENTS
from ncamlib.model import checkpoint
from ncamlib.model.manifold import Growing
from ncamlib.results import information as codes
from ncamlib.results import persistence, studies, trials
from ncamlib.results import unseen as others
from ncamlib.results.pca import RECORDS as LINEAR
from ncamlib.results.tables import number, spread

HOLDS, NOT, OPEN = "holds", "does not hold", "open"


def table(titles: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Markdown, with the first columns aligned to the left and the others to the right."""
    lines = [f"| {' | '.join(titles)} |", f"|{'---|' * left}{'--:|' * (len(titles) - left)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def _run(name: str, kind: str = results.BEST) -> str:
    """The recorded error of a run, with its steps if runs are compared."""
    row = results.load(kind).get(name)
    if row is None:
        return "–"
    return number(row.mse) if kind == results.BEST else f"{number(row.mse)} ({row.train_steps:,} steps)"


def _alike(*names: str) -> str:
    return " / ".join(_run(name, results.TABLE) for name in names)


def _best(*names: str) -> str:
    return " / ".join(_run(name) for name in names)


def _of_paper(*names: str) -> str:
    """Best errors as shares of the paper's."""
    return ", ".join(f"{results.load()[name].mse / EXPERIMENTS[name].paper_mse:.0%}" for name in names)


def _more(name: str, other: str) -> str:
    """By how much the second of two runs that were trained alike is worse."""
    rows = results.load(results.TABLE)
    return f"{rows[other].mse / rows[name].mse - 1:.0%}"


def _ratio(name: str, other: str) -> str:
    """How many times as large one best error is as another."""
    rows = results.load()
    return f"{rows[name].mse / rows[other].mse:.1f}"


def _seeds(*variants: str) -> str:
    """Means and standard deviations of short runs, of those that are recorded."""
    there = trials.by_variant(studies.CLAIMS)
    return " / ".join(spread([row.mse for row in there[name]]) if name in there else "–" for name in variants)


def _of_variance(*names: str) -> str:
    """Errors as shares of the variance of the images."""
    linear = {row.data_digest: row for row in LINEAR.load()}
    rows = [results.load()[name] for name in names]
    return " / ".join(f"{row.mse / linear[row.data_digest].left(0):.0%}" for row in rows)


def _lived(name: str) -> str:
    """Errors at T and after a disc, of a model that is trained to heal."""
    rows = [row for row in persistence.RECORDS.load() if row.experiment == name and row.errors]
    return f"{number(rows[-1].errors[0][1])}, after a disc {number(rows[-1].healing[0].mse)}" if rows else "–"


def _film() -> str:
    there = trials.over_seeds(studies.CLAIMS)
    rivals = there.get("DNA, synchronous", []), there.get("FiLM instead of predicted weights", [])
    if min(map(len, rivals)) < 3:
        return f"{OPEN}: too few runs so far"
    errors = [[math.inf if error is None else error for error in rival] for rival in rivals]  # inf: diverged
    return HOLDS if max(errors[0]) < min(errors[1]) else NOT if min(errors[0]) > max(errors[1]) else OPEN


FIG5 = ("full-ce-sto", "full-dna-sto", "full-ce-syn", "full-dna-syn")
SIZES = ("full-ce-sto-256", "full-ce-sto", "full-ce-sto-1024")
SUBSETS = ("chars-dna-sto", "emos-dna-sto", "heads-dna-sto", "variety-dna-sto")
ABLATION = tuple(f"variety-dna-sto{suffix}" for suffix in ("", "-noleak", "-nonorm", "-noslices"))
Cell = str | Callable[[], str]  # read from the records when it is shown
# (claim, what the paper reports, what we measured, verdict)
CLAIMS: list[tuple[str, str, Cell, Cell]] = [
    (
        "One model learns automata for thousands of emoji (chapter 02)",
        "CE-STO, DNA-STO, CE-SYN, DNA-SYN: 0.0159 / 0.0163 / 0.0020 / 0.0026",
        lambda: f"best: {_best(*FIG5)}",
        lambda: f"{HOLDS}; the errors are {_of_paper(*FIG5)} of the paper's: our trainings are short",
    ),
    (
        "DNA codes are as good as continuous ones",
        "0.0159 and 0.0163; 0.0020 and 0.0026",
        lambda: (
            f"alike: STO {_alike(*FIG5[:2])}; SYN {_alike(*FIG5[2:])}. "
            f"seeds: {_seeds('CE, synchronous', 'DNA, synchronous')}"
        ),
        lambda: (
            f"{OPEN}: DNA costs {_more(*FIG5[:2])} (STO) and {_more(*FIG5[2:])} (SYN) here, 3% and 32% in the paper; "
            "one long run each"
        ),
    ),
    (
        "Synchronous updates lower the error by an order of magnitude",
        "0.0159 → 0.0020; 0.0163 → 0.0026",
        lambda: (
            f"best: {_best(*FIG5[::2])}; {_best(*FIG5[1::2])}. "
            f"seeds, same T: {_seeds('DNA, stochastic, as many steps', 'DNA, synchronous')}"
        ),
        lambda: (
            f"{HOLDS} in direction; the factor is {_ratio(*FIG5[::2])} and {_ratio(*FIG5[1::2])} here, "
            "in runs of unequal length"
        ),
    ),
    (
        "Half the code size is significantly worse, twice the size no better",
        "256, 512, 1,024 numbers: 0.0230 / 0.0159 / 0.0158",
        lambda: f"alike: {_alike(*SIZES)}",
        f"{OPEN}: the order is the paper's, the differences are a few percent, with one seed each",
    ),
    (
        "A DNA-like code is highly robust to random mutations (chapter 04)",
        "tested at a 50% chance of error",
        "below, *What the code holds*",
        f"{HOLDS} at the rate of the training, half replaced; with half of the letters wrong errors rise noticeably",
    ),
    (
        "The growing difficulty of the sets is one of visual variety, not of size (chapter 03)",
        "chars, emos, heads, variety: 0.0098 / 0.0180 / 0.0244 / 0.0504",
        lambda: f"best: {_best(*SUBSETS)}; of the variance: {_of_variance(*SUBSETS)}",
        f"{OPEN}: as a share of the variance the order is the paper's, but these runs differ in length and T",
    ),
    (
        "Leak factors, normalisation and slices each lower the error, in this order (chapter 05)",
        "full, without leak, norm, slices: 0.0504 / 0.0597 / 0.0627 / 0.0670",
        lambda: f"alike: {_alike(*ABLATION)}",
        f"{HOLDS} for each part; the order does not: it is another in these runs, and in those with three seeds",
    ),
    (
        "Predicted weights suit an automaton better than conditioning (section 2, not tested there)",
        "–",
        lambda: f"seeds, weights and FiLM: {_seeds('DNA, synchronous', 'FiLM instead of predicted weights')}",
        _film,
    ),
    (
        "512 numbers are enough for the automata of 50,000 photographs (chapter 06)",
        "CE-SYN, DNA-SYN: 0.0072 / 0.0072",
        lambda: f"best: {_best('cifar10-ce-syn', 'cifar10-dna-syn')}, on a JPEG copy",
        f"the errors are reached, but as evidence of capacity it {NOT}: a linear code needs 100 numbers for them",
    ),
    (
        "The learned space of programs generalises (chapters 04 and 08)",
        "by eye, from edited codes",
        "below, *Unseen images*",
        f"{HOLDS} modestly: on new emoji the error is several times that on known ones, and a linear code does better",
    ),
    (
        "One automaton for one image reaches about 0.001 (chapter 07)",
        "0.001",
        lambda: f"best: {_best('lizard-single-sto')}",
        f"{OPEN}: not reached in our time",
    ),
    (
        "Automata can recover corrupted patterns (section 2, of other work; chapter 09)",
        "–",
        lambda: (
            f"trained to heal, a lizard: {_lived('lizard-single-sto-regrow')}; "
            f"letters: {_lived('chars-dna-syn-regrow')}"
        ),
        f"{HOLDS} for one picture, in part for the letters; without training for it they do not",
    ),
    (
        "No part has to be pre-trained",
        "–",
        "–",
        f"{OPEN}: we fit the DNA network to random numbers for some seconds first (see the page on our choices)",
    ),
    (
        "RGB instead of RGBA is possible (chapter 06)",
        "–",
        lambda: f"best: {_best('cifar10-ce-syn')}",
        HOLDS,
    ),
]


def claims(most: int = 0) -> str:
    """Every claim with the paper's numbers, ours, and the verdict; only the first `most`, if not 0."""
    rows = [[cell() if callable(cell) else cell for cell in row] for row in CLAIMS[: most or len(CLAIMS)]]
    return table(["claim", "in the paper", "measured", "verdict"], rows, left=4)


def leak_curves() -> dict[str, list[tuple[tuple[int, float], ...]]]:
    """The automaton's leak factor over training, at full size: a curve per seed, by variant."""
    variants = trials.by_variant(studies.CLAIMS)
    return {name: [row.leaks for row in rows if row.leaks] for name, rows in variants.items() if "leak" not in name}


def leak_factors() -> str:
    """The automaton's learned leak factor in every shipped model."""
    rows = []
    for name in results.load():
        if not checkpoint.checkpoint_path(name).exists():
            continue
        model, header = checkpoint.load_model(name)
        if isinstance(model, Growing) and model.config.leak == "learned":
            scaled = bool(header["experiment"]["train"].get("scale_leak"))
            rows.append([f"`{name}`", "0.025" if scaled else "0.1", f"{model.nca.leak().item():.3f}"])
    return table(["model", "at the start", "at the end"], rows)


def information() -> str:
    """What the letters of each DNA model hold, and the errors of changed codes."""
    shown = [codes.CLEAN, codes.HARD, "nearest of 2 words", codes.REPLACED, codes.WRONG]
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
        if row.experiment in FIG5:
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
            f"{row.measured.images:,} of {row.images}"
            + (f" ({row.note})" if row.note and row.images not in row.note else ""),
            _run(row.experiment),
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
