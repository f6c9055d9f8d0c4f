"""Files that do not ship with the package: fetched once into the user's cache, and checked."""

import errno
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from ncamlib.errors import NcamError

DISK = {errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST}


def download(sources: Sequence[str], what: str, name: str, known_hash: str | None, otherwise: str) -> Path:
    """`what`, as the file `name` in the user's cache, from the first source that has it; NcamError if none does.

    `known_hash` as pooch writes it ("md5:..."). The message distinguishes disk from network faults, and says what the
    reader can do `otherwise`.
    """
    import pooch
    from requests import RequestException

    failures = []
    for url in sources:
        try:
            return Path(pooch.retrieve(url, known_hash, fname=name))
        except Exception as error:  # pooch passes on whatever its transport raises
            if isinstance(error, OSError) and not isinstance(error, RequestException) and error.errno in DISK:
                raise NcamError(
                    f"could not save {what} in {pooch.os_cache('pooch')} ({error.strerror}): free some space, or set "
                    "XDG_CACHE_HOME to another folder"
                ) from error
            why = "a different file" if isinstance(error, ValueError) else type(error).__name__
            failures.append(f"{urlsplit(url).hostname}: {why}")
    raise NcamError(f"could not download {what} ({', '.join(failures)}): check the network, or {otherwise}")
