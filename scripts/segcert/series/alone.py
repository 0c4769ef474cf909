"""One series at a time in a folder: two of one name would mix their runs and overwrite each other's answer."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from segcert.errors import ConfigError


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a folder until the end of the block; the lock ends with this process however that ends.

    The locked file stands beside the folder, so that who deletes the folder does not delete the lock.

    Raises:
        ConfigError: another process holds it; nothing is written then.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f".{folder.name}.lock").open("a+", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"{folder}: {_holder(stream.name)}; wait until it has ended, or give another name"
            ) from None
        except OSError:  # some file systems have no locks: then nobody can be kept out
            yield
            return
        stream.truncate(0)
        begun = datetime.now(UTC).isoformat(timespec="seconds")
        stream.write(json.dumps({"pid": os.getpid(), "host": platform.node(), "begun": begun}))
        stream.flush()
        yield


def _holder(lock: str) -> str:
    """Who holds a lock, in words, by what it wrote there."""
    try:
        said = json.loads(Path(lock).read_text(encoding="utf-8"))
    except ValueError:  # it has only just taken it
        return "another run is at work there"
    return f"process {said['pid']} on {said['host']} is at work there since {said['begun']}"
