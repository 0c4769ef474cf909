"""The documentation against the code: commands are run, tables compared, links followed."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib

import pytest
import ways
import yaml
from conftest import ROOT, copy_project

from segcert import conclusions, layouts, record, statuses
from segcert import stages as stage_table

PAGES = sorted(
    path
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("config/*.md")]
    if "examples" not in path.parts
)
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in PAGES}
BIN = os.path.dirname(sys.executable)
FENCE = re.compile(r"^ *```.*?^ *```$", re.M | re.S)


def blocks(name, language="bash"):
    """The fenced blocks of a page in a language, in their order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXTS[name], re.M | re.S)


# -- the tutorial -----------------------------------------------------------------------------


@pytest.fixture(scope="session")
def walked(tmp_path_factory):
    """A copy of the project in which the tutorial's commands were run; and what each block printed."""
    folder = copy_project(tmp_path_factory.mktemp("tutorial") / "project")
    shutil.copy2(ROOT / "Makefile", folder)
    # The environment is there already: this one.
    (folder / ".venv").mkdir()
    (folder / ".venv/bin").symlink_to(os.path.join(sys.prefix, "bin"))
    (folder / ".venv/.complete-cpu").touch()
    script = "".join(f"echo '==== block {number}'\n{text}" for number, text in enumerate(blocks("docs/tutorial.md")))
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=1500,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:]
    return folder, re.split(r"^==== block \d+\n", done.stdout, flags=re.M)[1:]


def said(walked, part):
    """What the first block that holds these words printed."""
    texts = blocks("docs/tutorial.md")
    return walked[1][next(number for number, text in enumerate(texts) if part in text)]


@pytest.mark.long
def test_the_tutorials_commands_run_and_say_what_it_says(walked):
    folder, printed = walked
    assert len(printed) == len(blocks("docs/tutorial.md"))
    matrix = said(walked, "cores 1 matrix")
    assert "run" in matrix and "mixed precision needs a GPU" in matrix
    assert "passed" in said(walked, "tutorial.yaml --cores 2\n") and "green" in said(
        walked, "tutorial.yaml --cores 2\n"
    )
    assert "Run successfully with command" in said(walked, "results_python.log")
    looked = said(walked, "json.load")
    assert looked.startswith("passed") and "'engine': 'openvino'" in looked and "label maps agree" in looked
    again = [
        text for text, block in zip(printed, blocks("docs/tutorial.md"), strict=True) if block.endswith("--cores 2\n")
    ]
    assert "Nothing to be done" in again[1]
    assert "batchsize_2" in said(walked, "batch_sizes: [1, 2]")
    red = said(walked, "broken.zip")
    assert "exit code 1" in red and "blocked" in red and "red" in red
    found = json.loads((folder / "results/smoke/conclusions.json").read_text(encoding="utf-8"))
    # training and evaluation, with a dynamic and with a static graph, export, that in int8, and the ways of inference
    assert found["red"] is False and found["counts"]["passed"] == 2 + 2 + 1 + 1 + len(ways.HERE) + ways.BESIDE


def test_every_stage_is_told_of_with_what_it_must_prove():
    page = TEXTS["docs/reference/records.md"]
    (of_stages,) = re.findall(r"^\| `stage` \| (.+) \|$", page, re.M)
    assert re.findall(r"`(\w+)`", of_stages) == list(stage_table.NAMES)
    rows = dict(re.findall(r"^\| ([\w ]+) \| (`.+`) \|$", page.partition("must have been observed")[2], re.M))
    for stage in stage_table.ALL:
        name = "released weights" if stage is stage_table.RELEASED else stage.name
        assert re.findall(r"`(\w+)`", rows.get(name, "")) == list(stage.proves), name
        assert f"\n## {stage.name}\n" in page


@pytest.mark.long
def test_every_field_of_a_record_is_told_of(walked):
    folder, _ = walked
    page = TEXTS["docs/reference/records.md"]
    told = set(re.findall(r"`([a-z0-9_]+)`", page))
    assert set(record.REQUIRED) | set(conclusions.RUN_FIELDS) <= told
    stages = set()
    for path in (folder / "results").rglob("*.json"):
        content = json.loads(path.read_text(encoding="utf-8"))
        if not (isinstance(content, dict) and "stage" in content):
            continue
        stages.add(content["stage"])
        fields = {*content, *content["env"], *content["requested"], *content["effective"], *content["metrics"]}
        fields |= {key for gate in content["metrics"].get("gates", []) for key in gate}
        assert fields <= told, (path.name, fields - told)
    # Of PaddleSeg's own scripts, test_own_scripts.py looks: the tutorial has no checkout.
    assert stages == set(stage_table.NAMES) - {stage_table.SCRIPTS.name}
    found = json.loads((folder / "results/smoke/conclusions.json").read_text(encoding="utf-8"))
    assert {*found, *(key for cell in found["cells"] for key in cell)} <= told


@pytest.mark.parametrize(
    ("english", "chinese"), [("docs/tutorial.md", "docs/tutorial.zh.md"), ("README.md", "README.zh.md")]
)
def test_the_chinese_pages_have_the_same_commands(english, chinese):
    assert blocks(english) == blocks(chinese) and blocks(english)
    assert re.search(r"[\u4e00-\u9fff]", TEXTS[chinese])


# -- pages made from the code -----------------------------------------------------------------


def test_pages_made_from_the_code_are_up_to_date():
    checked = subprocess.run(
        [sys.executable, str(ROOT / "docs/generate.py"), "--check"],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_key_of_the_configuration_has_its_place_in_the_reference():
    page = TEXTS["docs/reference/config.md"]
    shipped = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
    for name, value in shipped.items():
        assert f"\n## {name}\n" in page
        if name in ("train", "evaluate", "export", "infer", "gates", "benchmark", "compare"):
            for key in value:
                assert f"| `{name}.{key}" in page


def test_every_rule_is_in_the_graph_or_named_beside_it():
    text = TEXTS["docs/architecture.md"]
    drawn = text[text.index("<!-- rulegraph -->") : text.index("<!-- /rulegraph -->")]
    for file in (ROOT / "rules").glob("*.smk"):
        for rule in re.findall(r"^rule (\w+):", file.read_text(encoding="utf-8"), re.M):
            assert re.search(rf"\b{rule}\b", drawn), f"{file.name}: {rule}"


@pytest.mark.parametrize("name", ["README.md", "README.zh.md", "docs/reference/statuses.md"])
def test_every_status_is_told_of_with_its_sign(name):
    table = "\n".join(line for line in TEXTS[name].splitlines() if line.startswith("|"))
    for status in statuses.ALL:
        assert re.search(rf"(?<![\w-]){status.name}(?![\w-])", table) and status.symbol in table, status.name
        assert name == "README.md" or status.zh in table


LAYOUT = {  # page -> where in it layouts are told of, between which words, and what by
    "config/config.yaml": ("# Where data comes from;", " source:\n", r"\b{name} \("),
    "docs/own-model.md": ("## A data set of one's own", "Inference runs on", r"\n`layout: {name}`.*`type: {type}`"),
    "docs/data.md": ("| `layout` |", "\n", r"`{name}`"),
    "docs/params-files.md": ("## PaddleSeg's configurations and data", "Other types", r"\n- `type: {type}`: "),
}


@pytest.mark.parametrize("name", LAYOUT)
def test_every_layout_is_told_of(name):
    begin, end, told = LAYOUT[name]
    text = (ROOT / name).read_text(encoding="utf-8").partition(begin)[2].partition(end)[0]
    for layout in layouts.ALL:
        assert re.search(told.format(name=layout.name, type=layout.params_type), text), layout.name


def test_every_status_can_be_reported_as_wrong():
    form = yaml.safe_load((ROOT / ".github/ISSUE_TEMPLATE/wrong-status.yml").read_text(encoding="utf-8"))
    (shown,) = [part["attributes"]["options"] for part in form["body"] if part.get("id") == "shown"]
    assert shown == [status.name for status in statuses.ALL]


def test_the_order_of_statuses_in_a_comparison_is_as_told():
    """Those of one place in the order stand with = between them."""
    compared = [status for status in statuses.ALL if status.badness >= 0]
    groups = [
        " = ".join(status.name for status in compared if status.badness == badness)
        for badness in sorted({status.badness for status in compared})
    ]
    assert f": {' < '.join(groups)} |" in TEXTS["docs/compare.md"]


def test_pages_that_count_the_ways_of_inference_count_right():
    named = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    numbers = "零一两三四五六七八九十"
    more = [{engine for engine, precision in ways.CPU if precision == low} for low in ("bf16", "int8")]
    counts = [len(ways.CPU), len({engine for engine, _ in ways.CPU}), *map(len, more)]
    assert len(ways.CPU) == sum(counts[1:]), "another precision: then these sentences say too little"
    said = r"{} ways on the CPU \({} engines, {} of them also in bfloat16[^),]*, {} (?:also )?in int8\)"
    for page in ("docs/tutorial.md", "docs/own-model.md"):
        assert re.search(said.format(*(named[n] for n in counts)), " ".join(TEXTS[page].split())), page
    told = "{}种方式（{}种引擎，其中{}种还用 bfloat16，{}种还用 int8".format(*(numbers[n] for n in counts))
    assert told in TEXTS["docs/tutorial.zh.md"]


# -- versions ---------------------------------------------------------------------------------


def stated():
    """What docs/versions.md says: first column -> second."""
    return dict(re.findall(r"^\| ([^|]+?) +\| ([^|]+?) +\|", TEXTS["docs/versions.md"], re.M))


def pinned(file, package):
    (version,) = re.findall(rf"^{package}==([^\s;\\]+)", (ROOT / "envs" / file).read_text(encoding="utf-8"), re.M)
    return version


def test_versions_are_those_of_the_files_that_hold_them():
    table = stated()
    low, high = re.search(r"\((\d+, \d+)\) <= v < \((\d+, \d+)\)", (ROOT / "Makefile").read_text()).groups()
    first, last = int(low.split(", ")[1]), int(high.split(", ")[1]) - 1
    assert table["Python"] == f"3.{first} to 3.{last}"
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["target-version"] == f"py3{first}"
    least = re.search(r'min_version\("([\d.]+)"\)', (ROOT / "Snakefile").read_text())[1]
    assert table["Snakemake"] == f"{pinned('cpu.txt', 'snakemake')}; {least} at least"
    assert table["Paddle"] == pinned("cpu.txt", "paddlepaddle") == pinned("gpu-paddle.txt", "paddlepaddle-gpu")
    for name, package in (
        ("PaddleSeg", "paddleseg"),
        ("paddle2onnx", "paddle2onnx"),
        ("OpenVINO", "openvino"),
        ("NumPy", "numpy"),
    ):
        assert table[name] == pinned("cpu.txt", package)
    onnxruntime = pinned("cpu.txt", "onnxruntime"), pinned("gpu-onnxruntime.txt", "onnxruntime-gpu")
    assert table["ONNX Runtime"] == "{}; on GPUs {}".format(*onnxruntime)
    others = {pinned(file.name, "paddlepaddle") for file in (ROOT / "envs").glob("paddle-[0-9]*.txt")}
    assert set(table["Paddle, further environments"].split(", ")) == others


def test_no_page_tells_of_another_python():
    supported = re.findall(r"\d\.\d+", stated()["Python"])
    for name, text in TEXTS.items():
        for version in re.findall(r"Python (?:>= ?)?(3\.\d+)\b(?!\.)", FENCE.sub("", text)):
            assert version in supported, f"{name}: Python {version}"


def test_the_citation_and_the_changelog_agree_on_the_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    released = re.findall(r"^## (\d+\.\d+\.\d+)", TEXTS["CHANGELOG.md"], re.M)
    assert citation["version"] == released[0]
    assert citation["license"] == "MIT" and (ROOT / "LICENSE").read_text().startswith("MIT License")


# -- links and names --------------------------------------------------------------------------


def anchors(text):
    """Names that headings of a page can be linked by, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.M)
    plain = (re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain}


def test_links_lead_somewhere():
    for name, text in TEXTS.items():
        for target in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", text)):
            if re.match(r"https?://|mailto:", target):
                continue
            path, _, anchor = target.partition("#")
            file = (ROOT / name).parent / path if path else ROOT / name
            assert file.exists(), f"{name}: {target}"
            if anchor and file.suffix == ".md":
                assert anchor in anchors(file.read_text(encoding="utf-8")), f"{name}: {target}"


def test_every_page_is_in_the_index():
    index = TEXTS["docs/README.md"]
    linked = {
        os.path.normpath(os.path.join("docs", target.partition("#")[0]))
        for target in re.findall(r"\]\(([^)\s]+)\)", index)
    }
    wanted = {name for name in TEXTS if name.startswith("docs/") and name != "docs/README.md"}
    assert wanted <= linked, wanted - linked


def test_files_and_make_targets_that_pages_name_are_there():
    targets = set(re.findall(r"^([a-z][\w.%-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    folders = "scripts|rules|config|envs|profiles|tests|docs|bench"
    for name, text in TEXTS.items():
        for path in re.findall(rf"`((?:{folders})/[\w./-]*)`", text):
            if path.endswith("..."):
                continue
            assert (ROOT / path).exists() or (ROOT / "docs" / path).exists(), f"{name}: {path}"
        for target in re.findall(r"(?:`|^)make ([a-z][\w.-]*)", text, re.M):
            assert target in targets or any(re.fullmatch(t.replace("%", ".+"), target) for t in targets), (
                f"{name}: make {target}"
            )


def test_make_run_refuses_an_unknown_mode_before_it_installs_anything(tmp_path):
    for file in ("Makefile", "config/config.yaml", "envs/cpu.txt"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        shutil.copy2(ROOT / file, tmp_path / file)

    def made(*arguments):
        command = ["make", "PYTHON=false", *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode != 0
        return done.stdout + done.stderr

    modes = list(yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))["modes"])
    installs = "false -c"  # the first command of the environment, with the Python named above
    said = made("run", "MODE=smok", "--trace")
    assert f"MODE=smok: config/config.yaml has no such mode; it has: {' '.join(modes)}" in said and installs not in said
    for arguments in (*(["run", f"MODE={mode}"] for mode in modes), ["gpu-evidence"], ["run"]):
        assert installs in made(*arguments, "--trace"), arguments
    # A file of one's own may have modes that make does not know.
    assert installs in made("run", "MODE=mine", "ARGS=--configfile mine.yaml", "--trace")


def test_the_files_that_tools_read_are_in_form():
    catalog = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text(encoding="utf-8"))
    assert catalog["usage"]["software-stack-deployment"]["conda"] is True
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert {repo["repo"] for repo in hooks["repos"]} == {"local"}
    for hook in (hook for repo in hooks["repos"] for hook in repo["hooks"]):
        program = hook["entry"].split()
        assert hook["language"] == "system" and shutil.which(program[0], path=BIN), hook["id"]
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    for used in (step["uses"] for step in steps if "uses" in step):
        assert re.search(r"@v\d+\.\d+\.\d+$|@[0-9a-f]{40}$", used), used
    runs = {step["run"] for step in steps if "run" in step}
    runs |= set(workflow["jobs"]["root"]["strategy"]["matrix"]["command"])
    called = re.findall(r"^make (.+)$", (ROOT / ".ci/run").read_text(encoding="utf-8"), re.M)
    targets = {word for line in called for word in line.split() if not word.startswith("-")}
    assert {f"make {target}" for target in targets} <= runs


def test_what_is_skipped_without_root_runs_in_the_job_that_has_it():
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    assert "make test-root" in workflow["jobs"]["root"]["strategy"]["matrix"]["command"]
    (recipe,) = re.findall(
        r"^test-root:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
    )
    files = {file: file.read_text(encoding="utf-8") for file in (ROOT / "tests").glob("test_*.py")}
    skipping = {file.name for file, text in files.items() if re.search(r"^needs_root = pytest", text, re.MULTILINE)}
    assert skipping == set(re.findall(r"tests/(test_\w+\.py)", recipe)) != set()


def test_what_is_too_long_for_every_change_runs_every_night():
    nightly = yaml.safe_load((ROOT / ".github/workflows/nightly.yml").read_text(encoding="utf-8"))
    commands = nightly["jobs"]["long"]["strategy"]["matrix"]["command"]
    assert {"make test-long", "make test-gpu-whole", "make soak"} <= set(commands)
    assert nightly[True]["schedule"], "YAML reads `on` as true"
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(r"^test:.*\n(?:\t.*\n)*\t.*-m 'not long'", makefile, re.M)
    assert re.search(r"^test-long:.*\n(?:\t.*\n)*\t.*-m long", makefile, re.M)
