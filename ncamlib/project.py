"""Paths, safe file writes, and the records under `figures/` from which tables and chapters are rendered."""

import contextlib
import glob
import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ncamlib.config import from_dict, to_dict
from ncamlib.errors import NcamError

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None

JOURNAL = ".journal"  # what a change of several files still has to do
PATIENCE = 60.0  # seconds that a process waits for another one that records

PACKAGE = Path(__file__).resolve().parent


def project_root() -> Path:
    """The checkout this package runs from, or the folder in NCAM_HOME; NcamError if there is neither."""
    home = os.environ.get("NCAM_HOME")
    root = Path(home) if home else PACKAGE.parent
    if not (root / "_toc.yml").is_file():
        raise NcamError("the project's checkpoints and book were not found: run in a checkout, or set NCAM_HOME to one")
    return root


def commit() -> str:
    """The checkout's commit, with '+' if files under version control differ from it; of an exported archive the
    commit that it was made from, whatever was changed since; '' outside both.
    """

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(PACKAGE), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", str(PACKAGE))
        return _archived() or git("rev-parse", "HEAD")[:12] + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return _archived()


def _archived() -> str:
    """The commit that `git archive` (or a download from a hosting site) wrote into its stamp; '' if it did not."""
    try:
        stamp = (PACKAGE.parent / ".git_archival.txt").read_text(encoding="utf-8").strip()
    except OSError:
        return ""
    return stamp[:12] if re.fullmatch("[0-9a-f]{40}", stamp) else ""


def write_atomically(path: Path, content: bytes) -> None:
    """Replace `path` as a whole or leave it unchanged; NcamError if that fails (no permission, disk full).

    Partial files that a killed process left beside it are removed.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path.parent, glob.escape(path.name))
        try:
            with open(temporary, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:  # also when a signal ends the program here
            temporary.unlink(missing_ok=True)
    except OSError as error:
        blocked = isinstance(error, FileExistsError | NotADirectoryError | IsADirectoryError | PermissionError)
        advice = "choose another place" if blocked else "free some space or choose another folder"
        raise NcamError(
            f"could not save {path} ({error.strerror}): {advice}; what was there before is untouched"
        ) from error


class Busy(Exception):
    """Another process holds the lock."""


@contextlib.contextmanager
def locked(place: Path, patience: float = 0.0) -> Iterator[int]:
    """Lock a folder or file against other processes -> its descriptor. Busy if another holds it for longer than
    `patience` seconds. The system releases it when its holder dies.
    """
    flags = os.O_RDONLY if place.is_dir() else os.O_RDWR | os.O_CREAT
    handle, end = os.open(place, flags, 0o644), time.monotonic() + patience
    try:
        while fcntl is not None:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() >= end:
                    raise Busy from error
                time.sleep(0.02)
        yield handle
    finally:
        os.close(handle)


@contextlib.contextmanager
def recording() -> Iterator[None]:
    """Lock the records against other processes while they are read, changed and written.

    A change that a killed process had begun is finished first. NcamError outside a checkout.
    """
    folder = project_root() / "figures"
    try:
        folder.mkdir(exist_ok=True)
        with locked(folder, PATIENCE):
            _finish(folder / JOURNAL)
            for place in (folder, folder / "table_runs", project_root() / "checkpoints"):
                _sweep(place, "*.new", "*")
            yield
    except Busy as error:
        raise NcamError(f"another process has been recording in {folder} for {PATIENCE:.0f} s: wait for it") from error


def write_together(files: Mapping[Path, bytes]) -> None:
    """Inside `recording`: replace several files, all of them or none, even if the process is killed meanwhile.

    Every file is on disk beside its target before the journal is written; after that, only names change.
    """
    journal, moves = project_root() / "figures" / JOURNAL, {}
    try:
        for path, content in files.items():
            new = path.with_name(f"{path.name}.{os.getpid()}.new")
            moves[str(new)] = str(path)
            write_atomically(new, content)
        write_atomically(journal, json.dumps(moves).encode())
    except BaseException:
        for new in moves:
            Path(new).unlink(missing_ok=True)
        raise
    _finish(journal)


def _finish(journal: Path) -> None:
    """Finish the moves that a journal lists."""
    if not journal.exists():
        return
    for new, path in json.loads(journal.read_text(encoding="utf-8")).items():
        if Path(new).exists():
            os.replace(new, path)
    journal.unlink()


def _sweep(folder: Path, *names: str) -> None:
    """Remove the temporary files of processes that have ended: NAME.PID.new, and the partial .NAME.PID.part."""
    patterns = [name if name.endswith(".new") else f".{name}.*.part" for name in names]
    for file in (file for pattern in patterns for file in folder.glob(pattern)):
        try:
            os.kill(int(file.name.split(".")[-2]), 0)
        except (ValueError, ProcessLookupError, OverflowError):
            file.unlink(missing_ok=True)
        except PermissionError:  # another user's, alive
            continue


@dataclass(frozen=True)
class Records:
    """Rows of one kind, kept in a JSON file under `figures/`: a list, or a list under `key` next to a head."""

    file: str
    row: type  # a frozen dataclass
    key: str = ""
    upgrade: Callable[[dict[str, Any]], dict[str, Any]] | None = None  # makes a row by an earlier commit one of today

    @property
    def path(self) -> Path:
        """Where the records are; NcamError outside a checkout."""
        return project_root() / "figures" / self.file

    def load(self) -> list[Any]:
        """The rows; none if nothing is recorded, or outside a checkout. NcamError for a damaged file."""
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
        """The rows as JSON, one per line, so that changing a row changes one line."""
        lines = [json.dumps(to_dict(row), ensure_ascii=False) for row in rows]
        listed = "[\n" + ",\n".join(lines) + "\n]"
        if not self.key:
            return listed + "\n"
        start = "".join(f"{json.dumps(k)}: {json.dumps(v, ensure_ascii=False)},\n" for k, v in (head or {}).items())
        return "{\n" + start + f"{json.dumps(self.key)}: {listed}\n}}\n"

    def save(self, rows: Sequence[Any], head: dict[str, Any] | None = None) -> None:
        """Replace the file as a whole."""
        write_atomically(self.path, self.text(rows, head).encode())

    def update(self, change: Callable[[list[Any]], Sequence[Any]]) -> None:
        """Replace the rows by what `change` returns for them, under the lock of `recording`."""
        with recording():
            head, rows = self.read()
            self.save(change(rows), head)
