"""Marks each line under scripts/ that is run, in every process that the tests start, however it ends.

A line of an environment's site-packages (`judge.py --follow`) starts this file at the start of each process of Python
where the variable SEGCERT_LINES holds its path. Files under a `scripts` folder beside a Snakefile, thus also those of a
test's copy of the project, are then compiled with a mark before each statement; nothing else is touched, so what the
project does not own runs at full speed. A mark is a byte in a file that all processes map into their memory: it stays
when a process is killed, and nothing is to be gathered at its end. The file's name holds a hash of the source, so that
what ran in a copy counts where the copy is the same, and what ran before an edit counts no more.
"""

from __future__ import annotations

import builtins
import importlib.util
import marshal
import mmap
import os
import sys
from importlib.machinery import FileFinder, ModuleSpec, SourceFileLoader

VARIABLE = "SEGCERT_LINES"
FOLDER = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), ".lines")
ENDING = ".ran"
STARTED = "__lines__"  # this file's __name__ where it is to start


def marks_name(relative: str, source: bytes) -> str:
    """The name, without its ending, of the file with the marks of a source; `relative` is its path below scripts/."""
    return f"{relative.replace('/', '.')}.{importlib.util.source_hash(relative.encode() + source).hex()}"


def marked(source: bytes, name: str) -> tuple[object, list[int]]:
    """A module of syntax with marks, which are items of the global `name`, and the lines that have one.

    Not a statement that runs: a docstring, `...`, `global`, an import from `__future__`, and what is imported
    for the type checker alone.
    """
    import ast

    lines: list[int] = []

    def runs(statement: ast.stmt) -> bool:
        if isinstance(statement, ast.Expr):
            return not isinstance(statement.value, ast.Constant)
        if isinstance(statement, ast.ImportFrom):
            return statement.module != "__future__"
        return not isinstance(statement, ast.Global | ast.Nonlocal)

    def mark(statement: ast.stmt) -> ast.stmt:
        lines.append(statement.lineno)
        item = ast.Subscript(ast.Name(name, ast.Load()), ast.Constant(statement.lineno), ast.Store())
        made = ast.Assign([item], ast.Constant(1))
        for node in ast.walk(made):
            if isinstance(node, ast.expr | ast.stmt):
                node.lineno = node.end_lineno = statement.lineno
                node.col_offset = node.end_col_offset = statement.col_offset
        return made

    def block(statements: list[ast.stmt]) -> list[ast.stmt]:
        found = []
        for statement in statements:
            if runs(statement):
                found.append(mark(statement))
            found.append(statement)
            if isinstance(statement, ast.If) and ast.unparse(statement.test) in (
                "TYPE_CHECKING",
                "typing.TYPE_CHECKING",
            ):
                statement.orelse = block(statement.orelse)
                continue
            for part in (statement, *getattr(statement, "handlers", ()), *getattr(statement, "cases", ())):
                for field in ("body", "orelse", "finalbody"):
                    if inner := getattr(part, field, None):
                        setattr(part, field, block(inner))
        return found

    tree = ast.parse(source)
    tree.body = block(tree.body)
    return tree, lines


def _below_scripts(path: str) -> str | None:
    """The path below scripts/ of a file or folder of a project like this one; '' for scripts/ itself."""
    before, scripts, relative = f"{os.path.abspath(path)}/".rpartition("/scripts/")
    if scripts and os.path.exists(f"{before}/Snakefile"):
        return relative.rstrip("/")
    return None


def _code(path: str, relative: str, source: bytes):
    """A file's code with marks; raises OSError where none can be left."""
    stem = f"{FOLDER}/{marks_name(relative, source)}"
    name = f"__ran_{stem.rpartition('.')[2]}__"
    if not hasattr(builtins, name):
        # Also for processes of other users, which some tests start.
        number = os.open(stem + ENDING, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if os.fstat(number).st_uid == os.getuid():
                os.chmod(number, 0o666)  # noqa: S103  (whatever the umask)
            size = source.count(b"\n") + 2
            os.truncate(number, size)
            setattr(builtins, name, mmap.mmap(number, size))
        finally:
            os.close(number)
    kept = f"{stem}.{sys.implementation.cache_tag}"
    try:
        with open(kept, "rb") as stream:
            code = marshal.load(stream)  # noqa: S302
    except OSError:
        code = compile(marked(source, name)[0], path, "exec", dont_inherit=True)
        with open(f"{kept}.{os.getpid()}", "wb") as stream:
            marshal.dump(code, stream)
        os.replace(stream.name, kept)
    return _placed(code, path)


def _placed(code, path: str):
    """The code as if compiled from that path: copies of a file share what is kept of it."""
    inner = (_placed(item, path) if isinstance(item, type(code)) else item for item in code.co_consts)
    return code.replace(co_filename=path, co_consts=tuple(inner))


class _Loader(SourceFileLoader):
    def get_code(self, fullname):
        path = self.get_filename(fullname)
        try:
            return _code(path, _below_scripts(path), self.get_data(path))
        except OSError:
            return super().get_code(fullname)  # a process that may not write there runs as it would without this


class _Script:
    """Finds the script that Python is started with: a finder for its path makes Python take it from there."""

    def __init__(self, path: str) -> None:
        self.path = os.path.realpath(path)

    def find_spec(self, name, target=None):
        if name != "__main__" or sys.path[0:1] == [os.path.dirname(self.path)]:
            return None
        sys.path[0] = os.path.dirname(self.path)  # as Python has it for a script
        spec = ModuleSpec(name, _Loader(name, self.path), origin=self.path)
        spec.has_location = True
        return spec


def _finder(path: str):
    if _below_scripts(path) is None:
        raise ImportError
    if path.endswith(".py"):
        return _Script(path)
    return FileFinder(path, (_Loader, [".py"]))


def start() -> None:
    if not os.path.isdir(FOLDER):
        try:
            os.mkdir(FOLDER)
        except FileExistsError:  # another process was quicker
            pass
        except OSError:
            return
    sys.path_hooks.insert(0, _finder)
    for path in [path for path in sys.path_importer_cache if _below_scripts(path) is not None]:
        del sys.path_importer_cache[path]  # of PYTHONPATH, which was looked through before this was started


if __name__ == STARTED:
    start()
