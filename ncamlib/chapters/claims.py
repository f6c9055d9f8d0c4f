"""The claims of the paper with what was measured, from the records alone, and the verdict."""

import math
import statistics
from collections.abc import Callable
from itertools import pairwise

from ncamlib import results
from ncamlib.chapters.evidence import recorded, table
from ncamlib.experiments import EXPERIMENTS
from ncamlib.results import information, persistence, studies, trials, unseen
from ncamlib.results.pca import RECORDS as LINEAR
from ncamlib.results.tables import number, spread

HOLDS, NOT, OPEN = "holds", "does not hold", "open"


def _alike(*names: str) -> str:
    return " / ".join(recorded(name, results.TABLE) for name in names)


def _best(*names: str) -> str:
    return " / ".join(recorded(name) for name in names)


def _of_paper(*names: str) -> str:
    """Best errors as shares of the paper's."""
    return ", ".join(f"{results.load()[name].mse / EXPERIMENTS[name].paper_mse:.0%}" for name in names)


def _more(name: str, other: str) -> str:
    """By how much the second of two runs that were trained alike is worse."""
    rows = results.load(results.TABLE)
    return f"{rows[other].mse / rows[name].mse - 1:+.0%}"


def _ratio(name: str, other: str) -> str:
    """How many times as large one best error is as another."""
    rows = results.load()
    return f"{rows[name].mse / rows[other].mse:.1f}"


def _seeds(*variants: str, study: str = studies.CLAIMS) -> str:
    """Means and standard deviations of short runs, of those that are recorded."""
    there = trials.over_seeds(study)
    return " / ".join(spread(there[name]) if name in there else "–" for name in variants)


def _compared(one: str, other: str, study: str = studies.CLAIMS) -> tuple[str, str]:
    """The verdict on "the first is better", and by how much: it holds, or not, if all runs say so. OPEN if they do not,
    or if there are fewer than three of each: by chance alone, three runs lie apart from three in one case of ten. A run
    that diverged is worse than any other.
    """
    there = trials.over_seeds(study)
    rivals = there.get(one, []), there.get(other, [])
    if min(map(len, rivals)) < 3:
        return OPEN, "too few runs so far"
    errors = [[math.inf if error is None else error for error in rival] for rival in rivals]
    better, worse = max(errors[0]) < min(errors[1]), min(errors[0]) > max(errors[1])
    means = [statistics.mean(rival) for rival in errors]
    size = f"{means[1] / means[0] - 1:+.0%}" if math.isfinite(sum(means)) else "some diverged"
    said = "in all runs" if better or worse else "within the spread of the runs"
    return HOLDS if better else NOT if worse else OPEN, f"{size}, {said}"


def _of_variance(*names: str) -> str:
    """Errors as shares of the variance of the images."""
    linear = {row.data_digest: row for row in LINEAR.load()}
    rows = [results.load()[name] for name in names]
    return " / ".join(f"{row.mse / linear[row.data_digest].left(0):.0%}" for row in rows)


def _lived(name: str) -> str:
    """Errors at 2 T, without and with a disc cut out at T, of a model that is trained to heal."""
    rows = [row for row in persistence.RECORDS.load() if row.experiment == name and row.errors]
    return (
        f"{number(rows[-1].errors[1][1])}, with a disc cut out at T {number(rows[-1].healing[0].mse)}" if rows else "–"
    )


def _later(name: str, time: int) -> str:
    """The error of a clean code at a multiple of T."""
    rows = [row for row in persistence.RECORDS.load() if row.experiment == name and row.codes == persistence.CLEAN]
    return number(dict(rows[0].errors)[time]) if rows else "–"


def _on_new_emoji() -> str:
    """How many times as large the errors on unseen emoji are as on known ones."""
    ratios = [row.measured.mse / results.load()[row.experiment].mse for row in unseen.RECORDS.load() if row.versions]
    return " and ".join(f"{ratio:.1f}" for ratio in ratios)


def _wrong() -> str:
    """How much larger errors are with half of the letters wrong than with half replaced; the largest apart."""
    rows = [(dict(row.errors), row.experiment) for row in information.RECORDS.load() if row.words]
    *others, (largest, name) = sorted((one[information.WRONG] / one[information.REPLACED], name) for one, name in rows)
    return f"by {others[0][0] - 1:.0%} to {others[-1][0] - 1:.0%}, and {largest:.0f}-fold in `{name}`"


def _film() -> str:
    verdict, size = _compared("DNA, synchronous", "FiLM instead of predicted weights")
    return f"{verdict} in short runs, where FiLM has far fewer parameters: {size}; {OPEN} at equal size"


def _full_set(*variants: str) -> str:
    return _seeds(*variants, study=studies.FULL_SET)


def _dna() -> str:
    """What DNA costs in the paper, in one long run of ours, and in short runs over seeds. It depends on the length."""
    long = [_more(*FIG5[i : i + 2]) for i in (0, 2)]
    verdicts, short = zip(*(_compared(*pair, studies.FULL_SET) for pair in (STO, SYN)), strict=True)
    begun_alike = _compared(f"{SYN[0]}, from random projections as DNA", SYN[1], studies.FULL_SET)
    early = [size.split(",")[0] for size in (*short, begun_alike[1])]
    said = f"DNA changes STO and SYN by +3% and +32% in the paper, by {long[0]} and {long[1]} in one longer run each, "
    said += f"and early, over seeds, by {early[0]} and {early[1]}; where CE begins as DNA does, SYN by {early[2]}"
    dearer = {HOLDS} == {*verdicts} and all(cost.startswith("+") for cost in long)  # that CE is better, everywhere
    return f"{NOT if dearer else OPEN}: {said}"


def _updates() -> str:
    """How the errors of STO and SYN compare in the best runs, in those kept for comparison, and over seeds."""
    best = " and ".join(_ratio(*FIG5[i::2]) for i in (0, 1))
    alike = " and ".join(_more(*FIG5[i::2][::-1]) for i in (0, 1))
    verdicts, short = zip(*(_compared(SYN[i], STO[i], studies.FULL_SET) for i in (0, 1)), strict=True)
    seeds = " and ".join(size.split(",")[0] for size in short)
    said = f"{HOLDS} in direction" if {*verdicts} == {HOLDS} else OPEN
    said += f" over three seeds ({seeds}), and in the best runs (STO {best} times SYN, CE and DNA). In the longer runs "
    return f"{said}kept for comparison STO differs by {alike}. Lengths and T differ, so the size is open"


def _sizes() -> str:
    half, twice = _more(SIZES[1], SIZES[0]), _more(SIZES[1], SIZES[2])
    return f"{OPEN}: {half} with half the size, {twice} with twice, in one run each; +45% and no change in the paper"


def _parts() -> dict[str, list[float | None]]:
    """The full model and those without a part, each at the learning rate that suits it best: errors over the seeds."""
    best: dict[str, list[float | None]] = {part: [None] for part in PARTS}
    for variant, errors in trials.over_seeds(studies.ABLATION).items():
        part = variant.split(studies.AT_RATE)[0]
        if part in best and len(errors) >= 3:  # by chance alone, fewer lie apart too often
            best[part] = min(best[part], errors, key=lambda errors: statistics.mean(map(_size, errors)))
    return best


def _size(error: float | None) -> float:
    return math.inf if error is None else error


def _ablation() -> str:
    """Whether every part lowers the error, in all runs, and whether the means are in the paper's order."""
    full, *without = ([_size(error) for error in errors] for errors in _parts().values())
    means = [statistics.mean(errors) for errors in (full, *without)]
    each = HOLDS if max(full) < min(map(min, without)) else OPEN
    apart = all(max(a) < min(b) for a, b in pairwise([full, *without]))
    order = "another here" if means != sorted(means) else "the paper's" + ("" if apart else ", but runs overlap")
    at = "at the learning rate that suits each variant best, over three seeds"
    return f"{each} for each part, {at}; the order is {order}"


def _order(*names: str) -> str:
    """Whether the errors of runs that were trained alike rise in the paper's order."""
    errors = [results.load(results.TABLE)[name].mse for name in names]
    return "the paper's" if errors == sorted(errors) else "another"


STO = ("CE, stochastic, 3 times the steps", "DNA, stochastic, 3 times the steps")
SYN = ("CE, synchronous", "DNA, synchronous")
FIG5 = ("full-ce-sto", "full-dna-sto", "full-ce-syn", "full-dna-syn")
SIZES = ("full-ce-sto-256", "full-ce-sto", "full-ce-sto-1024")
SUBSETS = ("chars-dna-sto", "emos-dna-sto", "heads-dna-sto", "variety-dna-sto")
PARTS = ("full model", "no leak factor", "no normalisation", "no slices")  # in the paper's order
ABLATION = tuple(f"variety-dna-sto{suffix}" for suffix in ("", "-noleak", "-nonorm", "-noslices"))
Cell = str | Callable[[], str]  # read from the records when it is shown
# (claim, what the paper reports, what we measured, verdict)
CLAIMS: list[tuple[str, str, Cell, Cell]] = [
    (
        "One model learns automata for thousands of emoji (chapter *Encodings and updates*)",
        "CE-STO, DNA-STO, CE-SYN, DNA-SYN: 0.0159 / 0.0163 / 0.0020 / 0.0026",
        lambda: f"best: {_best(*FIG5)}",
        lambda: f"{HOLDS}: {_of_paper(*FIG5)} of its errors. SYN has not converged; DNA-SYN started from CE-SYN",
    ),
    (
        "DNA codes are as good as continuous ones",
        "0.0159 and 0.0163; 0.0020 and 0.0026",
        lambda: (
            f"matched: STO {_alike(*FIG5[:2])}; SYN {_alike(*FIG5[2:])}. "
            f"seeds, full set: STO {_full_set(*STO)}; SYN {_full_set(*SYN)}"
        ),
        _dna,
    ),
    (
        "Synchronous updates lower the error by an order of magnitude",
        "0.0159 → 0.0020; 0.0163 → 0.0026",
        lambda: (
            f"best: {_best(*FIG5[::2])}; {_best(*FIG5[1::2])}. kept for comparison, STO on a GPU, SYN on a CPU: "
            f"{_alike(*FIG5[::2])}; {_alike(*FIG5[1::2])}. "
            f"seeds, full set: {_full_set(STO[0], SYN[0])}; {_full_set(STO[1], SYN[1])}; "
            f"letters, same T: {_seeds('DNA, stochastic, as many steps', 'DNA, synchronous')}"
        ),
        _updates,
    ),
    (
        "Backgrounds are free of artefacts, although nothing masks them; synchronous models draw the finest details",
        "by eye",
        "by eye (chapter *Encodings and updates*)",
        f"{NOT} in ours: stray colours where the seed was, haze on the background, and rare details are missing",
    ),
    (
        "Half the code size is significantly worse, twice the size no better",
        "256, 512, 1,024 numbers: 0.0230 / 0.0159 / 0.0158",
        lambda: f"matched: {_alike(*SIZES)}",
        _sizes,
    ),
    (
        "A DNA-like code is highly robust to random mutations (chapter *Encodings and updates*)",
        "tested at a 50% chance of error",
        "below, *What the code holds*",
        lambda: f"{HOLDS} at the rate of the training, half replaced; from there to half wrong, errors rise {_wrong()}",
    ),
    (
        "The growing difficulty of the sets is one of visual variety, not of size (chapter *Smaller sets of images*)",
        "chars, emos, heads, variety: 0.0098 / 0.0180 / 0.0244 / 0.0504",
        lambda: f"best: {_best(*SUBSETS)}; of the variance: {_of_variance(*SUBSETS)}",
        f"{OPEN}: in MSE ours swap letters and faces; as a share of the variance ours are in the paper's order, but "
        "the paper's errors, divided by our sets' variances, are not; our runs differ in length",
    ),
    (
        "Leak factors, normalisation and slices each lower the error, in this order, which stays in longer training "
        "(chapter *Ablation*)",
        "full, without leak, norm, slices: 0.0504 / 0.0597 / 0.0627 / 0.0670",
        lambda: f"seeds: {' / '.join(map(spread, _parts().values()))}. matched: {_alike(*ABLATION)}",
        lambda: f"{_ablation()}. In the longer runs, at one rate, it is {_order(*ABLATION)}",
    ),
    (
        "Predicted weights are preferable to conditioning (section 2, from the definition of a cellular automaton)",
        "a choice of principle, not measured",
        lambda: f"seeds, weights and FiLM: {_seeds('DNA, synchronous', 'FiLM instead of predicted weights')}",
        _film,
    ),
    (
        "512 numbers are enough for the automata of 50,000 photographs (chapter *Photographs*)",
        "CE-SYN, DNA-SYN: 0.0072 / 0.0072",
        lambda: f"best: {_best('cifar10-ce-syn', 'cifar10-dna-syn')}, on a JPEG copy",
        f"{HOLDS}: the errors are reached; but they say little about capacity, since a linear code needs 100 numbers",
    ),
    (
        "The learned space of programs generalises (chapters *Genetic engineering* and *Beyond the paper*)",
        "by eye, from edited codes",
        "below, *Unseen images*",
        lambda: (
            f"{HOLDS} modestly: no gap on photographs; on new emoji the error is {_on_new_emoji()} times that on known "
            "ones (trained on these alone; on altered ones, too); a linear code has less"
        ),
    ),
    (
        "Letters that a group shares carry its common traits; put into other codes, they leave the rest alone, traits "
        "mix, and some dominate (chapter *Genetic engineering*)",
        "by eye",
        "by eye",
        f"{HOLDS} in part with DNA-STO: mean images are complete or pale, and traits mix at two of three thresholds. "
        f"DNA-SYN has too few hard letters. Dominance is {OPEN}",
    ),
    (
        "One automaton for one image reaches about 0.001 (chapter *One automaton for one image*)",
        "in the order of 0.001",
        lambda: f"best: {_best('lizard-single-sto')}; trained to heal, at 5 T: {_later('lizard-single-sto-regrow', 5)}",
        f"{HOLDS} for our automaton; the authors' code was not run, and the paper does not name its image",
    ),
    (
        "Automata can recover corrupted patterns (section 2, of other work; chapter *Automata that stay and heal*)",
        "–",
        lambda: (
            f"trained to heal, at 2 T, a lizard: {_lived('lizard-single-sto-regrow')}; "
            f"letters: {_lived('chars-dna-syn-regrow')}"
        ),
        f"{HOLDS} in part, for one picture and for the letters; without training for it they do not",
    ),
    (
        "The model can be trained end to end, and no part has to be pre-trained",
        "–",
        "–",
        f"{OPEN}: our convolutions keep their initial values, continuous codes start from principal components, the "
        "DNA network is fitted to random numbers, DNA-SYN starts from CE-SYN (see the page on our choices)",
    ),
    (
        "RGB instead of RGBA is possible (chapter *Photographs*)",
        "–",
        lambda: f"best: {_best('cifar10-ce-syn')}",
        HOLDS,
    ),
]


def markdown(most: int = 0) -> str:
    """The claims with the paper's numbers, ours, and the verdict; only the first `most`, if not 0."""
    rows = [[cell() if callable(cell) else cell for cell in row] for row in CLAIMS[: most or len(CLAIMS)]]
    return table(["claim", "in the paper", "measured", "verdict"], rows, left=4)
