"""What is kept of a run's conclusions: compact, nobody's own, once, whole; and what is broken is told by name."""

import json
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import histories
import pages
import pytest
from conftest import ROOT, snakemake
from trees import edited, places

from segcert import comparison, keeping, noise, statuses, trends
from segcert.causes import cause
from segcert.errors import ConfigError
from segcert.show import trendpage

TOLERANCES = comparison.Tolerances.of(comparison.shipped_section(histories.MODE))


def kept(tmp_path, content=None):
    """The file in which a run is kept, what it holds, and whether it is new."""
    return keeping.keep(content or histories.run(0), tmp_path / "history", tmp_path)


def judged(before, after):
    """Two contents compared, as scripts/compare.py does."""
    tolerances = comparison.Tolerances.of(comparison.shipped_section(histories.MODE))
    return comparison.compare(*keeping.alike([before, after]), tolerances)


# -- what a copy holds ------------------------------------------------------------------------


def test_a_copy_is_compact_and_nobodys_own(tmp_path):
    content = histories.run(0)
    path, told, new = kept(tmp_path, content)
    text = path.read_text(encoding="utf-8")
    assert new and json.loads(text) == told
    for word in ("samples", "secret", "/home/", "command", ".log", "jobs_beside"):
        assert word in json.dumps(content) and word not in text
    assert len(text) < 4000 < len(json.dumps(content)), "of eight cells"
    assert re.fullmatch(rf"20260101T100000Z_{histories.MODE}_unknown_[0-9a-f]{{12}}\.json", path.name)
    assert text == json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n"


def test_it_grows_with_what_is_new_and_not_with_what_is_alike(tmp_path):
    """The eight models of the shipped matrix come to some tens of kB."""
    cells = histories.run(0)["cells"]
    many = [{**cell, "model": f"model_{number}"} for number in range(25) for cell in cells]
    path, told, _ = kept(tmp_path, histories.concluded(many))
    assert len(many) == 200 and len(told["shared"]) < 25 + 10 and path.stat().st_size < 70_000


def test_every_status_and_hostile_words_are_kept_as_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = pages.every_status(Path("results"), pages.EVIL).as_json()
    path, told, _ = kept(tmp_path, content)
    assert {cell["status"] for cell in told["cells"]} == set(statuses.BY_NAME)
    (run,), broken = keeping.read_all(path.parent)
    assert broken == [] and [cell["status"] for cell in run.cells] == [cell["status"] for cell in content["cells"]]


def test_reasons_are_kept_as_their_causes(tmp_path):
    reason = "ValueError: /home/me/x/y.py, line 3: pid 4711 of pp_humanseg_lite"
    known = "K7: it is converted wrongly (https://example.org/7) Seen: node 12"
    cells = [
        histories.cell("train", "a", 0),
        histories.cell("infer", "b", 0, status="failed", reason=reason),
        histories.cell("infer", "c", 0, status="known-failure", reason=known),
    ]
    certificate = {"model": "m", "topology": "single", "amp": "single_amp", "verdict": "failed", "reason": reason}
    _, told, _ = kept(tmp_path, histories.concluded(cells, certificates=[certificate]))
    plain, failed, excused = told["cells"]
    assert "reason" not in plain and failed["reason"] == cause(reason, "pp_humanseg_lite")
    assert "home" not in failed["reason"] and "4711" not in failed["reason"]
    assert cause(excused["reason"], None, known=True) == "K7" and "example" not in excused["reason"]
    assert told["certificates"][0]["cell"] == "single_amp" and "home" not in told["certificates"][0]["reason"]


def test_a_kept_run_compares_as_the_run_itself():
    content = histories.run(0)
    content["cells"] += [
        histories.cell("infer", "b", 0, status="failed", reason="killed: /srv/a/x.bin 12.5 s of pp_humanseg_lite"),
        histories.cell("infer", "c", 0, status="known-failure", reason="K7: wrong (https://example.org) at 7"),
        histories.cell("infer", "g", 0, gpus=[{"visible": "0", "key": "GPU-1", "model": "A"}]),
    ]
    content = histories.concluded(content["cells"])
    again = keeping.expanded(keeping.copy_of(content))
    for before, after in ((again, content), (content, again), (again, again)):
        found = judged(before, after)
        assert found.changes == [] and found.environment == [] and found.inputs == []
        assert len(found.figures) == len(judged(content, content).figures) > 15
    slow = histories.run(1, slow={"onednn": 2})
    whole, copied = judged(content, slow), judged(again, slow)
    assert copied.of_kind("worse") == whole.of_kind("worse") and len(whole.of_kind("worse")) == 2, "one slow, one gone"
    other = histories.run(1, paddle="3.3.1")
    assert [row["field"] for row in judged(again, other).environment] == ["paddle"], "what is not kept is no difference"
    for item in other["cells"]:
        if "inputs" in item:
            item["inputs"]["config/models/pp_humanseg_lite.yml"] = "b" * 64
    assert judged(again, other).inputs == ["config/models/pp_humanseg_lite.yml"]
    machine = noise.Concluded(again["cells"][-1]).machine
    assert machine == noise.Concluded(content["cells"][-1]).machine == ("One", "2", "['A']")


def test_another_cause_of_the_same_status_is_told():
    def failing(reason):
        return histories.concluded(
            [histories.cell("train", "t", 0), histories.cell("infer", "b", 0, status="failed", reason=reason)]
        )

    first = keeping.expanded(keeping.copy_of(failing("killed: /srv/a.bin at 7")))
    assert judged(first, failing("killed: /srv/b.bin at 8")).changes == []
    (change,) = judged(first, failing("not supported")).changes
    assert (change.kind, change.what) == ("changed", "reason")


# -- once, and whole --------------------------------------------------------------------------


def test_a_run_is_kept_once_whatever_the_commit(tmp_path):
    first, _, new = kept(tmp_path)
    histories.git(tmp_path, "init", "-q")
    histories.git(tmp_path, "commit", "-q", "--allow-empty", "-m", "x", at="2020-01-01T00:00:00Z")
    again, told, new_again = kept(tmp_path)
    assert new and not new_again and again == first and told["commit"]["commit"] is None
    other, _, new = kept(tmp_path, histories.run(1))
    assert new and other != first and sorted(first.parent.iterdir()) == sorted([first, other])


def test_a_broken_file_of_the_same_run_is_named(tmp_path):
    path, *_ = kept(tmp_path)
    path.write_text("{")
    with pytest.raises(ConfigError, match=re.escape(str(path))):
        kept(tmp_path)


def test_nothing_that_ran_is_nothing_to_keep(tmp_path):
    idle = histories.concluded([histories.cell("train", "t", 0, status="unverified", reason="needs a GPU")])
    with pytest.raises(ConfigError, match="no cell of these conclusions ran"):
        kept(tmp_path, idle)
    assert not (tmp_path / "history").exists()


def test_the_commit_is_told_where_it_is_known(tmp_path):
    def told(content=None):
        return keeping.keep(content or histories.run(number), tmp_path / "history", tmp_path)

    number = 0
    path, content, _ = told()
    assert "_unknown_" in path.name and "in no git repository" in content["commit"]["why"]
    histories.git(tmp_path, "init", "-q")
    (tmp_path / "file").write_text("a")
    histories.git(tmp_path, "add", "file")
    histories.git(tmp_path, "commit", "-q", "-m", "x", at="2026-01-02T00:00:00Z")
    commit = histories.git(tmp_path, "rev-parse", "HEAD")
    number = 1
    path, content, _ = told()
    assert f"_{commit[:8]}_" in path.name and content["commit"] == {"commit": commit, "edited": False}
    (tmp_path / "file").write_text("b")
    number = 2
    path, content, _ = told()
    assert f"_{commit[:8]}-edited_" in path.name and content["commit"]["edited"] is True
    early = histories.run(-3, seed=3)
    path, content, _ = told(early)
    assert content["commit"] == {"commit": None, "edited": None, "why": f"{commit[:8]} was committed after the run"}
    # Another commit, older than the run, that is there only since.
    histories.git(tmp_path, "checkout", "-q", "-f", "-b", "other", at="2026-03-01T00:00:00Z")
    path, content, _ = told(histories.run(3))
    assert content["commit"]["why"] == f"{commit[:8]} was checked out after the run"
    runs, broken = keeping.read_all(path.parent)
    assert broken == [] and [run.commit for run in runs] == [
        "not known", "not known", commit[:8], f"{commit[:8]} and edits", "not known",
    ]  # fmt: skip


# -- broken files -----------------------------------------------------------------------------


def changed(**more):
    def change(text):
        return json.dumps({**json.loads(text), **more})

    return change


def figure_edited(text):
    return text.replace('"miou":0.7', '"miou":0.9')


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda text: text[: len(text) // 2], "not strict JSON"),
        (lambda text: text.replace('"miou":0.7', '"miou":NaN'), "NaN is not a number of JSON"),
        (lambda text: "[]", r"\$: \[\] is not of type 'object'"),
        (changed(kept_version=2), "of kept_version 2; this version of the workflow reads 1"),
        (changed(kept_version="1"), "kept_version"),
        (changed(red="no"), r"\$\.red: 'no' is not of type 'boolean'"),
        (
            changed(cells=[{"stage": "train", "cell": "t", "status": "fine", "of": 0}]),
            "unknown status fine; one of passed",
        ),
        (figure_edited, "does not hold what the hash in its name says"),
        (changed(commit={"commit": "1234567890" * 4, "edited": False}), "holds another commit than its name"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_and_the_others_are_read(tmp_path, spoil, words):
    good, *_ = kept(tmp_path)
    bad, *_ = kept(tmp_path, histories.run(1))
    bad.write_text(spoil(bad.read_text()))
    with pytest.raises(ConfigError, match=words):
        keeping.read(bad)
    runs, broken = keeping.read_all(good.parent)
    assert [run.name for run in runs] == [good.name]
    assert len(broken) == 1 and broken[0].startswith(f"{bad}: ") and re.search(words, broken[0])
    good.unlink()
    with pytest.raises(ConfigError, match=r"no run is kept there(.|\n)*" + re.escape(bad.name)):
        keeping.read_all(good.parent)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda told: told["cells"][0].update(of=99), "`shared` does not hold what its cells name: IndexError"),
        (
            lambda told: told["cells"][0].update(env=0, of=0, metrics={"gates": 7}),
            r"\$\.cells\[0\]\.metrics\.gates: 7 is",
        ),
        (lambda told: told["shared"].__setitem__(0, []), "`shared` does not hold what its cells name: TypeError"),
    ],
)
def test_a_file_that_was_edited_and_hashed_again_is_refused_by_place(tmp_path, change, words):
    good, told, _ = kept(tmp_path)
    told = json.loads(good.read_text())
    change(told)
    bad = tmp_path / keeping.name_of(told)
    bad.write_text(json.dumps(told))
    with pytest.raises(ConfigError, match=words):
        keeping.read(bad)


def test_what_cannot_be_read_and_what_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"history\.folder: .*gone: no run is kept there: `snakemake keep`"):
        keeping.read_all(tmp_path / "gone")
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(ConfigError, match=r"folder\.json: cannot be read \(Is a directory\)"):
        keeping.read(tmp_path / "folder.json")


def kinds(value):
    """Values of every other kind than a value's."""
    others = (None, True, 7, -1.5, 1e308, 10**400, "x", "", [], [None], {}, {"x": {}})
    return [other for other in others if type(other) is not type(value) or other != value]


def edits(content):
    """A content with one place taken out, or of another kind."""
    for path, was in places(content):
        for value in (..., *kinds(was)):
            yield path, value, edited(content, path, value)


def test_no_edit_of_conclusions_is_more_than_it_can_take(tmp_path):
    """Each is compared, kept and drawn as it is, or refused by its place: nothing ends in a traceback."""
    first = histories.run(0)
    few = histories.concluded([first["cells"][number] for number in (0, 4, 7)])
    few["cells"][1] |= {"samples_ms": None, "gpus": [{"model": "One"}]}
    few["certificates"] = [
        {"model": "pp_humanseg_lite", "topology": "single", "cell": "a", "verdict": "passed", "reason": None}
    ]
    path, other = tmp_path / "conclusions.json", histories.run(1)
    sampled = random.Random(3).sample(list(edits(few)), 700)
    refused = 0
    for where, value, content in sampled:
        path.write_text(json.dumps(content), encoding="utf-8")
        try:
            found = keeping.conclusions(path)
            judged(other, found)
            judged(found, keeping.expanded(keeping.copy_of(other)))
            shutil.rmtree(tmp_path / "history", ignore_errors=True)
            keeping.keep(found, tmp_path / "history", tmp_path)
            runs, broken = keeping.read_all(tmp_path / "history")
            assert broken == []
            trendpage.write(tmp_path / "page", runs, broken, trends.collect(runs, lambda _: TOLERANCES))
        except ConfigError as error:
            refused += 1
            assert str(error), (where, value)
        except Exception as error:
            raise AssertionError(f"{where} = {value!r}") from error
    assert 100 < refused < 600


# -- the commands -----------------------------------------------------------------------------


def command(folder, script, *arguments):
    return subprocess.run(
        [sys.executable, str(ROOT / f"scripts/{script}.py"), *map(str, arguments)],
        cwd=folder, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_as_a_command(tmp_path):
    (tmp_path / "c.json").write_text(json.dumps(histories.run(0)))
    done = command(tmp_path, "keep", "--conclusions", "c.json", "--folder", "h")
    (path,) = (tmp_path / "h").iterdir()
    assert done.returncode == 0 and done.stdout == f"h/{path.name}\n"
    assert done.stderr.startswith(f"kept: h/{path.name} (") and "its commit is not known" in done.stderr
    again = command(tmp_path, "keep", "--conclusions", "c.json", "--folder", "h")
    assert again.returncode == 0 and again.stderr.startswith("kept already: ") and again.stdout == done.stdout
    gone = command(tmp_path, "keep", "--conclusions", "smoke/conclusions.json", "--folder", "h")
    assert gone.returncode == 1 and "not kept: smoke/conclusions.json: cannot be read" in gone.stderr
    (tmp_path / "file").touch()
    no_folder = command(tmp_path, "keep", "--conclusions", "c.json", "--folder", "file")
    assert no_folder.returncode == 1 and "not kept: " in no_folder.stderr and "Traceback" not in no_folder.stderr
    none = command(tmp_path, "history", "--kept", "gone", "--folder", "page")
    assert none.returncode == 1 and none.stderr.startswith("no history: history.folder: gone: no run is kept there")
    assert not (tmp_path / "page").exists()
    shown = command(tmp_path, "history", "--kept", "h", "--folder", "page")
    assert shown.returncode == 0 and "history: page/index.html (1 runs, 14 series, 0 steps)" in shown.stderr
    compared = command(tmp_path, "compare", "--baseline", f"h/{path.name}", "--candidate", "c.json")
    assert (compared.returncode, compared.stdout.splitlines()[-1]) == (0, "no regression"), compared.stderr


def test_as_targets_of_the_workflow(project):
    """Nothing is made and nothing is run for them; of a run there is one file; a broken one is told by its name."""
    folder = project / f"results/{histories.MODE}"
    refused = snakemake(project, "keep")
    assert refused.returncode != 0
    assert f"results/{histories.MODE}/conclusions.json: cannot be read" in refused.stdout + refused.stderr
    assert not (project / "history").exists() and not (folder / "conclusions.json").exists()
    for number in range(5):
        keeping.keep(histories.run(number, slow={"onednn": 2 if number > 2 else 1}), project / "mine", project)
    (project / "mine/cut.json").write_text("{")
    (folder / "conclusions.json").write_text(json.dumps(histories.run(5, slow={"onednn": 2})))
    mine = ("--config", "history={folder: mine}")
    kept_now = snakemake(project, "keep", *mine)
    said = kept_now.stdout + kept_now.stderr
    assert kept_now.returncode == 0 and "kept: mine/20260106T100000Z_" in said, said
    assert len(list((project / "mine").iterdir())) == 7 and not (project / "results/data").exists()
    made = snakemake(project, "history", *mine)
    assert made.returncode == 0, made.stdout + made.stderr
    assert "not in the history: mine/cut.json: not strict JSON" in made.stdout + made.stderr
    site = project / "results/history"
    assert {path.name for path in site.iterdir()} == {"index.html", "history.json", "badge.json"}
    found = json.loads((site / "history.json").read_text())
    stepped = [(series["cell"], series["figure"]) for series in found["series"] if series["steps"]]
    assert stepped == [("python_infer_cpu_onednn", "inference_ms")] and len(found["runs"]) == 6
    assert "cut.json" in (site / "index.html").read_text() and len(found["not_read"]) == 1


# -- what is not believed ---------------------------------------------------------------------


def test_a_red_run_is_no_older_than_it_is(tmp_path):
    """A cell that ended without a record has no time, and the run before it may have begun later than all others."""
    content = histories.run(0)
    broken = {**content["cells"][3], "status": "failed", "reason": "ended without a record"}
    for key in ("started", "env", "effective", "metrics"):
        broken.pop(key)
    red = histories.concluded([*content["cells"][:3], broken, *content["cells"][4:]])
    _, told, _ = keeping.keep(red, tmp_path / "h", tmp_path, histories.moment(5))
    assert told["time"] == histories.moment(5) and told["red"]
    assert keeping.copy_of(content, written=histories.moment(5))["time"] == histories.moment(0)
    nothing = histories.concluded([broken])
    assert keeping.copy_of(nothing, written=histories.moment(6))["time"] == histories.moment(6)
    with pytest.raises(ConfigError, match="nothing to keep"):
        keeping.copy_of(nothing)


@pytest.mark.parametrize("change", [{"counts": {"passed": 8}}, {"red": True}])
def test_conclusions_that_were_edited_are_not_kept(tmp_path, change):
    with pytest.raises(ConfigError, match="were edited: their cells do not come to"):
        kept(tmp_path, {**histories.run(0), **change})
    assert not (tmp_path / "history").exists()


def test_lists_in_lists_without_end_are_no_run(tmp_path):
    (tmp_path / "a.json").write_text("[" * 100_000)
    with pytest.raises(ConfigError, match="lists in lists without end"):
        keeping.read(tmp_path / "a.json")
    with pytest.raises(ConfigError, match="lists in lists without end"):
        keeping.conclusions(tmp_path / "a.json")
