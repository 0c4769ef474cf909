"""Hostile values, secrets, and readers that take whatever bytes they are given."""

import ast
import json
import os
import shlex
import shutil
import string
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

import pytest
import stages
import tipc_logs
import yaml
from conftest import ROOT, snakemake
from http_server import serving
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segcert import masking, record
from segcert.data import synthetic
from segcert.tipc import benchlog

# Each makes a file where a shell reads it as more than a word.
HOSTILE = "a $(touch pwned1) `touch pwned2`; touch pwned3 && touch pwned4 | touch pwned5 'b\" %s \\ *"
LINES = "\ntouch pwned6\n{wildcards.model} {output} {{x}}"


def pwned(folder):
    """Files that a command planted in a value would have made."""
    return sorted(str(path) for path in folder.rglob("pwned[0-9]"))


def test_no_shell_runs_what_a_configuration_says(project, monkeypatch):
    """Every free text and path that reaches a command, in a real run; the recorded command too."""
    odd = project / HOSTILE
    odd.mkdir()
    archive = odd / "archive ;touch pwned7.tar"
    synthetic.write_tar(archive, "mini_supervisely", {"train": 4, "val": 2, "test": 2}, seed=1)
    (odd / "py$(touch pwned8)").symlink_to(sys.executable)
    shutil.copy2(stages.CONFIG, odd / "model `touch pwned9`.yml")
    shutil.copytree(Path(stages.CONFIG).parent / "_base_", odd / "_base_")
    config = {
        "mode": "smoke",
        "hardware": "cpu",
        "models": ["pp_humanseg_lite"],
        "python": str(odd / "py$(touch pwned8)"),
        "input_size": {"default": [64, 64]},
        "train": {"iters": 1, "topologies": ["single"]},
        "data": {"mini_supervisely": "mine"},
        "datasets": {
            "mine": {"layout": "mini_supervisely", "source": "path", "path": str(archive.relative_to(project))}
        },
        "model_zoo": {
            "pp_humanseg_lite": {
                "algorithm": HOSTILE + LINES,
                "config": str((odd / "model `touch pwned9`.yml").relative_to(project)),
            }
        },
        "known_failures": [
            {
                "id": "x",
                "match": {"stage": "train"},
                "error": "no such error",
                "reason": HOSTILE + LINES,
                "link": HOSTILE,
            }
        ],
    }
    (project / "mine.yaml").write_text(yaml.safe_dump(config))
    # The interpreter is a link: it must find its environment's packages all the same.
    target = "results/smoke/pp_humanseg_lite/single_fp32/train.json"
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path.endswith("site-packages")))
    done = snakemake(project, target, "--configfile", "mine.yaml")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    found = record.read(project / target)
    assert found["status"] == "passed" and found["algorithm"] == HOSTILE + LINES
    assert shlex.split(found["command"])[0].endswith("pwned8)")
    for name in ("train.json", "model.pdparams"):
        (project / target).with_name(name).unlink()
    again = subprocess.run(
        found["command"], shell=True, cwd=project, capture_output=True, text=True, timeout=300, check=False
    )
    assert again.returncode == 0, again.stderr
    assert pwned(project) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("mode", "smoke;x"),
        ("models", ["a$(b)"]),
        ("data", {"mini_supervisely": "../x"}),
        ("model_zoo", {"../../x": {"algorithm": "a", "config": "c", "data": "mini_supervisely"}}),
        ("datasets", {"`x`": {"layout": "cityscapes", "source": "path", "path": "p"}}),
        ("weights", {"a/b": {"source": "path", "path": "p"}}),
        ("known_failures", [{"id": "$(x)", "match": {"stage": "infer"}, "error": "e", "reason": "r", "link": "l"}]),
        ("weights", {"w": {"source": "url", "url": "file:///etc/passwd"}}),
    ],
)
def test_names_that_become_paths_are_restricted(key, value):
    from segcert import sections
    from segcert import settings as resolver
    from segcert.errors import ConfigError

    shipped = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
    with pytest.raises(ConfigError):
        resolver.resolve(sections.merge(shipped, {key: value}), {key: value}, "config/config.yaml")


# -- what the package must not do -------------------------------------------------------------

FORBIDDEN = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load"}
FORBIDDEN |= {"yaml.full_load", "yaml.load_all", "subprocess.getoutput", "subprocess.getstatusoutput"}
# Compiled to be compared with what Python would run in its place; never run.
COMPILING = {"beside.py"}
# Unpickling, and where it is allowed: each place looks at the file first.
PICKLES = {
    "pickle.loads": {"training.py"},  # from a snapshot whose hash is what the training wrote
    "paddle.load": {
        "components.py",
        "pretrained.py",
        "snapshots.py",
    },  # weights made here or looked into by checkpoints.check
}


def calls(file):
    """Dotted names that a file calls, with the call."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def test_nothing_is_run_or_unpickled_that_was_not_looked_at():
    files = [*(ROOT / "scripts").rglob("*.py"), *(ROOT / "bench").glob("*.py")]
    assert len(files) > 40
    for file in files:
        for name, call in calls(file):
            allowed_here = name == "compile" and file.name in COMPILING
            assert name not in FORBIDDEN or allowed_here, f"{file}:{call.lineno}: {name}"
            shell = [k for k in call.keywords if k.arg == "shell" and ast.unparse(k.value) != "False"]
            assert not shell, f"{file}:{call.lineno}: {name}(shell=...)"
            if name.split(".")[-1] in ("load", "loads", "Unpickler") and name.split(".")[0] in ("pickle", "paddle"):
                allowed = PICKLES.get(name, set())
                assert file.name in allowed, f"{file}:{call.lineno}: {name}"
            if name in ("np.load", "numpy.load"):
                allowing = [k for k in call.keywords if k.arg == "allow_pickle" and ast.unparse(k.value) != "False"]
                assert not allowing, f"{file}:{call.lineno}"


def test_rules_quote_whatever_they_interpolate():
    """In every shell block each {...} is quoted by Snakemake (:q); no other way puts text into a command."""
    import re

    for file in (ROOT / "rules").glob("*.smk"):
        text = file.read_text(encoding="utf-8")
        assert "os.system" not in text and "shell=True" not in text and not re.search(r"\bshell\(", text)
        for block in re.findall(r"^    shell:\n((?:        .*\n)+)", text, re.M):
            for field in re.findall(r"\{[^{}]*\}", block):
                assert field.endswith(":q}"), f"{file.name}: {field}"


# -- secrets ----------------------------------------------------------------------------------

SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "planted-aws-0001",
    "GITHUB_TOKEN": "planted-token-0002",
    "http_proxy": "http://proxyuser:planted-proxy-0003@127.0.0.1:9",
    "HTTPS_PROXY": "http://proxyuser:planted-proxy-0004@127.0.0.1:9",
}
IN_URL = ("planted-password-0005", "planted-query-0006", "planted-link-0007", "planted-mirror-0008")


def leaks(folder, planted, but):
    """Files below a folder that hold one of the planted words."""
    found = []
    for path in folder.rglob("*"):
        if path.is_file() and path not in but:
            content = path.read_bytes()
            found += [f"{path.relative_to(folder)}: {word}" for word in planted if word.encode() in content]
    return found


def test_no_secret_reaches_a_record_a_log_or_the_conclusions(project, monkeypatch):
    """Planted in the environment and in URLs; one download works, one fails, so that messages are written too."""
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("no_proxy", "localhost")
    archive = project.parent / "d.tar"
    synthetic.write_tar(archive, "mini_supervisely", {"train": 4, "val": 2, "test": 2}, seed=1)
    with serving() as site:
        site.put(f"/d.tar?token={IN_URL[1]}", archive.read_bytes())
        plain = site.url.removeprefix("http://")
        dead = f"http://user:{IN_URL[0]}@no.example.invalid/d.tar?X-Amz-Signature={IN_URL[1]}"
        base = {"layout": "mini_supervisely", "source": "url"}
        config = {
            "mode": "smoke",
            "hardware": "cpu",
            "models": ["pp_humanseg_lite"],
            "data": {"mini_supervisely": "dead"},
            "datasets": {
                "good": {**base, "url": f"http://user:{IN_URL[0]}@{plain}/d.tar?token={IN_URL[1]}"},
                "dead": {**base, "url": dead, "mirrors": [f"http://a:{IN_URL[3]}@{plain}/gone.tar"]},
            },
            "url_rewrites": {"http://old.example.invalid/": f"http://a:{IN_URL[3]}@{plain}/"},
            "known_failures": [
                {
                    "id": "k",
                    "match": {"stage": "train"},
                    "error": "x",
                    "reason": "r",
                    "link": f"https://user:{IN_URL[2]}@example.org/1",
                }
            ],
        }
        (project / "mine.yaml").write_text(yaml.safe_dump(config))
        good = snakemake(project, "results/data/good.json", "--configfile", "mine.yaml", "--printshellcmds")
        assert good.returncode == 0, good.stdout[-3000:] + good.stderr[-3000:]
        assert all(
            request.headers["Authorization"].startswith("Basic ") for request in site.asked(f"/d.tar?token={IN_URL[1]}")
        )
        failed = snakemake(project, "--configfile", "mine.yaml", "--printshellcmds")
    assert failed.returncode != 0
    reason = record.read(project / "results/data/dead.tar.failed.json")["reason"]
    assert "no.example.invalid/d.tar" in reason and "gone.tar" in reason
    told = record.read(project / "results/data/good.tar.json")
    assert told["metrics"]["fetched_from"] == f"http://***@{plain}/d.tar?token=***"
    assert (project / "results/smoke/conclusions.md").is_file() and (
        project / "results/smoke/run_config.yaml"
    ).is_file()
    planted = [value.rpartition(":")[0].rpartition("@")[0].rpartition(":")[2] or value for value in SECRETS.values()]
    planted += IN_URL
    assert planted[2] == "planted-proxy-0003"
    assert leaks(project, planted, but={project / "mine.yaml"}) == []
    for text in (good.stdout, good.stderr, failed.stdout, failed.stderr):
        assert not [word for word in planted if word in text]


def test_wrong_urls_are_refused_without_showing_them():
    """A slash in a password makes another host of it: then nothing says where the password ends."""
    from segcert import sections
    from segcert import settings as resolver
    from segcert.errors import ConfigError

    shipped = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
    mine = {"weights": {"w": {"source": "url", "url": "https://user:planted/secret@example.org/w"}}}
    with pytest.raises(ConfigError, match=r"weights\.w\.url.*%2F") as refused:
        resolver.resolve(sections.merge(shipped, mine), mine, "config/config.yaml")
    assert "planted" not in str(refused.value)


WORD = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zs", "Zl", "Zp")), min_size=1, max_size=30)


@settings(max_examples=200, deadline=None)
@given(user=WORD, password=WORD, token=WORD, before=st.text(max_size=20), after=st.text(max_size=20))
def test_no_credential_survives_masking(user, password, token, before, after):
    secret, key = f"se-{quote(password, safe='')}-et", f"k-{quote(token, safe='')}-y"
    url = f"https://{quote(user, safe='')}:{secret}@example.org/p?a=1&access_token={key}&b=2"
    text = f"{before} {url} {after}"
    shown = masking.masked(text)
    assert secret not in shown and key not in shown
    assert "example.org/p?a=1&access_token=***&b=2" in shown
    assert masking.masked(shown) == shown
    assert masking.bare(url) == "https://example.org/p?a=1&access_token=***&b=2"


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet=string.ascii_letters + string.digits + " ./:-_,()[]", max_size=200))
def test_text_without_credentials_is_left_as_it_is(text):
    assert masking.masked(text) == text


@pytest.mark.parametrize("piece", ["a", ";", "?token", "://", "http://a", "x.y@"])
def test_a_line_of_megabytes_is_masked_before_anybody_gives_up(piece):
    """Where every beginning of a word was tried anew it took hours."""
    text = piece * (2_000_000 // len(piece))
    assert masking.masked(text) == text
    assert masking.masked(f"{text} https://user:secret@host/") == f"{text} https://***@host/"


# -- readers of files that others write -------------------------------------------------------


def filled(value):
    return {block: {key: value for keys in lines for key in keys} for block, lines in benchlog.LAYOUT.items()}


@settings(max_examples=200, deadline=None)
@given(
    value=st.one_of(
        st.integers(-(10**18), 10**18),
        st.booleans(),
        st.none(),
        st.from_regex(r"[A-Za-z][a-z ]{0,20}[a-z]", fullmatch=True),
    ),
    noise=st.text(max_size=60).filter(lambda text: "info" not in text.lower()),
    cut=st.floats(0, 1),
)
def test_a_benchmark_log_reads_back_what_was_written(value, noise, cut):
    fields = filled(value)
    log = benchlog.format_log(fields, datetime(2022, 4, 13))
    lines = noise.splitlines()
    before, after = lines[: int(len(lines) * cut)], lines[int(len(lines) * cut) :]
    text = "\n".join([*before, log.rstrip("\n"), *after]) + "\n"
    assert tipc_logs.benchmark(text) == fields
    spoiled = log[: int(len(log) * cut)]
    try:
        tipc_logs.benchmark(spoiled)
    except tipc_logs.LogError:
        pass
    else:
        assert "postprocess_time(ms)" in spoiled


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
GOOD = {
    **dict.fromkeys(record.REQUIRED),
    **dict.fromkeys(("stage", "cell", "command", "log", "started"), "x"),
    "schema_version": 1,
    "status": "passed",
    "env": {},
    "requested": {},
    "effective": {},
    "metrics": {},
    "inputs": {},
}


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.binary(max_size=200)
    | JSON.map(lambda tree: json.dumps(tree).encode())
    | st.tuples(st.sampled_from(sorted(GOOD)), JSON).map(lambda item: json.dumps({**GOOD, item[0]: item[1]}).encode()),
    cut=st.none() | st.integers(0, 200),
)
def test_whatever_a_record_holds_it_is_read_or_refused(tmp_path_factory, content, cut):
    path = tmp_path_factory.getbasetemp() / "r.json"
    path.write_bytes(content[:cut])
    try:
        found = record.read(path)
    except record.RecordError as error:
        assert "r.json" in str(error) and "delete the file" in str(error)
        return
    assert found["status"] in record.statuses.BY_NAME
    json.dumps(found, allow_nan=False)
    for key, kind in record.KINDS.items():
        assert isinstance(found[key], kind)
