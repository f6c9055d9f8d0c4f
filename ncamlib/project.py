"""Where things are, how files are written, and the records under `figures/` that tables and chapters render from."""

import glob
import json
import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ncamlib.config import from_dict, to_dict
from ncamlib.errors import NcamError

PACKAGE = Path(__file__).resolve().parent


def project_root() -> Path:
    """The checkout this package runs from, or the folder in NCAM_HOME; NcamError if there is neither."""
    home = os.environ.get("NCAM_HOME")
    root = Path(home) if home else PACKAGE.parent
    if not (root / "_toc.yml").is_file():
        raise NcamError("the project's checkpoints and book are not here: run in a checkout, or set NCAM_HOME to one")
    return root


def commit() -> str:
    """The checkout's commit, with '+' if files under version control differ from it; '' outside one."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(PACKAGE), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", str(PACKAGE))
        return git("rev-parse", "HEAD")[:12] + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def write_atomically(path: Path, content: bytes) -> None:
    """Replace `path` as a whole or leave it as it was; NcamError if that fails (no permission, disk full).

    What an earlier process left half written beside it, because it was killed, is removed.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        try:
            with open(temporary, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:  # also when a signal ends the program here
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise NcamError(
            f"could not save {path} ({error.strerror}): free some space or choose another folder; "
            "what was there before is untouched"
        ) from error


def _sweep(path: Path) -> None:
    """Remove the temporary files of processes that are no more."""
    for file in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        pid = file.name.split(".")[-2]
        try:
            os.kill(int(pid), 0)
        except (ValueError, ProcessLookupError):
            file.unlink(missing_ok=True)
        except PermissionError:  # another user's, alive
            continue


@dataclass(frozen=True)
class Records:
    """Rows of one kind, kept in a JSON file under `figures/`: a list, or a list under `key` beside a head."""

    file: str
    row: type  # a frozen dataclass
    key: str = ""
    upgrade: Callable[[dict[str, Any]], dict[str, Any]] | None = None  # makes a row by an earlier commit one of today

    @property
    def path(self) -> Path:
        """Where the records are; NcamError outside a checkout."""
        return project_root() / "figures" / self.file

    def load(self) -> list[Any]:
        """The rows; none where nothing is recorded, or outside a checkout. NcamError for a damaged file."""
        return self.read()[1]

    def read(self) -> tuple[dict[str, Any], list[Any]]:
        """(head, rows)."""
        try:
            if not self.path.exists():
                return {}, []
        except NcamError:
            return {}, []
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            listed_rows = content.pop(self.key) if self.key else content
            rows = [self.row_of(row) for row in (listed_rows if isinstance(listed_rows, list) else [listed_rows])]
        except (ValueError, KeyError, TypeError, AttributeError, NcamError) as error:
            raise NcamError(f"{self.path} is damaged ({error}): restore it from version control") from error
        return (content if self.key else {}), rows

    def row_of(self, row: dict[str, Any]) -> Any:
        """One row from plain JSON types, also as an earlier commit wrote it. Raises NcamError."""
        try:
            return from_dict(self.row, row)
        except NcamError as error:
            try:
                older = self.upgrade(dict(row)) if self.upgrade else None
            except KeyError:
                older = None
            if older is None:
                raise error
            return from_dict(self.row, older)

    def text(self, rows: Sequence[Any], head: dict[str, Any] | None = None) -> str:
        """The rows as JSON, one to a line, so that a change of one is a change of one line."""
        lines = [json.dumps(to_dict(row), ensure_ascii=False) for row in rows]
        listed = "[\n" + ",\n".join(lines) + "\n]"
        if not self.key:
            return listed + "\n"
        start = "".join(f"{json.dumps(k)}: {json.dumps(v, ensure_ascii=False)},\n" for k, v in (head or {}).items())
        return "{\n" + start + f"{json.dumps(self.key)}: {listed}\n}}\n"

    def save(self, rows: Sequence[Any], head: dict[str, Any] | None = None) -> None:
        """Replace the file as a whole."""
        write_atomically(self.path, self.text(rows, head).encode())
