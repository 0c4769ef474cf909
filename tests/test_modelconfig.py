"""Model configurations are read as PaddleSeg reads them: the same chain, the same values, or a refusal by name."""

import os
from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from paddleseg.cvlibs.config import parse_from_yaml

from segcert import modelconfig
from segcert.errors import ConfigError

MODELS = sorted((ROOT / "config/models").glob("*.yml")) + sorted((ROOT / "docs/examples").rglob("segformer_b0.yml"))
REFUSED, BROKEN = object(), object()


def written(folder, files):
    """The files, each a mapping or the text of a file, written below a folder; the first one's path."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False))
    return folder / next(iter(files))


def ours(path):
    try:
        return modelconfig.content(path)
    except ConfigError:
        return REFUSED


def theirs(path):
    """What PaddleSeg reads; BROKEN where it raises, whatever it raises."""
    try:
        return parse_from_yaml(str(path))
    except (Exception, RecursionError):
        return BROKEN


# -- chains -----------------------------------------------------------------------------------

KEYS = ["model", "loss", "optimizer", "type", "backbone"]
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from(["a", "b", ""]))
MARKS = st.one_of(st.just({}), st.sampled_from([False, True, 0, None, ""]).map(lambda mark: {"_inherited_": mark}))


def mappings(depth):
    values = st.one_of(SCALARS, st.lists(SCALARS, max_size=2), mappings(depth - 1) if depth else SCALARS)
    return st.builds(lambda own, mark: {**own, **mark}, st.dictionaries(st.sampled_from(KEYS), values), MARKS)


NAMES = ["top.yml", "sub/a.yml", "sub/b.yml", "c.yml"]


@st.composite
def chains(draw):
    """Files that inherit from one another: none, one, or lists of them, below and beside."""
    files = {}
    for number, name in enumerate(NAMES):
        content = draw(mappings(2))
        others = NAMES[number + 1 :]
        relative = [os.path.relpath(other, os.path.dirname(name) or ".") for other in others]
        if relative:
            kind = draw(st.sampled_from(["none", "one", "list", "list", "list"]))
            if kind == "one":
                content["_base_"] = draw(st.sampled_from(relative))
            elif kind == "list":
                content["_base_"] = draw(st.lists(st.sampled_from(relative), max_size=3))
        files[name] = content
    return files


@hypothesis_settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(chains())
def test_a_chain_holds_what_paddleseg_reads(tmp_path_factory, files):
    path = written(tmp_path_factory.mktemp("chain"), files)
    expected, found = theirs(path), ours(path)
    if found is REFUSED:
        assert expected is BROKEN or empty_over_a_list(path)
    else:
        assert expected == found
        assert list(expected) == list(found), "also in this order"


def empty_over_a_list(path):
    """What PaddleSeg reads and is refused here: a mapping of nothing, which leaves a list as it is."""
    with pytest.raises(ConfigError) as refused:
        modelconfig.content(path)
    return "a mapping cannot be laid over [" in str(refused.value)


def test_of_several_bases_the_first_wins(tmp_path):
    files = {
        "m.yml": {"_base_": ["a.yml", "b.yml"], "iters": 1},
        "a.yml": {"train_dataset": {"dataset_root": "right"}, "iters": 2},
        "b.yml": {"train_dataset": {"dataset_root": "wrong", "edge": True}, "iters": 3, "batch_size": 4},
    }
    path = written(tmp_path, files)
    wanted = {"train_dataset": {"dataset_root": "right", "edge": True}, "iters": 1, "batch_size": 4}
    assert modelconfig.content(path) == parse_from_yaml(str(path)) == wanted
    assert [file.name for file in modelconfig.config_chain(path)] == ["m.yml", "a.yml", "b.yml"]


def test_not_to_inherit_counts_for_the_first_base_that_has_the_key(tmp_path):
    own = {"_base_": ["without.yml", "a.yml", "b.yml"], "optimizer": {"_inherited_": False, "type": "Adam"}}
    files = {
        "m.yml": own,
        "without.yml": {"iters": 1},
        "a.yml": {"optimizer": {"type": "SGD", "momentum": 0.9}},
        "b.yml": {"optimizer": {"type": "SGD", "weight_decay": 4.0e-5}},
    }
    path = written(tmp_path, files)
    wanted = {"optimizer": {"type": "Adam", "weight_decay": 4.0e-5}, "iters": 1}
    assert modelconfig.content(path) == parse_from_yaml(str(path)) == wanted


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_the_shipped_ones_are_what_the_stages_see(path):
    from segcert.compute import components

    assert modelconfig.content(path) == parse_from_yaml(str(path))
    components.Config(str(path))


SHAPES = {
    "an absolute path": ({"m.yml": {"_base_": "{folder}/b.yml"}, "b.yml": {"iters": 1}}, {"iters": 1}),
    "a path that climbs": ({"a/m.yml": {"_base_": "../b.yml"}, "b.yml": {"iters": 1}}, {"iters": 1}),
    "the same one twice": ({"m.yml": {"_base_": ["b.yml", "b.yml"]}, "b.yml": {"iters": 1}}, {"iters": 1}),
    "no base in a list": ({"m.yml": {"_base_": [], "iters": 1}}, {"iters": 1}),
    "a base of nothing but a base": (
        {"m.yml": {"_base_": "b.yml"}, "b.yml": {"_base_": ["c.yml"]}, "c.yml": {"iters": 1}},
        {"iters": 1},
    ),
    "a key that is no base": ({"m.yml": {"model": {"_base_": "b.yml"}}}, {"model": {"_base_": "b.yml"}}),
    "an anchor and a merge key": (
        {"m.yml": "a: &a {x: 1, y: 2}\nmodel:\n  <<: *a\n  y: 3\n"},
        {"a": {"x": 1, "y": 2}, "model": {"x": 1, "y": 3}},
    ),
    "a key twice": ({"m.yml": "iters: 1\nmodel: {type: A, type: B}\niters: 2\n"}, {"iters": 2, "model": {"type": "B"}}),
    "a mark of bytes": ({"m.yml": b"\xef\xbb\xbfiters: 1\n"}, {"iters": 1}),
    "lines of Windows": ({"m.yml": b"iters: 1\r\nmodel:\r\n  type: A\r\n"}, {"iters": 1, "model": {"type": "A"}}),
    "a tuple": ({"m.yml": "size: !!python/tuple [5, [1, 2]]\n"}, {"size": (5, [1, 2])}),
    "words that count as numbers": (
        {"m.yml": "a: 1e-4\nb: 1.0e-4\nc: yes\nd: 0x10\ne: 1_000\nf: 12:30\n"},
        {"a": "1e-4", "b": 1.0e-4, "c": True, "d": 16, "e": 1000, "f": 750},
    ),
    "not to inherit at the top": (
        {"m.yml": {"_base_": "b.yml", "_inherited_": False, "a": 1}, "b.yml": {"b": 2}},
        {"a": 1},
    ),
    "not to inherit a list": (
        {"m.yml": {"_base_": "b.yml", "a": {"_inherited_": False, "x": 1}}, "b.yml": {"a": [1]}},
        {"a": {"x": 1}},
    ),
    "a mark that meets no base": (
        {"m.yml": {"_base_": "b.yml", "a": {"_inherited_": False, "x": 1}}, "b.yml": {"b": 2}},
        {"b": 2, "a": {"_inherited_": False, "x": 1}},
    ),
    "a list in place of a mapping": ({"m.yml": {"_base_": "b.yml", "a": [1]}, "b.yml": {"a": {"x": 1}}}, {"a": [1]}),
}


@pytest.mark.parametrize("case", SHAPES)
def test_odd_shapes_that_paddleseg_reads(tmp_path, case):
    files, wanted = SHAPES[case]
    path = written(tmp_path, files)
    if isinstance(files[next(iter(files))], dict):
        path.write_text(path.read_text().replace("{folder}", str(tmp_path)))
    assert modelconfig.content(path) == parse_from_yaml(str(path)) == wanted


WRONG = {
    "a base that is null": ({"m.yml": "_base_: null\n"}, [r"m\.yml: _base_: None is refused", "the name of a file"]),
    "a base that is a number": ({"m.yml": "_base_: 5\n"}, [r"m\.yml: _base_: 5 is refused"]),
    "a list in a list": ({"m.yml": "_base_: [[b.yml]]\n", "b.yml": "a: 1\n"}, [r"m\.yml: _base_: .* is refused"]),
    "a base without a name": ({"m.yml": "_base_: ''\n"}, [r"m\.yml: _base_: '' is refused"]),
    "a name that ends in a slash": (
        {"m.yml": "_base_: b.yml/\n", "b.yml": "a: 1\n"},
        [r"_base_: 'b\.yml/' is refused"],
    ),
    "a base that is not there": ({"m.yml": "_base_: gone.yml\n"}, [r"m\.yml: _base_: cannot read .*gone\.yml: No"]),
    "a base with a zero byte": ({"m.yml": '_base_: "a\\0b.yml"\n'}, [r"m\.yml: _base_: 'a\\x00b\.yml' is refused"]),
    "a base that is a folder": (
        {"m.yml": "_base_: sub\n", "sub/b.yml": "a: 1\n"},
        [r"cannot read .*sub: Is a directory"],
    ),
    "a base that is empty": ({"m.yml": "_base_: b.yml\n", "b.yml": ""}, [r"b\.yml: must be a mapping"]),
    "a base that is a list": (
        {"m.yml": "_base_: b.yml\niters: 1\n", "b.yml": "- a: 1\n"},
        [r"b\.yml: must be a mapping"],
    ),
    "a file that is empty": ({"m.yml": "# nothing\n"}, [r"m\.yml: must be a mapping"]),
    "a circle": ({"m.yml": "_base_: b.yml\n", "b.yml": "_base_: m.yml\n"}, [r"b\.yml: _base_: .*comes back to itself"]),
    "a circle by another name": (
        {"sub/m.yml": "_base_: ../sub/m.yml\n"},
        [r"m\.yml: _base_: .*comes back to itself"],
    ),
    "a base of itself": ({"m.yml": "_base_: m.yml\n"}, [r"m\.yml: _base_: .*comes back to itself"]),
    "a mapping over a word": (
        {"m.yml": "_base_: b.yml\nloss: {coef: {a: 1}}\n", "b.yml": "loss: {coef: x}\n"},
        [r"m\.yml: loss\.coef: a mapping cannot be laid over 'x', which .*b\.yml has there"],
    ),
    "a mapping over null": (
        {"m.yml": "_base_: b.yml\nmodel: {_inherited_: false}\n", "b.yml": "model:\n"},
        [r"m\.yml: model: a mapping cannot be laid over None"],
    ),
    "a tab": ({"m.yml": "model:\n\ttype: A\n"}, [r"m\.yml: is not YAML of plain values"]),
    "an object": ({"m.yml": "a: !!python/object/apply:os.getcwd []\n"}, [r"m\.yml: is not YAML of plain values"]),
    "a tag of one's own": ({"m.yml": "a: !Resize {}\n"}, [r"m\.yml: is not YAML of plain values"]),
    "two documents": ({"m.yml": "a: 1\n---\nb: 2\n"}, [r"m\.yml: is not YAML of plain values"]),
    "not UTF-8": ({"m.yml": b"a: \xff\n"}, [r"m\.yml: is not text in UTF-8 \(invalid start byte at byte 3\)"]),
    "UTF-16": ({"m.yml": "a: 1\n".encode("utf-16")}, [r"m\.yml: is not text in UTF-8"]),
    "a key that is a list": ({"m.yml": "? [a, b]\n: 1\n"}, [r"m\.yml: is not YAML of plain values"]),
    "an anchor that is not there": ({"m.yml": "a: *b\n"}, [r"m\.yml: is not YAML of plain values"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_odd_shapes_that_paddleseg_breaks_on_are_refused_by_name(tmp_path, case):
    files, words = WRONG[case]
    path = written(tmp_path, files)
    assert theirs(path) is BROKEN
    for pattern in words:
        with pytest.raises(ConfigError, match=pattern):
            modelconfig.content(path)


def test_what_else_is_refused(tmp_path):
    """PaddleSeg reads these otherwise than anybody means them."""
    path = written(tmp_path, {"m.yml": "_base_: {b.yml: 1}\n", "b.yml": "a: 1\n"})
    with pytest.raises(ConfigError, match=r"_base_: \{'b\.yml': 1\} is refused"):
        modelconfig.content(path)
    path = written(tmp_path, {"m.yml": "a: !!python/name:os.getcwd\n"})
    with pytest.raises(ConfigError, match=r"python/name:os\.getcwd"):
        modelconfig.content(path)
    path = written(tmp_path, {"model.yaml.txt": "a: 1\n"})
    with pytest.raises(ConfigError, match=r"model\.yaml\.txt: .* end in \.yml or \.yaml"):
        modelconfig.content(path)
    with pytest.raises(AssertionError, match="should be yaml format"):
        __import__("paddleseg").cvlibs.Config(str(path))
    nested = written(tmp_path, {"m.yml": "a: " + "[" * 3000 + "]" * 3000})
    with pytest.raises(ConfigError, match=r"m\.yml: is not YAML of plain values"):
        modelconfig.content(nested)


def test_keys_that_stand_there_twice_are_known_by_file_and_line(tmp_path):
    path = written(
        tmp_path,
        {
            "m.yml": "_base_: b.yml\nmodel:\n  type: A\n  heads:\n  - {x: 1, x: 2}\n  type: B\niters: 1\niters: 2\n",
            "b.yml": "a: &a {x: 1}\nb:\n  <<: *a\n  x: 2\nc: *a\n",
        },
    )
    found = {(item.file.name, item.line, item.key) for item in modelconfig.doubled(path)}
    assert found == {("m.yml", 5, "x"), ("m.yml", 6, "type"), ("m.yml", 8, "iters")}


def test_inputs_are_the_chain_or_the_file_alone(tmp_path):
    path = written(tmp_path, {"m.yml": "_base_: b.yml\n", "b.yml": "a: 1\n"})
    assert [Path(name).name for name in modelconfig.inputs(str(path))] == ["m.yml", "b.yml"]
    (tmp_path / "b.yml").unlink()
    assert [Path(name).name for name in modelconfig.inputs(str(path))] == ["m.yml"]
