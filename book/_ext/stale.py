"""Drops the cache of executed notebooks when the library, its versions or the checkpoints have changed.

The cache keys on a notebook's source alone, so it cannot see such a change by itself.
"""

import hashlib
import platform
import shutil
import sys
from pathlib import Path

from ncamlib.machine import processor

ROOT = Path(__file__).resolve().parents[2]


def key() -> str:
    """A hash over everything but the notebooks that decides what they show."""
    digest = hashlib.sha256((ROOT / "constraints.txt").read_bytes())
    # Other vectors round otherwise, and the live page checks a digest.
    vectors = processor("flags", "Features") or platform.processor()
    digest.update(vectors.encode())
    patterns = [
        ("ncamlib", "*"),
        ("checkpoints", "*"),
        ("figures", "*.json"),
        ("figures", "*.csv"),
    ]
    for folder, pattern in patterns:
        for file in sorted(
            f
            for f in (ROOT / folder).rglob(pattern)
            if f.is_file() and "__pycache__" not in f.parts
        ):
            digest.update(file.relative_to(ROOT).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    cache = Path(sys.argv[1])
    stamp = cache / "ncamlib-key"
    if cache.exists() and (not stamp.exists() or stamp.read_text() != key()):
        shutil.rmtree(cache)
        shutil.rmtree(
            cache.parent / ".doctrees", ignore_errors=True
        )  # or Sphinx would not look at the pages again
    cache.mkdir(parents=True, exist_ok=True)
    stamp.write_text(key())
