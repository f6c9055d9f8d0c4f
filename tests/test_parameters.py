"""A chapter's parameters: converted where papermill passes text, refused with the choices otherwise."""

from pathlib import Path

import pytest

from ncamlib.chapters.parameters import Several, check_parameters, load_manifold
from ncamlib.errors import NcamError

KINDS = {"experiment": ["a", "b"], "steps": range(1, 101), "rate": (0.0, 1.0), "show": bool, "emoji": str}
GOOD = {"experiment": "a", "steps": 5, "rate": 0.5, "show": True, "emoji": "🆗"}


def test_good_parameters_pass():
    assert vars(check_parameters(GOOD, **KINDS)) == GOOD


def test_text_is_converted():
    given = GOOD | {"steps": "7", "rate": "1", "show": "false"}
    checked = check_parameters(given, **KINDS)
    assert (checked.steps, checked.rate, checked.show) == (7, 1.0, False)


def test_other_globals_are_ignored():
    given = GOOD | {"In": [], "_private": 3, "__name__": "__main__", "module": pytest, "function": len}
    assert vars(check_parameters(given, **KINDS)) == GOOD


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stepps": 3}, "unknown parameter 'stepps': choose one of experiment, steps"),
        ({"experiment": "c"}, "unknown experiment 'c': choose one of a, b"),
        ({"steps": 0}, "steps is 0: choose an integer from 1 to 100"),
        ({"steps": 2.5}, r"steps is 2\.5: choose an integer"),
        ({"steps": "many"}, "steps is 'many': choose an integer"),
        ({"rate": 1.5}, r"rate is 1\.5: choose a number from 0\.0 to 1\.0"),
        ({"rate": True}, "rate is True: choose a number"),
        ({"show": "perhaps"}, "show is 'perhaps': choose True or False"),
    ],
)
def test_bad_parameters_are_refused(change, message):
    with pytest.raises(NcamError, match=message):
        check_parameters(GOOD | change, **KINDS)


def test_missing_parameter_is_named():
    with pytest.raises(NcamError, match="the parameter rate is missing"):
        check_parameters({k: v for k, v in GOOD.items() if k != "rate"}, **KINDS)


@pytest.mark.parametrize("given", ["0.5 0.7", "0.5, 0.7", "[0.5, 0.7]", [0.5, 0.7], ("0.5", 0.7)])
def test_lists_may_be_given_in_a_string(given):
    assert check_parameters({"thresholds": given}, thresholds=Several((0.0, 1.0))).thresholds == [0.5, 0.7]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("", "thresholds is '': give 1 to 4 of them, separated by spaces or commas"),
        ([], r"thresholds is \[\]: give 1 to 4"),
        ("0.5 nan", "thresholds is 'nan': choose a number from"),
        ("0.5 1.5", "thresholds is 1.5: choose a number"),
        ("0.1 0.2 0.3 0.4 0.5", "give 1 to 4"),
        (None, "thresholds is None: give 1 to 4|choose a number"),
    ],
)
def test_bad_lists_are_refused(given, message):
    with pytest.raises(NcamError, match=message):
        check_parameters({"thresholds": given}, thresholds=Several((0.0, 1.0), most=4))


def test_a_pair_is_two():
    with pytest.raises(NcamError, match="pair is '👮': give 2 of them"):
        check_parameters({"pair": "👮"}, pair=Several(str, 2, 2))


def test_paths_are_expanded(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert check_parameters({"data_dir": "~/pets"}, data_dir=Path).data_dir == tmp_path / "pets"
    assert check_parameters({"data_dir": ""}, data_dir=Path).data_dir is None


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "nan", "1e999"])
def test_numbers_are_finite(value):
    with pytest.raises(NcamError, match="choose"):
        check_parameters(GOOD | {"rate": value}, **KINDS)
    with pytest.raises(NcamError, match="choose an integer"):
        check_parameters(GOOD | {"steps": value}, **KINDS)


@pytest.mark.parametrize("name", ["full-ce-syn", "cifar10-dna-syn", "lizard-single-sto", "full-dna-conv"])
def test_a_chapter_refuses_a_model_of_another_kind(name):
    with pytest.raises(NcamError, match=r"which .* is not: use full-dna-syn|nothing grows in full-dna-conv"):
        load_manifold(name)
