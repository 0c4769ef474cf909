"""Which lines under scripts/ no test has run: fails for each that has no reason to be left out.

    judge.py                   judge what stands in .lines/ (and in its folders, for the marks of several machines)
    judge.py --since COMMIT    judge the lines that changed since a commit alone: after a run of some of the tests
    judge.py --follow PYTHON   let the processes of that environment mark what they run (see marks.py)

A line that the tests cannot reach stands in exceptions.toml. An exception that matches nothing, or of which a
test runs a line, fails too: then it is no longer true. Marks stay until `rm -rf .lines`; those of a file that was
edited since do not count.
"""

from __future__ import annotations

import argparse
import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import marks

ROOT = Path(__file__).resolve().parents[2]
EXCEPTIONS = Path(__file__).parent / "exceptions.toml"
UNRUN = "  <- no test runs this"
PTH = "segcert-lines.pth"
START = (
    f'import os; p = os.environ.get("{marks.VARIABLE}"); p and os.access(p, os.R_OK) and '
    f'exec(compile(open(p).read(), p, "exec"), {{"__name__": "{marks.STARTED}", "__file__": p}})\n'
)


@dataclass(frozen=True)
class Line:
    """A statement: file below scripts/, number and text of its line, the functions and classes that it is in."""

    file: str
    number: int
    text: str
    within: tuple[str, ...]
    ran: bool

    def __str__(self) -> str:
        return f"scripts/{self.file}:{self.number}: {self.text}"


def lines(scripts: Path, folders: Iterable[Path]) -> list[Line]:
    """Every statement of the sources, and whether a mark in one of the folders says that it ran."""
    found = []
    for file in sorted(scripts.rglob("*.py")):
        relative, source = file.relative_to(scripts).as_posix(), file.read_bytes()
        name = marks.marks_name(relative, source) + marks.ENDING
        ran = [(folder / name).read_bytes() for folder in folders if (folder / name).exists()]
        text, within = source.decode().splitlines(), _places(ast.parse(source))
        for number in sorted(set(marks.marked(source, "_")[1])):
            here = any(number < len(marked) and marked[number] for marked in ran)
            found.append(Line(relative, number, text[number - 1].strip(), within.get(number, ()), here))
    return found


def _places(tree: ast.AST) -> dict[int, tuple[str, ...]]:
    """Line -> names of the functions and classes, from the outside in, whose body it is in."""
    found: dict[int, tuple[str, ...]] = {}

    def visit(node: ast.AST, names: tuple[str, ...]) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.stmt):
                found[child.lineno] = names
            named = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            visit(child, (*names, child.name) if named else names)

    visit(tree, ())
    return found


def complaints(found: list[Line], exceptions: list[dict[str, Any]]) -> Iterator[str]:
    """What is wrong, a line each: a statement that did not run and is not excepted, an exception that is not true.

    An exception has `file` (below scripts/), `reason`, and `function`, `line` (the text of a line) or both.
    """
    excepted: set[Line] = set()
    for entry in exceptions:
        name = " ".join(f"{key}={entry[key]!r}" for key in ("file", "function", "line") if key in entry)
        if not entry.get("reason") or not {"function", "line"} & entry.keys():
            yield f"exception {name}: needs a reason, and a function or a line"
            continue
        matched = [line for line in found if _matches(entry, line)]
        if not matched:
            yield f"exception {name}: matches no line; take it out or put it right"
        for line in matched:
            if line.ran:
                yield f"exception {name}: a test runs it ({line}); take it out or narrow it"
        excepted.update(matched)
    for line in found:
        if not line.ran and line not in excepted:
            yield f"{line}{UNRUN}"


def changed(root: Path, commit: str) -> dict[str, set[int]]:
    """File below scripts/ -> numbers of its lines that are not in a commit."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=True).stdout

    found: dict[str, set[int]] = {}
    numbers: set[int] = set()
    for line in git("diff", "--unified=0", "--no-color", "--no-ext-diff", commit, "--", "scripts").splitlines():
        if line.startswith("+++ "):
            numbers = found.setdefault(line.removeprefix("+++ b/scripts/"), set())
        elif hunk := re.match(r"@@ -\S+ \+(\d+)(?:,(\d+))? @@", line):
            first = int(hunk[1])
            numbers.update(range(first, first + int(hunk[2] or 1)))
    for file in git("ls-files", "--others", "--exclude-standard", "--", "scripts").splitlines():
        lines_there = len((root / file).read_bytes().splitlines())
        found[file.removeprefix("scripts/")] = set(range(1, lines_there + 1))
    return found


def missed(found: list[Line], numbers: dict[str, set[int]], exceptions: list[dict[str, Any]]) -> Iterator[Line]:
    """The statements with one of these lines that did not run and are not excepted."""
    for line, following in zip(found, [*found[1:], None], strict=True):
        end = following.number if following and following.file == line.file else sys.maxsize
        here = any(line.number <= number < end for number in numbers.get(line.file, ()))
        if here and not line.ran and not any(_matches(entry, line) for entry in exceptions):
            yield line


def _matches(entry: dict[str, Any], line: Line) -> bool:
    return (
        line.file == entry["file"]
        and entry.get("function", "") in ("", *line.within)
        and entry.get("line", line.text) == line.text
    )


def follow(python: Path) -> None:
    """Put the line that starts marks.py into the environment of that interpreter."""
    asked = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    packages = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    (Path(packages) / PTH).write_text(START, encoding="utf-8")


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--since", metavar="COMMIT")
    options.add_argument("--follow", type=Path, metavar="PYTHON")
    args = options.parse_args()
    if args.follow:
        follow(args.follow)
        return 0
    marked = Path(marks.FOLDER)
    found = lines(ROOT / "scripts", [marked, *marked.glob("*/")])
    exceptions = tomllib.loads(EXCEPTIONS.read_text(encoding="utf-8")).get("exception", [])
    if args.since:
        wrong = [f"{line}{UNRUN}" for line in missed(found, changed(ROOT, args.since), exceptions)]
    else:
        wrong = list(complaints(found, exceptions))
    print(*wrong, sep="\n", end="\n" if wrong else "")
    print(f"{sum(line.ran for line in found)} of {len(found)} statements under scripts/ were run by a test")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
