"""Write the pages of the documentation that are made from the code: `make docs`.

    python docs/generate.py [PAGE...]    write them, or some
    python docs/generate.py --check      exit code 1 where one is not up to date, naming it

docs/reference/config.md from the schema and the comments of config/config.yaml, statuses.md from
statuses.py, commands.md from the scripts' --help, corpus.md from the data sets of tests/corpus, in
docs/architecture.md the graph of the rules; what engines.py says: in docs/matrix.md what is
offered, in the schema the engines, for editors that read it; and in docs/zoo.md the types of data sets.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from segcert import engines, layouts, own_scripts, sections, settings, statuses  # noqa: E402
from segcert.checkout import tree  # noqa: E402

CONFIG = ROOT / "config" / "config.yaml"
SCHEMA = "config/schema/config.schema.json"
MADE = "<!-- Made by docs/generate.py (`make docs`): edit {source} instead. -->\n\n"
# Sections whose keys are names of the user's choice: the keys of an entry are told instead.
TABLES = {
    "model_zoo": ("model", "a model"),
    "datasets": ("dataset", "a data set"),
    "weights": ("weight_file", "a weight file"),
}
NAME = "^[A-Za-z0-9][A-Za-z0-9_.-]*$"
# What the graph of rules is drawn from: together these modes need every rule that makes something.
GRAPHS = ("lite_train_lite_infer", "whole_infer")
GRAPH = re.compile(r"(?<=<!-- rulegraph -->\n).*?(?=<!-- /rulegraph -->)", re.S)
OFFERED = re.compile(r"(?<=<!-- offered -->\n).*?(?=<!-- /offered -->)", re.S)
TYPES = re.compile(r"(?<=<!-- types -->\n).*?(?=<!-- /types -->)", re.S)
# In the schema, the engines of an entry of infer.cpu or infer.gpu.
ENGINES = re.compile(r'("(cpu|gpu)": \{\s+"type": "array",.*?"engine": \{"enum": )\[[^\]]*\]', re.S)
# And those that numbers of streams may be for.
STREAMED = re.compile(r'(?<="engines": \{\n)(\s+"type": "array",\s+"items": \{"enum": )\[[^\]]*\]')
LAYOUTS = re.compile(r'(?<="layout": \{"enum": )\[[^\]]*\]')


# -- config.md --------------------------------------------------------------------------------


def keys(node: yaml.Node, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], int]]:
    """(path, line) of every key of a YAML document whose mappings are in block style, in order."""
    if isinstance(node, yaml.MappingNode) and not node.flow_style:
        for key, value in node.value:
            yield (*path, key.value), key.start_mark.line
            yield from keys(value, (*path, key.value))


def comment_above(lines: list[str], number: int) -> list[str]:
    """The lines of the comment that ends right above a line, without their marks."""
    start = number
    while start and lines[start - 1].strip().startswith("#"):
        start -= 1
    return [line.strip().removeprefix("#").removeprefix(" ") for line in lines[start:number]]


def comments(text: str) -> dict[tuple[str, ...], list[str]]:
    """Key -> its comment; a key without one is told of with the key before it, if no blank line parts them."""
    lines = text.splitlines()
    found: dict[tuple[str, ...], list[str]] = {}
    beside: dict[tuple[str, ...], tuple[str, ...]] = {}
    for path, number in keys(yaml.compose(text, yaml.SafeLoader)):
        said = comment_above(lines, number)
        before = beside.get(path[:-1])
        if not said and before and lines[number - 1].strip() and found[before]:
            said = ["as above"]
        found[path] = said
        beside[path[:-1]] = path
    return found


def resolved(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """A part of the schema with its reference followed; what stands beside the reference goes over it."""
    if "$ref" not in schema:
        return schema
    target = definitions[schema["$ref"].rsplit("/", 1)[1]]
    return sections.merge(resolved(target, definitions), {key: schema[key] for key in schema if key != "$ref"})


def is_section(schema: dict[str, Any]) -> bool:
    return isinstance(schema.get("properties"), dict) and "anyOf" not in schema


def rows(
    schema: dict[str, Any], definitions: dict[str, Any], defaults: Any, path: tuple[str, ...], written: Any
) -> Iterator[tuple[tuple[str, ...], dict[str, Any], Any]]:
    """(path, schema, default) of every key below a section; a section on one line of the file is one key."""
    for name, part in resolved(schema, definitions)["properties"].items():
        part = resolved(part, definitions)
        value, below = defaults[name], (*path, name)
        if is_section(part) and any(key[:-1] == below for key in written):
            yield from rows(part, definitions, value, below, written)
        else:
            yield below, part, value


def cell(lines: list[str]) -> str:
    """Lines of a comment for a cell of a Markdown table; an indented line stays one."""
    parts: list[str] = []
    for line in lines:
        text = " ".join(line.split()).replace("|", "\\|").replace("<", "&lt;")
        parts += [("<br>" if line.startswith("  ") else " ") + text] if parts else [text]
    return "".join(parts)


def words(schema: dict[str, Any]) -> str:
    """What a key may be, in short."""
    if is_section(schema):
        return f"keys {', '.join(schema['properties'])}"
    said = settings._allowed(schema).replace(f"string matching {NAME}", "a name")
    return cell([re.sub(r"string matching \S{60,}", "string of a form that the schema gives", said)])


def code(value: Any) -> str:
    return f"`{json.dumps(value, ensure_ascii=False)}`".replace("|", "\\|")


def prose(lines: list[str]) -> str:
    """A comment as Markdown: as a block where it has columns of its own, else as a paragraph."""
    if any(line.startswith("  ") for line in lines):
        return "```text\n" + "\n".join(lines) + "\n```\n"
    return "\n".join(lines) + "\n"


def config_page() -> str:
    text = CONFIG.read_text(encoding="utf-8")
    shipped = yaml.safe_load(text)
    schema = settings.whole_schema()
    definitions = schema["$defs"]
    said = comments(text)
    head = comment_above(text.splitlines(), text.splitlines().index(""))
    head = [line for line in head if not line.startswith("yaml-language-server: ")]  # that is for editors
    page = [
        "# Configuration\n\n",
        MADE.format(source="config/config.yaml (comments, defaults) or config/schema/config.schema.json"),
        prose(head),
        "\nA default is that of `config/config.yaml`, before a mode goes over it. A *name* begins with a letter or a\n"
        "digit and has letters, digits, `_`, `.` and `-`. Keys: ",
        ", ".join(f"[`{name}`](#{name})" for name in shipped) + ".\n",
    ]
    for name in shipped:
        part = resolved(schema["properties"][name], definitions)
        page.append(f"\n## {name}\n\n")
        if said[name,]:
            page.append(prose(said[name,]) + "\n")
        if name in TABLES:
            definition, thing = TABLES[name]
            entry = definitions[definition]
            page.append(f"Entries: {', '.join(f'`{key}`' for key in shipped[name])}. Keys of {thing}:\n\n")
            page += entry_table(entry, definitions)
        elif name == "modes":
            allowed = ", ".join(f"`{key}`" for key in part["additionalProperties"]["properties"])
            page.append(f"A mode may change {allowed}. What each changes:\n\n")
            page.append("```yaml\n" + section_text(text, "modes") + "```\n")
        elif name == "known_failures":
            page.append("Keys of an entry:\n\n")
            page += entry_table(part["items"], definitions)
            page.append("\nShipped: " + ", ".join(f"`{entry['id']}`" for entry in shipped[name]) + ".\n")
        elif is_section(part):
            page += ["| key | allowed | default | |\n", "| --- | --- | --- | --- |\n"]
            for path, allowed, default in rows(part, definitions, shipped[name], (name,), said):
                notes = cell(said[path])
                page.append(f"| `{'.'.join(path)}` | {words(allowed)} | {code(default)} | {notes} |\n")
        else:
            page.append(f"Allowed: {words(part)}. Default: {code(shipped[name])}.\n")
    return "".join(page)


def entry_table(entry: dict[str, Any], definitions: dict[str, Any]) -> Iterator[str]:
    needed = entry.get("required", [])
    yield "| key | allowed | needed |\n| --- | --- | --- |\n"
    for name, part in entry["properties"].items():
        yield f"| `{name}` | {words(resolved(part, definitions))} | {'yes' if name in needed else ''} |\n"


def section_text(text: str, name: str) -> str:
    """A top-level section of a YAML file as it stands there."""
    lines = text.splitlines(keepends=True)
    start = next(number for number, line in enumerate(lines) if line.startswith(f"{name}:"))
    end = next((number for number in range(start + 1, len(lines)) if lines[number][:1].strip()), len(lines))
    return "".join(lines[start:end])


# -- statuses.md, commands.md, the engines, the graph ----------------------------------------


def statuses_page() -> str:
    page = [
        "# Statuses\n\n",
        MADE.format(source="scripts/segcert/statuses.py"),
        "| status | shown as | Chinese | meaning | turns the run red |\n| --- | --- | --- | --- | --- |\n",
    ]
    for status in statuses.ALL:
        red = "yes" if status.red else "no"
        page.append(f"| `{status.name}` | {status.symbol} | {status.zh} | {status.meaning} | {red} |\n")
    exercised = [f"`{status.name}`" for status in statuses.ALL if status.exercised]
    page.append(
        "\nA `blocked` cell is not counted as red again: its cause is red already. A run in which nothing is `passed` "
        "is red too, because it\ncertifies nothing. `snakemake` exits with another code than 0 where a job failed, and "
        "writes the conclusions all the same.\n\n"
        f"Statuses of cells that were really exercised: {', '.join(exercised)}.\n"
    )
    return "".join(page)


def offered() -> str:
    lines = ["| device | engine | precisions |\n", "| --- | --- | --- |\n"]
    for device in (engines.CPU, engines.GPU):
        for name in engines.on(device):
            precisions = ", ".join(engines.by_name(name).offers[device])
            lines.append(f"| {device.upper()} | {name} | {precisions} |\n")
    return "".join(lines)


def types() -> str:
    """The types of data sets that are read, and those that are not."""
    lines = ["| `type` | classes | ignored | `layout` | `mode` of `train_dataset` |\n", "| --- " * 5 + "|\n"]
    for layout in layouts.ALL:
        for kind, known in layout.types.items():
            classes, ignored = known or ("`num_classes`", "`ignore_index`")
            lines.append(f"| `{kind}` | {classes} | {ignored} | `{layout.name}` | {layout.train_mode} |\n")
    lines += ["\n", "| not read | because |\n", "| --- | --- |\n"]
    lines += [f"| `{kind}` | {why} |\n" for kind, why in layouts.NOT_READ.items() if kind not in layouts.BY_TYPE]
    return "".join(lines)


def schema_text() -> str:
    """The schema as it stands in its file, with the engines and layouts that there are."""
    text = ENGINES.sub(lambda found: found[1] + json.dumps(engines.on(found[2])), read(SCHEMA))
    text = STREAMED.sub(lambda found: found[1] + json.dumps(list(engines.BY_NAME)), text)
    return LAYOUTS.sub(json.dumps(list(layouts.BY_NAME)), text)


def commands_page() -> str:
    page = [
        "# Command lines\n\n",
        MADE.format(source="the script"),
        "What the rules start; each can be started by hand too, with the Python of the environment. A record's "
        "`command` is such a line.\n",
    ]
    environment = {**os.environ, "COLUMNS": "100", "SEGCERT_WORKER": ""}
    for script in sorted((ROOT / "scripts").glob("*.py")):
        command = [sys.executable, str(script), "--help"]
        said = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=True).stdout
        page.append(f"\n## scripts/{script.name}\n\n```text\n{said.rstrip()}\n```\n")
    return "".join(page)


CORPUS = """{count} small data sets that are odd, broken or meant to deceive, what becomes of each when it is unpacked, and the words that
must be told, in the error or in a note. Where it says *read as plain*, every picture and label map is, pixel for pixel, that of
the same data set without the oddity, in PaddleSeg's data sets and in the readers of the stages. A row is a test:

    .venv/bin/python -m pytest "tests/corpus/test_corpus.py::test_unpacking[NAME]"

[data.md](../data.md#what-a-data-set-must-be) says why. `tests/corpus/test_mutations.py` changes good data sets at random, and
holds that what passes is read as it was meant.
"""  # noqa: E501


def corpus_page() -> str:
    """Every data set of the corpus, and what must become of it."""
    sys.path.insert(0, str(ROOT / "tests" / "corpus"))
    import cases

    page = [
        "# The hostile corpus\n\n",
        MADE.format(source="tests/corpus/cases.py"),
        CORPUS.format(count=len(cases.CASES)),
    ]
    for title, section in cases.SECTIONS.items():
        page.append(f"\n## {title}\n\n| data set | outcome | told |\n| --- | --- | --- |\n")
        for case in section:
            layout = " (Cityscapes)" if case.layout == layouts.CITYSCAPES.name else ""
            passes = "read as plain" if case.same else "passes"
            told = " ... ".join(code_of(word) for word in case.words) or ("nothing" if case.silent else "")
            page.append(
                f"| {case.name}{layout} | {passes if case.outcome == cases.PASSES else case.outcome} | {told} |\n"
            )
    return "".join(page)


def code_of(text: str) -> str:
    """A text as code for a cell of a table, with what does not show as its number."""
    shown = text.encode("unicode_escape").decode() if not text.isprintable() else text
    return f"`{shown}`".replace("|", "\\|")


def snakemake(*arguments: str) -> str:
    command = [sys.executable, "-m", "snakemake", "--cores", "1", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return done.stdout


def edges(mermaid: str) -> set[tuple[str, str]]:
    """(rule, rule that needs it) of a graph as `snakemake --rulegraph mermaid-js` prints it."""
    names = dict(re.findall(r"^\s*(id\d+)\[(.+?)\]$", mermaid, re.M))
    return {(names[one], names[other]) for one, other in re.findall(r"^\s*(id\d+) --> (id\d+)$", mermaid, re.M)}


def graph() -> str:
    drawn: set[tuple[str, str]] = set()
    with tempfile.TemporaryDirectory() as folder:
        # As of a checkout of PaddleSeg: its scripts are there, and nothing is in them.
        package = [f"{name.replace('.', '/')}.py" for name in tree.IMPORTED if name != tree.PACKAGE]
        for file in ("paddleseg/__init__.py", *package, *own_scripts.FILES):
            (Path(folder) / file).parent.mkdir(parents=True, exist_ok=True)
            (Path(folder) / file).touch()
        given = ["hardware=cpu", f"paddleseg={folder}", "paddleseg_scripts=true"]
        for mode in GRAPHS:
            drawn |= edges(snakemake("--rulegraph", "mermaid-js", "--config", f"mode={mode}", *given))
    listed = set(snakemake("--list-rules").split())
    alone = sorted(listed - {name for edge in drawn for name in edge})
    # What `all` asks for by name is in the graph as an edge to it; those that something else needs say enough.
    inner = {one for one, other in drawn if other != "all"}
    lines = ["```mermaid\n", "flowchart TB\n"]
    lines += [f"    {one} --> {other}\n" for one, other in sorted(drawn) if other != "all" or one not in inner]
    lines.append("```\n")
    return "".join(lines) + f"\nRules that nothing else needs, started by name: {', '.join(f'`{r}`' for r in alone)}.\n"


# -- all ----------------------------------------------------------------------------------------


def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def inside(path: str, place: re.Pattern[str], made: Callable[[], str]) -> str:
    """A page with what is made put in its place."""
    return place.sub(lambda _: made(), read(path))


# Path -> what makes the text of a page that is made here, in whole or in part.
PAGES: dict[str, Callable[[], str]] = {
    "docs/reference/config.md": config_page,
    "docs/reference/statuses.md": statuses_page,
    "docs/reference/commands.md": commands_page,
    "docs/reference/corpus.md": corpus_page,
    "docs/architecture.md": lambda: inside("docs/architecture.md", GRAPH, graph),
    "docs/matrix.md": lambda: inside("docs/matrix.md", OFFERED, offered),
    "docs/zoo.md": lambda: inside("docs/zoo.md", TYPES, types),
    SCHEMA: schema_text,
}


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--check", action="store_true", help="write nothing; say what is not up to date")
    options.add_argument("pages", nargs="*", metavar="PAGE", help=f"of {', '.join(PAGES)}; none: all")
    args = options.parse_args()
    if unknown := set(args.pages) - PAGES.keys():
        options.error(f"no such page: {', '.join(sorted(unknown))}")
    made = {path: PAGES[path]() for path in args.pages or PAGES}
    old = {path: text for path, text in made.items() if not (ROOT / path).is_file() or read(path) != text}
    for path, text in old.items():
        if not args.check:
            (ROOT / path).write_text(text, encoding="utf-8")
        print(f"{path}: {'is not up to date: make docs' if args.check else 'written'}", file=sys.stderr)
    return 1 if args.check and old else 0


if __name__ == "__main__":
    sys.exit(main())
