"""Files from elsewhere: a path on this machine or a URL, held to a checksum where one is known."""

from __future__ import annotations

import argparse
from pathlib import Path

from segcert import record
from segcert.errors import StageError

TIMEOUT_S = 60
BLOCK = 1 << 20


def add_options(options: argparse.ArgumentParser, *more_sources: str) -> None:
    options.add_argument("--source", required=True, choices=["url", "path", *more_sources])
    options.add_argument("--location", help="the URL or the path")
    options.add_argument("--sha256", help="what the file must hash to")


def obtain(source: str, location: str, sha256: str | None, destination: Path) -> Path:
    """The file at a path, or the download of a URL to `destination`.

    Raises:
        StageError: it is not there, it cannot be fetched, or its checksum is another.
    """
    if source == "path":
        file = Path(location)
        if not file.is_file():
            raise StageError(f"{location}: there is no such file; correct `path` in the configuration")
    else:
        file = fetch(location, destination)
    if sha256 and (found := record.sha256(file)) != sha256:
        raise StageError(f"{location}: its sha256 is {found}, the configuration says {sha256}; it is refused")
    return file


def fetch(url: str, destination: Path) -> Path:
    """Download to a file, refusing an answer that is shorter or longer than it says."""
    import requests

    try:
        with requests.get(url, stream=True, timeout=TIMEOUT_S) as answer:
            answer.raise_for_status()
            with destination.open("wb") as out:
                for block in answer.iter_content(BLOCK):
                    out.write(block)
            promised = answer.headers.get("Content-Length")
    except requests.RequestException as error:
        raise StageError(
            f"{url}: cannot be fetched: {error}; check the network, or give the file as `source: path`"
        ) from error
    if promised and answer.headers.get("Content-Encoding") is None and destination.stat().st_size != int(promised):
        raise StageError(f"{url}: {destination.stat().st_size} bytes came, {promised} were promised; try again")
    return destination
