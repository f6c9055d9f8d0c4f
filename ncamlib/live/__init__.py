"""The live manifold: the automaton in the reader's browser, in a page and as a notebook's widget.

`LiveManifold` needs anywidget, so it is imported when it is asked for.
"""

from typing import Any

__all__ = ["LiveManifold"]


def __getattr__(name: str) -> Any:
    if name != "LiveManifold":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ncamlib.live.widget import LiveManifold

    return LiveManifold
