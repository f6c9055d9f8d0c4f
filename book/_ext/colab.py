"""Gives every notebook a first cell that fetches and installs the project, for services that start empty.

    python book/_ext/colab.py OWNER/NAME

rewrites the notebooks of the checkout; the workflow that publishes the book pushes the result to the branch
`colab`, to which the launch buttons of the published pages lead.
"""

import json
import sys
from pathlib import Path

BOOK = Path(__file__).resolve().parents[1]
INSTALL = """\
# An empty machine starts here: fetch the project and install it, in a minute or two.
!git clone -q --depth 1 {address} /content/ncam
!pip install -q /content/ncam anywidget
%env NCAM_HOME=/content/ncam"""


def install_cell(address: str) -> dict:
    """The cell, for a repository at this address."""
    lines = INSTALL.format(address=address).splitlines(keepends=True)
    return {
        "cell_type": "code",
        "id": "install",
        "metadata": {},
        "execution_count": None,
        "outputs": [],
        "source": lines,
    }


def add_install_cells(folder: Path, address: str) -> list[str]:
    """Put the cell first in every notebook of a folder. Returns their names."""
    done = []
    for file in sorted(folder.glob("*.ipynb")):
        notebook = json.loads(file.read_text(encoding="utf-8"))
        notebook["cells"] = [
            install_cell(address),
            *(c for c in notebook["cells"] if c.get("id") != "install"),
        ]
        file.write_text(
            json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        done.append(file.name)
    return done


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].count("/") != 1:
        sys.exit("usage: python book/_ext/colab.py OWNER/NAME")
    print(*add_install_cells(BOOK, f"https://github.com/{sys.argv[1]}"))
