"""Certificates that somebody changed: unpacked, and packed again with hashes that fit."""

import json
import zipfile

from segcert.show import packing

SUMS, SIGNATURE = "SHA256SUMS", "SHA256SUMS.sig"


def contents(path):
    with zipfile.ZipFile(path) as found:
        return {name: found.read(name) for name in found.namelist()}


def repacked(files, to):
    """Write files as a certificate is written, with the hashes that they have now; a signature stays what it was."""
    plain = {name: content for name, content in sorted(files.items()) if name not in (SUMS, SIGNATURE)}
    after = {SUMS: packing.sums(plain.items()).encode(), **{n: c for n, c in files.items() if n == SIGNATURE}}
    packing.write(to, {**plain, **after}.items(), sealed=True)
    return to


def as_json(content):
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()
