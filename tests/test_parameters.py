"""A chapter's parameters: converted where papermill passes text, refused with the choices otherwise."""

import pytest

from ncamlib.chapters.parameters import check_parameters
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
