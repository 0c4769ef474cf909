"""What is remembered of files from one start to the next follows from what they hold, and its loss costs time alone."""

import json
import subprocess
import sys

import pytest
from conftest import ROOT

from segcert import code, remembered
from segcert.checkout import sources


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/segcert"


def answers():
    return remembered.Answers("kind", __file__)


def test_what_was_found_out_is_not_found_out_again(cache):
    asked = []

    def find_out():
        asked.append(1)
        return [1, 2]

    first = answers()
    assert first.of(b"question", find_out, tuple) == (1, 2) == first.of(b"question", find_out, tuple)
    first.keep()
    (file,) = cache.iterdir()
    made = file.stat().st_mtime_ns
    second = answers()
    assert second.of(b"question", find_out, tuple) == (1, 2) and len(asked) == 1
    second.keep()
    assert file.stat().st_mtime_ns == made, "no news, nothing written"
    assert second.of(b"another question", find_out, tuple) == (1, 2) and len(asked) == 2


@pytest.mark.parametrize("spoilt", ["", "{", "[]", "5", '{"KEY": 5}', '{"KEY": null}'])
def test_what_is_broken_is_found_out_again_and_mended(cache, spoilt):
    first = answers()
    first.of(b"question", lambda: [1], tuple)
    first.keep()
    (file,) = cache.iterdir()
    whole = file.read_text()
    file.write_text(spoilt.replace("KEY", next(iter(json.loads(whole)))))
    again = answers()
    assert again.of(b"question", lambda: [1], tuple) == (1,)
    again.keep()
    assert file.read_text() == whole


def test_other_code_and_a_place_that_is_none_remember_nothing(cache, tmp_path, monkeypatch):
    script = tmp_path / "script.py"
    script.write_text("1")
    before = remembered.Answers("kind", str(script)).file
    script.write_text("2")
    assert remembered.Answers("kind", str(script)).file != before
    cache.parent.write_text("a file stands there")
    first = answers()
    assert first.of(b"question", lambda: 1, int) == 1
    first.keep()
    assert cache.parent.read_text() == "a file stands there"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(remembered.Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    homeless = answers()
    assert homeless.file is None and homeless.of(b"question", lambda: 1, int) == 1
    homeless.keep()


def test_there_is_a_most(cache, monkeypatch):
    monkeypatch.setattr(remembered, "MOST", 2)
    first = answers()
    for name in (b"a", b"b"):
        first.of(name, lambda: 1, int)
    first.keep()
    second = answers()
    second.of(b"c", lambda: 1, int)
    second.keep()
    (file,) = cache.iterdir()
    assert len(json.loads(file.read_text())) == 1, "only what the last asked for"


def test_a_source_is_the_same_out_of_the_cache(cache):
    """Every file of the PaddleSeg that is installed, found out and read again by another process."""
    asked = (
        "import sys; from pathlib import Path; from segcert.checkout import sources, tree; from segcert import code\n"
        "found = sources._sources(tree.installed())\n"
        "if sys.argv[1] == 'warm':\n"
        "    for name in ('_parsed', '_plain'): setattr(sources, name, None)\n"
        "print(hash(tuple(sorted((name, tuple(sorted((k, tuple(sorted(v)) if isinstance(v, frozenset) else str(v))\n"
        "    for k, v in vars(source).items()))) for name, source in found.items()))), len(found))\n"
        "print(code.versions('train.py') == code.versions('train.py'))\n"
    )

    def told(how):
        command = [sys.executable, "-c", asked, how]
        environment = {"PATH": "/usr/bin:/bin", "XDG_CACHE_HOME": str(cache.parent), "PYTHONHASHSEED": "0"}
        done = subprocess.run(
            command, cwd=ROOT / "scripts", env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    cold = told("cold")
    assert sorted(file.name.partition("-")[0] for file in cache.iterdir()) == ["imports", "paddleseg"]
    stamps = {file: file.stat().st_mtime_ns for file in cache.iterdir()}
    assert told("warm") == cold and int(cold.split()[1]) > 100
    assert {file: file.stat().st_mtime_ns for file in cache.iterdir()} == stamps, "nothing was found out again"


@pytest.mark.parametrize("said", [5, {}, ["a", 5]])
def test_names_of_another_form_are_none(said):
    with pytest.raises(TypeError):
        code._words(said)


@pytest.mark.parametrize("said", [5, {}, {"module": "m"}, {"surplus": 1}])
def test_a_source_of_another_form_is_none(said):
    with pytest.raises((TypeError, LookupError)):
        sources._of_plain(said)
