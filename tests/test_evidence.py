"""The page on evidence: made from the records, whatever they hold so far."""

import dataclasses
from types import SimpleNamespace

import pytest

from ncamlib import data, results
from ncamlib.chapters import claims, comparison, evidence
from ncamlib.errors import NcamError
from ncamlib.model import checkpoint
from ncamlib.results import information, persistence, store, studies, tables, trials, unseen
from ncamlib.results.tables import number


def test_every_claim_has_a_verdict_and_our_numbers():
    rows = claims.markdown().splitlines()[2:]
    assert len(rows) >= 10
    for row in rows:
        cells = [cell.strip() for cell in row.strip("|").split(" | ")]
        assert len(cells) == 4
        assert any(word in cells[3] for word in (claims.HOLDS, claims.NOT, claims.OPEN)), row
    assert number(results.load()["full-ce-syn"].mse) in rows[0]
    assert len(claims.markdown(2).splitlines()) == 4


@pytest.mark.parametrize("make", [evidence.leak_factors, evidence.information, evidence.noise, evidence.unseen])
def test_tables_are_rectangular(make):
    lines = make().splitlines()
    assert len(lines) > 2
    assert len({line.count("|") for line in lines}) == 1


def test_a_model_that_was_trained_again_is_not_shown_with_the_results_of_another():
    shipped = comparison.load(["variety-dna-sto"])
    assert "matched run" in comparison.markdown(shipped)
    again = [dataclasses.replace(one, header=one.header | {"step": 2}) for one in shipped]
    row = comparison.markdown(again, [0.5]).splitlines()[2]
    assert [cell.strip() for cell in row.split("|")[3:5]] == ["–", "0.5000"]
    assert "matched run" not in comparison.markdown(again)
    with pytest.raises(NcamError, match="unknown experiment 'mine'"):
        comparison.load(["mine"])


def _trial(variant: str, seed: int, mse: float | None) -> trials.Trial:
    row = trials.Trial(studies.CLAIMS, f"{variant}, seed {seed}", mse, mse, 500, 3.0, seed, "CPU", "abc", "d", "")
    return dataclasses.replace(row, leaks=((1, 0.025), (26, 0.02)), mse_2t=0.03, far=0.45 + seed / 100)


@pytest.mark.parametrize(
    ("film", "verdict"), [(0.02, claims.HOLDS), (0.001, claims.NOT), (0.011, claims.OPEN), (None, claims.HOLDS)]
)
def test_the_verdict_on_conditioning_follows_the_runs(monkeypatch, film, verdict):
    """It holds only if every run of one is better than every run of the other."""
    weights = [_trial("DNA, synchronous", seed, 0.010 + 0.001 * seed) for seed in range(3)]
    rivals = [_trial("FiLM instead of predicted weights", seed, film) for seed in range(3)]
    monkeypatch.setattr(trials, "load", lambda: [*weights, *rivals])
    assert claims._film().startswith(f"{verdict} in short runs")
    table = tables.seeds_markdown(studies.CLAIMS)
    assert (
        "| DNA, synchronous | 3 | 0.0110 ± 0.0010 | 0.0110 ± 0.0010 | 0.0300 ± 0.0000 | 46% | 0.0200 ± 0.0000 |"
        in table
    )
    assert [len(curves) for curves in evidence.leak_curves().values()] == [3, 3]


@pytest.mark.parametrize(
    ("errors", "verdict", "order"),
    [
        ([[0.5, 0.52], [0.6, 0.61], [0.7, 0.71]], claims.HOLDS, "is the paper's"),
        ([[0.5, 0.52], [0.6, 0.68], [0.67, 0.71]], claims.HOLDS, "is the paper's, but runs overlap"),
        ([[0.5, 0.52], [0.7, 0.71], [0.6, 0.61]], claims.HOLDS, "is another here"),
        ([[0.5, 0.52], [0.51, 0.61], [0.7, None]], claims.OPEN, "is the paper's, but runs overlap"),
    ],
)
def test_the_verdict_on_the_ablation_follows_the_runs(monkeypatch, errors, verdict, order):
    """Each variant counts at the learning rate that suits it best."""
    monkeypatch.setattr(claims, "PARTS", claims.PARTS[:3])
    parts = ["full model", "no leak factor", "no normalisation"]
    runs = {f"{part}{studies.AT_RATE}0.006": [*e, *e] for part, e in zip(parts, errors, strict=True)}
    runs |= {f"full model{studies.AT_RATE}0.002": [0.9] * 3, f"no leak factor{studies.AT_RATE}0.002": [0.01]}
    monkeypatch.setattr(trials, "over_seeds", lambda _: runs)
    said = claims._ablation()
    assert said.startswith(verdict)
    assert said.endswith(f"the order {order}")


@pytest.mark.parametrize("records", [information.RECORDS, unseen.RECORDS, persistence.RECORDS], ids=lambda r: r.file)
def test_what_is_recorded_is_of_the_shipped_model(records):
    for row in records.load():
        file = checkpoint.checkpoint_path(row.experiment)
        if file.exists():
            header = checkpoint.read_header(file, "model")
            assert row.train_steps == header["step"], row.experiment
            assert getattr(row, "trained_on", row.data_digest) == header["data_digest"], row.experiment


def test_losses_are_of_all_runs_of_a_model_one_after_the_other():
    for name, row in results.load().items():
        own = sum(part.step for part in row.parts if not part.experiment)
        assert len(store.losses(name)) in (0, own or row.train_steps), name
        assert store.restarts(name) == sorted({*store.restarts(name)}), name
        assert all(0 < step < own for step in store.restarts(name)), name


def test_regeneration_is_told_in_tables_in_which_what_is_lost_is_short():
    left = dict(zip(persistence.KINDS, (0.2, 3.0, 1e4), strict=True))
    healing = tuple(persistence.Healing(kind, error, 0.5, 0.0) for kind, error in left.items())
    row = persistence.Persistence("a", "clean", 1, 192, ((1, 0.12344), (20, 30031.8)), healing, 1, "", "", "")
    staying, lasting = persistence.markdown([row, dataclasses.replace(row, errors=())]).split("\n\n")
    apart = tuple(dataclasses.replace(one, mse=None, median=0.5) for one in healing)
    child = dataclasses.replace(row, codes="children", errors=(), healing=apart, stay=0.25)
    assert "| `a` | children | 192 | 25% | 0.5000 (0.0000) |" in persistence.markdown([row, child]).split("\n\n")[2]
    assert staying.splitlines()[2:] == ["| `a` | clean | 0.1234 | 30,032 |"]
    assert lasting.splitlines()[2:] == ["| `a` | clean | 192 | 0.1234 | 0.2000 (50%) | 3.00 (50%) | 10,000 (50%) |"]
    assert "model" in persistence.markdown([])


@pytest.mark.parametrize("name", ["chars-dna-syn", "lizard-single-sto"])
def test_recorded_errors_are_those_of_the_shipped_checkpoint(name):
    """Measured anew. Between machines sums are rounded differently."""
    model, header = checkpoint.load_model(name)
    images, row = data.load(header["images"], 64, 4), results.load()[name]
    measured = results.measure(model, images, seeds=row.seeds)
    for field in ("mse", "mse_rgb_white", "psnr", "fire_rate", "mutation_rate", "steps"):
        assert getattr(measured, field) == pytest.approx(getattr(row, field), rel=0.01), field
    for rate, error in row.mutation_curve[2:3]:
        assert results.measure(model, images, mutation_rate=rate).mse == pytest.approx(error, rel=0.01)


ERRORS = {  # of the four rows of Fig. 5: the best, and those kept for comparison
    results.BEST: dict(zip(claims.FIG5, (0.006, 0.009, 0.002, 0.003), strict=True)),
    results.TABLE: dict(zip(claims.FIG5, (0.010, 0.012, 0.005, 0.008), strict=True)),
}
SEEDS = {
    claims.STO[0]: 0.040,
    claims.STO[1]: 0.044,
    claims.SYN[0]: 0.030,
    claims.SYN[1]: 0.024,
    f"{claims.SYN[0]}, from random projections as DNA": 0.020,
}


def test_what_the_claims_compare(monkeypatch):
    """The right rows, the right way round."""

    def load(kind=results.BEST):
        return {name: SimpleNamespace(mse=mse, train_steps=1) for name, mse in ERRORS[kind].items()}

    monkeypatch.setattr(results, "load", load)
    monkeypatch.setattr(trials, "over_seeds", lambda _: {name: [mse] * 3 for name, mse in SEEDS.items()})
    assert claims._dna() == (
        "open: DNA changes STO and SYN by +3% and +32% in the paper, by +20% and +60% in one longer run each, and "
        "early, over seeds, by +10% and -20%; where CE begins as DNA does, SYN by +20%"
    )
    assert claims._updates() == (
        "holds in direction over three seeds (+33% and +83%), and in the best runs (STO 3.0 and 3.0 times SYN, CE and "
        "DNA). In the longer runs kept for comparison STO differs by +100% and +50%. Lengths and T differ, so the size "
        "is open"
    )
    assert claims._of_paper("full-ce-sto", "full-ce-syn") == "38%, 101%"
    assert claims._order("full-ce-syn", "full-dna-syn", "full-ce-sto") == "the paper's"
    assert claims._order("full-ce-syn", "full-ce-sto", "full-dna-syn") == "another"


def test_what_is_said_of_wrong_letters_and_of_new_emoji(monkeypatch):
    errors = {information.CLEAN: 1.0, information.REPLACED: 2.0}
    rows = [
        SimpleNamespace(experiment=name, words=2, errors=tuple({**errors, information.WRONG: 2 * factor}.items()))
        for name, factor in (("a", 1.5), ("b", 4.0), ("c", 1.1))
    ]
    monkeypatch.setattr(information.Records, "load", lambda _: rows)
    assert claims._wrong() == "by 10% to 50%, and 4-fold in `b`"
    rows = [SimpleNamespace(experiment="a", versions=("13",), measured=SimpleNamespace(mse=0.6), nearest=1.0)]
    monkeypatch.setattr(results, "load", lambda: {"a": SimpleNamespace(mse=0.2)})
    assert claims._on_new_emoji() == "3.0"


def test_noise_is_told_as_a_rise_over_clean_codes(monkeypatch):
    errors = ((information.CLEAN, 0.1), (information.REPLACED, 0.15))
    rows = [SimpleNamespace(experiment=evidence.CODES[0], words=2, errors=errors, noise=0.25)]
    monkeypatch.setattr(information.Records, "load", lambda _: rows)
    assert evidence.noise().splitlines()[2] == f"| `{evidence.CODES[0]}` | 0.25 | 0.1000 | 0.1500 | +50% |"


def test_more_numbers_leave_less_to_a_linear_code():
    rows = {row["name"]: row for row in tables.summary()}
    left = [rows[f"full-ce-sto{size}"]["pca_mse"] for size in ("-256", "", "-1024")]
    assert left == sorted(left, reverse=True)
    assert left[0] > 5 * left[2] > 0
