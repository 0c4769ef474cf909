"""What a reason comes to, less what is one model's, one machine's or one run's own: cells of one cause share it."""

from __future__ import annotations

import re

# What the reason of a known failure begins with: its id, of the form that the schema gives it.
KNOWN = re.compile(r"(?P<id>[A-Za-z0-9][A-Za-z0-9_.-]*): ")
FRAME = re.compile(r'File "[^"\n]+", line \d+')
EXCEPTION = re.compile(
    r"(?<![\w.])[A-Za-z_][\w.]*(?:Error|Exception|Exit|Interrupt|Warning|Iteration)\b(?=:|\s*$)", re.M
)
SUMMARY = re.compile(r"Error Message Summary:[\s-]*")  # Paddle's, after a traceback of C++
PACKAGES = re.compile(r".*/(?:site|dist)-packages/")
# Files of data, told from names in code by how they end.
SUFFIXES = "ya?ml|json|txt|csv|log|png|jpe?g|tiff?|bmp|npy|npz|pdparams|pdmodel|pdiparams|onnx|xml|bin|tar|t?gz|zip|so"
UNITS = "[GMKT]i?B|B|ms|s|min|h|%|x"
# In the order in which they are tried at each place of a reason. What may be long begins where a word does: else a long
# word would be looked at from each of its letters.
OWN = re.compile(
    rf"""
    (?P<url>\bhttps?://(?P<host>[^\s/,;:)\]'"]+)[^\s,;)\]'"]*)
    # A place in code is where it went wrong: it stays, as an import would name it.
    | (?P<code>(?<![^\s,;:()\[\]'"])[^\s,;:()\[\]'"]*\b[\w-]+\.pyx?\b)(?P<line>(?:"?,\ line\ |:)\d+)?
    | (?P<path>(?<![~.\w@+{{}}-])(?:[~.\w@+{{}}-]*/)+[.\w@+{{}}-]*)
    | (?P<file>(?<![.\w@+-])[\w@+-][.\w@+-]*\.(?:{SUFFIXES})\b)
    # Numbers that are names.
    | (?P<kept>\b(?:signal|exit\ code|status\ code|errno|opset|HTTP)\s+-?\d+)
    | (?P<hash>\b(?=[0-9a-f]*[0-9])(?=[0-9a-f]*[a-f])[0-9a-f]{{7,64}}\b|\b0x[0-9a-fA-F]+\b)
    | (?P<size>\b\d+x\d+(?:x\d+)*\b)
    | (?P<number>(?<![\w.])[-+]?\d+(?:\.\d+)*(?:[eE][-+]?\d+)?(?={UNITS}\b|%|(?!\w)))
    | (?P<counter>(?<=[a-z0-9]_)\d+(?![a-zA-Z0-9]))
    """,
    re.VERBOSE | re.IGNORECASE,
)
NAME = "\ue000"  # for private use: in no reason, and in no word
SHORT = 2  # letters: such a name is a word of some language too
SEVERAL = re.compile(r"\b(\w[^,;]{0,60})(?:, \1)+")  # of a shape, or of a list of any length: one


def cause(reason: str, model: str | None = None, *, known: bool = False) -> str:
    """The cause that a reason tells of; two cells whose reasons come to the same have failed for the same.

    It is the line of the reason that says what happened: the first, or the last exception of a traceback. In it
    `MODEL` stands for the model, `PATH` for a path and a file's name (with how it ends), `N` for a number, `HASH` for a
    hash. Places in code stay, and so do numbers that are names: of a signal, an exit code, an operator set.

    Args:
        model: whose name is taken out, unless it is as short as a word like "a".
        known: the reason is that of a known failure: its id is the cause.
    """
    if known and (listed := KNOWN.match(reason)):
        return listed["id"]
    text = _line(reason)
    if model and len(model) > SHORT:  # where it stands by itself, and not in a path or a place in code
        text = re.sub(rf"(?<![\w./-]){re.escape(model)}(?![\w/-])(?!\.\w)", NAME, text)
    text = OWN.sub(_plain, text).replace(NAME, "MODEL")
    return SEVERAL.sub(r"\1", " ".join(text.split()))


def _line(reason: str) -> str:
    """The line that says what happened."""
    if summary := SUMMARY.search(reason):
        reason = reason[summary.end() :]
    *_, last = [None, *FRAME.finditer(reason)]
    if last:
        *_, end = [None, *EXCEPTION.finditer(reason, last.end())]
        if end is None:
            return reason  # a traceback without its end: nothing of it says more than the rest
        reason = reason[end.start() :]
    first, *others = [*filter(str.strip, reason.splitlines()), ""]
    # A line that ends so is the head of the next.
    return " ".join([first, *others[:1]]) if first.rstrip().endswith(":") else first


def _plain(found: re.Match[str]) -> str:
    """What stands for a part that is one model's, one machine's or one run's own."""
    kind = str(found.lastgroup)
    if found["url"]:
        return f"https://{found['host']}/PATH"
    if found["code"]:
        return _place(found["code"]) + (found["line"] or "")
    if found["path"]:
        return f"PATH{_suffix(found['path'])}"
    if found["file"]:
        return f"PATH{_suffix(found['file'])}"
    return {"kept": found[0], "hash": "HASH"}.get(kind, "N")


def _place(file: str) -> str:
    """A file of code as an import would name it; of one that lies elsewhere its own name."""
    inside = PACKAGES.sub("", file)
    return inside if not inside.startswith(("/", "~", ".")) else inside.rpartition("/")[2]


def _suffix(path: str) -> str:
    """How a file's name ends: what kind of file it is."""
    found = re.search(r"\.[A-Za-z][A-Za-z0-9]{0,9}$", path)
    return found[0].lower() if found else ""
