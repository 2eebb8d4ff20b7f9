"""Checks of data that were made before, on disk."""

import contextlib
import dataclasses
import hashlib
import json
import os
from pathlib import Path

from ...utils.atomic_file import atomic_file
from ...utils.json_file import read_object
from ..tar_members import file_of


def _digest_of_code():
    """Return a digest of the code that reads data: another version may find other things."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


VERSION = _digest_of_code()
_known = {}  # of this process, which may not be able to write


def cached(kind, name, files, check):
    """Return the result of a check of files; that of before if none of them has changed.

    Results are kept in :func:`cache_folder`. One that cannot be written to is no error. What
    ``check`` raises is not kept.

    Args:
        kind: dataclass of the result, of plain values.
        name: what the result depends on beside the files, a text.
        files: paths that it depends on, by the sizes and times of their files; of a file in a tar
            archive the archive counts.
        check: function that returns the result.
    """
    key = hashlib.sha256(repr((VERSION, kind.__name__, name)).encode())
    for path in files:
        try:
            state = os.stat(file_of(path))
            facts = os.path.abspath(path), state.st_size, state.st_mtime_ns
        except (OSError, ValueError):  # the latter for a name with a NUL
            facts = os.path.abspath(path), "absent"
        key.update(repr(facts).encode("utf-8", "backslashreplace"))
    key = key.hexdigest()
    if key not in _known:
        _known[key] = _read_or_check(cache_folder() / f"{key}.json", kind, check)
    return _known[key]


def _read_or_check(path, kind, check):
    found = read_object(path)
    if {x.name for x in dataclasses.fields(kind)} == set(found):
        return kind(**found)
    result = check()
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as file:
            file.write(json.dumps(dataclasses.asdict(result)).encode("utf-8"))
    return result


def cache_folder():
    """Return the folder of the results: in FVCORE_CACHE (~/.torch/iopath_cache), as iopath's."""
    root = os.environ.get("FVCORE_CACHE", "~/.torch/iopath_cache")
    return Path(root).expanduser() / "dense_ssl_checks"
