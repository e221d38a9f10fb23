"""Files that only their owner may read."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path


def write_private(path: Path, value: object) -> None:
    """Write JSON with mode 0600 in one step: readers see the old file or the new one, whatever happens.

    Makes the folder (mode 0700) when it is missing. Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
    try:
        with os.fdopen(descriptor, "w") as file:
            json.dump(value, file, indent=2)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
