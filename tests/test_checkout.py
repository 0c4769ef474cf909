"""The PaddleSeg at hand: which one it is, what of it a model's results follow from, and that an edit is noticed."""

import json
import os
import py_compile
import re
import shutil
import subprocess
import sys
from pathlib import Path

import checkouts
import pytest
import stages
import yaml
from conftest import ROOT, copy_project, interpreter, planned_jobs, snakemake

from segcert import modelconfig, record, settings
from segcert.checkout import pinned, sources, tree
from segcert.errors import ConfigError
from segcert.run import Start

MODELS = sorted(path.stem for path in (ROOT / "config/models").glob("*.yml"))
CONTENTS = {model: modelconfig.content(ROOT / f"config/models/{model}.yml") for model in MODELS}
# Of the eight models, the divided files that their configurations name, and what those import.
OWN = {
    "pp_humanseg_lite": {"datasets/dataset.py", "models/pphumanseg_lite.py", "models/losses/cross_entropy_loss.py"},
    "pp_liteseg_stdc1": {
        "datasets/cityscapes.py", "datasets/dataset.py", "models/pp_liteseg.py", "models/backbones/stdcnet.py",
        "models/losses/ohem_cross_entropy_loss.py",
    },
    "ocrnet_hrnetw18": {
        "datasets/cityscapes.py", "datasets/dataset.py", "models/ocrnet.py", "models/backbones/hrnet.py",
        "models/losses/cross_entropy_loss.py",
    },
}  # fmt: skip
SHARED = {"models/backbones/transformer_utils.py", "models/losses/mixed_loss.py"}  # a layer, and the builder, name them


def installed_files():
    return tree.Tree(tree.installed()).files


# -- what a model's results follow from --------------------------------------------------------


@pytest.mark.parametrize("model", OWN)
def test_the_files_of_a_model(model):
    found = sources.files_of(tree.installed(), CONTENTS[model])
    divided = {
        name.removeprefix("paddleseg/")
        for name in found
        if re.match(r"paddleseg/(datasets|models|models/backbones|models/losses)/[a-z]\w+\.py$", name)
    }
    assert divided == OWN[model] | SHARED
    everything = installed_files()
    of_all = {"core/infer.py", "transforms/transforms.py", "models/layers/layer_libs.py", "models/__init__.py"}
    assert {f"paddleseg/{name}" for name in of_all} <= found.keys() < everything.keys()
    assert found.items() <= everything.items()


def test_whatever_a_built_model_is_made_of_is_among_its_files():
    """Held against the objects that PaddleSeg builds: a missed file would be an edit that nobody notices."""
    from segcert.compute import components

    for model, content in CONTENTS.items():
        config = components.load_config(str(ROOT / f"config/models/{model}.yml"))
        built = components.builder(config)
        parts = [*built.model.sublayers(include_self=True), *built.loss["types"], built.optimizer]
        modules = {type(part).__module__ for part in parts}
        modules |= {f"paddleseg.datasets.{content['train_dataset']['type'].lower()}"}
        files = {f"{name.replace('.', '/')}.py" for name in modules if name.startswith("paddleseg.")}
        assert f"paddleseg/models/{Path(sys.modules[type(built.model).__module__].__file__).name}" in files
        missed = files - sources.files_of(tree.installed(), content).keys()
        assert not missed, model


TREE = {
    "__init__.py": "from . import models, datasets\n__version__ = '9'\n",
    "core.py": "from paddleseg.utils import run\n",
    "utils.py": "def run(): pass\n",
    "notes.json": "{}",
    "models/__init__.py": "from .a import A\nfrom .b import *\nfrom .c import C\nfrom .losses import *\n",
    "models/a.py": "from paddleseg.cvlibs import manager\n@manager.MODELS.add_component\nclass A: pass\n",
    "models/b.py": "'''Text.'''\nX = 1\nclass B: pass\n",
    "models/c.py": "import math\nif math.pi > 3:\n    class C: pass\n",
    "models/losses/__init__.py": "from .one import One\n",
    "models/losses/one.py": "class One: pass\n",
    "models/losses/two.py": "class Two: pass\n",
    "datasets/__init__.py": "",
    "datasets/d.py": "class D: pass\n",
    "cvlibs/__init__.py": "from . import manager\n",
    "cvlibs/param_init.py": "",
    "core/export.py": "",
    "cvlibs/manager.py": (tree.installed() / "paddleseg/cvlibs/manager.py").read_text(encoding="utf-8"),
}  # fmt: skip
DIVIDED = {"models/a.py", "models/b.py", "models/c.py", "models/losses/one.py", "models/losses/two.py", "datasets/d.py"}
ALL = DIVIDED
TOLD = (
    "from paddleseg.cvlibs import Config, SegBuilder\n"
    "def export(args):\n    cfg = Config(args.config)\n    builder = SegBuilder(cfg)\n"
)


@pytest.mark.parametrize(
    ("changes", "counted"),
    [
        ({}, {"models/a.py"}),
        ({"models/a.py": "from paddleseg.models.b import B\nclass A: pass\n"}, {"models/a.py", "models/b.py"}),
        ({"models/a.py": "from . import b\nclass A: pass\n"}, {"models/a.py", "models/b.py"}),
        ({"models/a.py": "from .losses.two import Two\nclass A: pass\n"}, {"models/a.py", "models/losses/two.py"}),
        ({"models/a.py": "from paddleseg.models import X\nclass A: pass\n"}, {"models/a.py", "models/b.py"}),
        ({"models/a.py": "def f():\n    import paddleseg.models.c as c\nclass A: pass\n"},
         {"models/a.py", "models/c.py"}),
        ({"models/a.py": "from paddleseg.models import losses\nclass A: pass\n"},
         {"models/a.py", "models/losses/one.py", "models/losses/two.py"}),
        ({"models/a.py": "from paddleseg.models import nobody\nclass A: pass\n"}, ALL - {"datasets/d.py"}),
        ({"models/a.py": "from paddleseg import datasets\nclass A: pass\n"}, {"models/a.py", "datasets/d.py"}),
        ({"models/a.py": "import paddleseg\nclass A:\n    def f(self): paddleseg.models.b.B()\n"},
         {"models/a.py", "models/b.py"}),
        ({"models/a.py": "import paddleseg\nclass A:\n    def f(self): return paddleseg.__version__\n"},
         {"models/a.py"}),
        ({"models/a.py": "from .b import B\nclass A: pass\n", "models/b.py": "from .c import C\nclass B: pass\n"},
         {"models/a.py", "models/b.py", "models/c.py"}),
        ({"models/a.py": "class A:\n    def f(self, n): return manager[n]\n"}, ALL),
        # In a registry that is written out: what registers there, or may.
        ({"models/a.py": "class A:\n    def f(self, n): return manager.MODELS[n]\n",
          "models/b.py": "@manager.MODELS.add_component\nclass B: pass\n",
          "models/c.py": "from paddleseg.cvlibs import manager\n@manager.LOSSES.add_component\nclass C: pass\n",
          "datasets/d.py": "@MODELS.add_component\nclass D: pass\n"}, {"models/a.py", "models/b.py", "datasets/d.py"}),
        ({"datasets/__init__.py": "from .d import D\nmanager.DATASETS._components_dict['E'] = D\n",
          "datasets/d.py": "@manager.DATASETS.add_component\nclass D: pass\n"}, {"models/a.py", "datasets/d.py"}),
        ({"models/a.py": "import importlib\nclass A:\n    def f(self, n): return importlib.import_module(n)\n"}, ALL),
        ({"utils.py": "from paddleseg.models import losses\n"},
         {"models/a.py", "models/losses/one.py", "models/losses/two.py"}),
        # More than definitions at the top: it may change what others do.
        ({"models/b.py": "import paddle\npaddle.nn.ReLU = None\nclass B: pass\n"}, {"models/a.py", "models/b.py"}),
        ({"models/b.py": "class B: pass\nregister(B)\n"}, {"models/a.py", "models/b.py"}),
        ({"models/b.py": "@register('A')\nclass B: pass\n"}, {"models/a.py", "models/b.py"}),
        ({"models/b.py": "for x in range(3): pass\n"}, {"models/a.py", "models/b.py"}),
        # What stands in the head of a function or in a class is done at the import too.
        ({"models/b.py": "_ = setattr(A, 'f', None)\nclass B: pass\n"}, {"models/a.py", "models/b.py"}),
        ({"models/b.py": "class B:\n    x = patch()\n"}, {"models/a.py", "models/b.py"}),
        ({"models/b.py": "class B(make()): pass\n"}, ALL),
        ({"models/b.py": "class B:\n    def f(self, x=patch()): pass\n"}, {"models/a.py", "models/b.py"}),
        ({"models/b.py": "def f(x: patch()): pass\n"}, {"models/a.py", "models/b.py"}),
        ({"models/b.py": "x: patch() = 1\n"}, {"models/a.py", "models/b.py"}),
        ({"models/b.py": "x = [patch() for _ in (1,)]\n"}, {"models/a.py", "models/b.py"}),
        ({"models/b.py": "if patch(): x = 1\n"}, {"models/a.py", "models/b.py"}),
        ({"models/b.py": "@paddle.patch\nclass B: pass\n"}, {"models/a.py", "models/b.py"}),
        ({"models/b.py": "from paddle.nn import initializer as init\nzeros_ = init.Constant(value=0.)\nclass B:\n"
                         "    @property\n    def f(self): pass\n"},
         {"models/a.py"}),
        # What is not known to define only, by where its names come from.
        *(({"models/b.py": f"{code}\nclass B: pass\n"}, {"models/a.py", "models/b.py"}) for code in (
            "if __name__ == '__main__':\n    pass\nelse:\n    import paddle\n    paddle.nn.ReLU = None",
            "from paddleseg.utils import run\nx = run.dict(a=1)", "import paddle\nx = paddle.base.Global.set('bn', 1)",
            "from paddleseg.utils import Constant\nx = Constant(1)", "def dict(): pass\nx = dict()",
            "from paddle.nn.initializer import Constant\nclass Constant: pass\nx = Constant(1)",
            "x = [0 for p.r in (1,)]", "x = [0 for p[0] in (1,)]", "x = [y := 1]", "from math import *",
            "from paddleseg.utils import run\nx = list(run)",
            "from paddleseg.utils import run\n@run.cache\nclass E: pass",
            "import paddle\n@paddle.no_grad(patch())\ndef f(): pass", "import m\nclass E(m.N, key=m.M): pass",
            "from paddleseg.utils import run\nx = run << 'a'", "from paddleseg.utils import run\nx = run.y",
            "from paddleseg.utils import run\nif run:\n    pass", "try:\n    patch.x = 1\nexcept OSError:\n    pass",
        )),
        ({"models/b.py": "from .c import *\nx = C[0]\n"}, {"models/a.py", "models/b.py", "models/c.py"}),
        ({"models/b.py": "from .c import *\nclass B: pass\n", "models/c.py": "def property(f): pass\n"},
         {"models/a.py", "models/b.py", "models/c.py"}),
        ({"models/b.py": "import m\nclass E(metaclass=m.M): pass\n"}, ALL),
        *(({"models/b.py": f"{code}\nclass B: pass\n"}, {"models/a.py"}) for code in (
            "if __name__ == '__main__':\n    patch()", "from functools import partial as p\nx = p(dict, a=[1])",
            "import paddle.nn as nn\nclass E(nn.Layer):\n    x: int = -1\n    @classmethod\n    def f(y=nn.ReLU): pass",
            "import math\nx = [math.pi * y for y in (1, 2)]",
            "from .c import *\n@property\ndef f(): pass", "async def f(): pass",
            "import abc\nclass E(metaclass=abc.ABCMeta): pass",
        )),
        # By other names, or by none.
        ({"models/a.py": "import paddleseg as seg\nclass A:\n    def f(self): return seg.models.b.X\n"},
         {"models/a.py", "models/b.py"}),
        ({"models/a.py": "import paddleseg as seg\nclass A:\n    def f(self, n): return getattr(seg, n)\n"}, ALL),
        ({"models/a.py": "from paddleseg import *\nclass A: pass\n"}, ALL),
        ({"models/a.py": "import sys\nclass A:\n    def f(self, n): return sys.modules[n]\n"}, ALL),
        ({"models/a.py": "from paddleseg.cvlibs.manager import MODELS\nclass A: pass\n"}, ALL),
        ({"models/a.py": "from paddleseg.cvlibs import manager\nr = manager\nclass A: pass\n"}, ALL),
        ({"models/a.py": "class A:\n    def f(self): exec(open('b.py').read())\n"}, ALL),
        ({"cvlibs/manager.py": "class Manager: pass\ndef f(m): return m['B']\n"}, ALL),
        ({"models/__init__.py": TREE["models/__init__.py"] + "POOL = B\n"},
         {"models/a.py", "models/b.py", "models/c.py", "models/losses/one.py", "models/losses/two.py"}),
        ({"models/__init__.py": "from .a import A\nfrom .b import B as D\n",
          "models/a.py": "from paddleseg.models import D\nclass A: pass\n"}, ALL - {"datasets/d.py"}),
        ({"models/b.py": "try:\n    import x\nexcept ImportError:\n    x = None\nclass B: pass\n"}, {"models/a.py"}),
        ({"models/b.py": "class B: pass\nif __name__ == '__main__':\n    print(B())\n"}, {"models/a.py"}),
        ({"models/b.py": "ON = 'npu' in paddle.get_device()\nclass B: pass\n"}, {"models/a.py"}),
        # What hears of each class that is made, or asks for all.
        ({"utils.py": "class Base:\n    def __init_subclass__(cls): pass\n"}, ALL),
        ({"utils.py": "class Base(metaclass=Meta): pass\n"}, ALL),
        ({"utils.py": "class Base(metaclass=abc.ABCMeta): pass\n"}, {"models/a.py"}),
        ({"models/a.py": "class A:\n    def f(self): return object.__subclasses__()\n"}, ALL),
        ({"models/a.py": "from sys import path, modules\nclass A: pass\n"}, ALL),
        # What is built by the names of a dictionary: by PaddleSeg's own builder, wherever and by whatever name.
        ({"models/a.py": "from paddleseg.cvlibs import SegBuilder as S\nclass A:\n    def f(self): S(0).b({})\n"}, ALL),
        ({"utils.py": "from paddleseg.cvlibs.builder import Builder\ndef run(c): return Builder(c)\n"}, ALL),
        ({"models/a.py": "class A:\n    def f(self, b): return b.build_component({'type': 'B'})\n"}, ALL),
        ({"models/a.py": "from paddleseg import cvlibs\nclass A:\n    f = lambda: vars(cvlibs)['M']\n"}, ALL),
        ({"models/a.py": "from paddleseg.cvlibs import manager, param_init\nclass A:\n    'sys'\n"}, {"models/a.py"}),
        ({"cvlibs/param_init.py": "from . import manager as m\ndef f(n): return m[n]\n"}, ALL),
        ({"models/a.py": "from paddleseg.core import export\nclass A: pass\n"}, ALL),
        ({"models/a.py": "from paddleseg.core.train import check_logits_losses\nclass A: pass\n"}, {"models/a.py"}),
        # The one use of it that builds what the configuration names, where it stands, and in no other way.
        ({"core/export.py": TOLD}, {"models/a.py"}),
        ({"core/export.py": TOLD + "    SegBuilder({})\n"}, ALL),
        ({"core/export.py": TOLD + "    Config('b.yml').model\n"}, ALL),
        ({"core/export.py": TOLD.replace("    b", "    cfg.dic['model'] = {}\n    b")}, ALL),
        ({"utils.py": TOLD}, ALL),
        # By its name as a string, or by what knows all that there is.
        *(({"models/a.py": f"{code}\nclass A: pass\n"}, ALL) for code in (
            "import sys as s\nf = lambda n: s.modules[n]", "from sys import (path,\n modules as m)",
            "import sys\nf = lambda: [m for m in sys.modules]", "import sys\nf = ('x' in sys.modules\n.values())",
            "import paddle\nf = lambda n: paddle.try_import(n)", "import pydoc", "import inspect", "import builtins",
            "from gc import get_objects", "f = lambda n: eval(n)", "f = lambda n: eval('paddleseg.models.' + n)",
            "f = lambda n: loaded('paddleseg.models.b')", "f = lambda n: loaded(f'paddleseg.{n}')", "f = g.__globals__",
        )),
        *(({"models/a.py": f"{code}\nclass A: pass\n"}, {"models/a.py"}) for code in (
            "import sys\nf = lambda: sys.exit(0)", "import gc\nf = lambda: gc.collect()", "f = lambda m: m.eval()",
            "f = lambda n: eval('layers.' + n)", "import sys\nf = lambda: 'x' in sys.modules or None",
            "def f():\n    'Import sys.'",
        )),
        # In an encoding of its own, as Python reads it; and no Python, which nothing may import.
        ({"models/a.py": b"\xef\xbb\xbffrom .b import B\nclass A: pass\n"}, {"models/a.py", "models/b.py"}),
        ({"models/a.py": b"# -*- coding: latin-1 -*-\nfrom .b import B  # \xe9\nclass A: pass\n"},
         {"models/a.py", "models/b.py"}),
        ({"models/a.py": "from paddleseg.models import B\nclass A: pass\n",
          "models/c.py": "from paddleseg.utils import run as B\nclass C: pass\n"},
         {"models/a.py", "models/b.py", "models/c.py"}),
        ({"models/a.py": "import yaml\nclass A:\n    f = lambda self, t: yaml.unsafe_load(t)\n"}, ALL),
        # A registry that may find components otherwise; what hears of each class that is made.
        ({"cvlibs/manager.py": "class Manager: components_dict = {}\n"}, ALL),
        ({"cvlibs/manager.py": "def (\n"}, ALL),
        ({"utils.py": "class Kind(type(list)): pass\nHead = Kind('Head', (), {})\n",
          "models/b.py": "from paddleseg.utils import Head\nclass B(Head): pass\n"}, ALL),
        *(({"utils.py": text}, ALL) for text in (
            "class Kind(type): pass\n", "import enum\nclass Kind(enum.EnumMeta): pass\n",
            "Kind = type('Kind', (list,), {})\n", "import types\nKind = types.new_class('Kind')\n",
        )),
        *(({"utils.py": text}, {"models/a.py"}) for text in (
            "class Kind(list): pass\n", "def f(x): return type(x) is list\n", "class Kind(list[int]): pass\n",
        )),
        ({"models/b.py": "def (\n"}, ALL),
        ({"models/b.py": b"\xff\n"}, ALL),
        # Editors' files, and git's.
        ({"models/.b.py.swo": "x", "models/#b.py#": "x", "models/.ipynb_checkpoints/b.py": "x", "b.py~": "x"},
         {"models/a.py"}),
    ],
)  # fmt: skip
def test_an_import_that_may_mean_several_means_all(tmp_path, changes, counted):
    for name, text in {**TREE, **changes}.items():
        (tmp_path / "paddleseg" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "paddleseg" / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    (tmp_path / "paddleseg/__pycache__").mkdir()
    (tmp_path / "paddleseg/__pycache__/a.pyc").write_text("x")
    found = {name.removeprefix("paddleseg/") for name in sources.files_of(tmp_path, {"model": {"type": "A"}})}
    assert found == (TREE.keys() - DIVIDED) | counted


def written(folder, texts):
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize("type_", ["a", "Nobody"])
def test_a_type_that_no_class_has_as_its_name_may_be_any(tmp_path, type_):
    written(tmp_path / "paddleseg", TREE)
    content = {"model": {"type": "A", "head": [{"type": type_}]}, "loss": {"types": [{"type": "One"}]}}
    assert {name.removeprefix("paddleseg/") for name in sources.files_of(tmp_path, content)} == TREE.keys()
    content["model"]["head"] = {"type": "B"}
    content["optimizer"] = content["train_dataset"] = {"transforms": [{"type": "X"}], "lr_scheduler": {"type": "Y"}}
    left = TREE.keys() - {name.removeprefix("paddleseg/") for name in sources.files_of(tmp_path, content)}
    assert left == {"models/c.py", "models/losses/two.py", "datasets/d.py"}


OUTSIDE = {
    "humanlib.py": "import kit\n",
    "kit/__init__.py": "",
    "kit/part.py": "",
    "other.py": "",
    "yaml.md": "",
    "contrib/deep/lib.py": "import near\n",
    "contrib/deep/near.py": "",
    "contrib/far.py": "",
    "contrib/notes.txt": "",
}


@pytest.mark.parametrize(
    ("line", "counted"),
    [
        ("import paddle, os", set()),
        ("# import other", set()),
        ("from . import other", set()),
        ("import humanlib", {"humanlib.py", "kit/__init__.py", "kit/part.py"}),
        ("import os, \\\n    other as o", {"other.py"}),
        ("try: import other\nexcept ImportError: pass", {"other.py"}),
        ("from kit.part import x", {"kit/__init__.py", "kit/part.py"}),
        ("import lib", set()),
        ("sys.path.insert(0, '../contrib/deep')\nimport lib", {"contrib/deep/lib.py", "contrib/deep/near.py"}),
        ("importlib.import_module('far.x')", {"contrib/far.py"}),
    ],
)
def test_code_beside_the_package_that_it_imports_is_part_of_it(tmp_path, line, counted):
    written(tmp_path, {**OUTSIDE, "paddleseg/__init__.py": "", "paddleseg/models/m.py": f"{line}\nclass A: pass\n"})
    found = sources.files_of(tmp_path, {"model": {"type": "A"}})
    assert found.keys() == {"paddleseg/__init__.py", "paddleseg/models/m.py", *counted}
    repository(tmp_path)
    assert tree.Tree(tmp_path).edited == []
    for name in sorted(counted):
        before = tree.Tree(tmp_path).hash_of({"model": {"type": "A"}})
        (tmp_path / name).write_text(f"{OUTSIDE[name]}x = 1\n")
        assert tree.Tree(tmp_path).hash_of({"model": {"type": "A"}}) != before, name
    assert set(tree.Tree(tmp_path).edited) == counted
    (tmp_path / "some-1.0.dist-info").mkdir()  # where packages are installed others lie beside it
    assert sources.paths(tmp_path).keys() == {"paddleseg/__init__.py", "paddleseg/models/m.py"}


def test_a_type_anywhere_in_the_configuration_counts():
    content = {"model": {"type": "A", "backbone": {"type": "B"}}, "loss": {"types": [{"type": "C"}, ({"type": "D"},)]}}
    assert sources.types(content) == {"A", "B", "C", "D"}


# -- which one it is ---------------------------------------------------------------------------

SAID = "from segcert.checkout import tree; f = tree.installed(); print(f); print(tree.Tree(f).version if f else '')"


def said_by(python, cwd=ROOT, **variables):
    code = f"import sys; sys.path.insert(0, {str(ROOT / 'scripts')!r}); {SAID}"
    done = subprocess.run(
        [python, "-c", code], cwd=cwd, env={**os.environ, **variables}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    folder, version = done.stdout.splitlines()
    return Path(folder), version


def other(folder, version="0.0.0.dev0"):
    (folder / "paddleseg").mkdir(parents=True)
    (folder / "paddleseg/__init__.py").write_text(f"__version__ = '{version}'\n")
    return folder


def test_no_variable_and_no_folder_brings_in_another(tmp_path):
    other(tmp_path)
    here = (tree.installed(), "2.8.0")
    assert said_by(sys.executable, PYTHONPATH=str(tmp_path)) == here
    assert said_by(sys.executable, cwd=tmp_path) == here
    assert tree.installed_for(sys.executable) == here[0]


@pytest.mark.parametrize("way", ["sys.path.insert(0, {other!r})", "sys.meta_path.insert(0, Finds)"])
def test_what_a_variable_has_python_run_as_it_starts_brings_in_nothing(tmp_path, monkeypatch, way):
    lent = tmp_path / "lent"
    lent.mkdir()
    checkout = other(tmp_path / "checkout")
    (lent / "sitecustomize.py").write_text(
        "import sys, importlib.machinery\n"
        "class Finds:\n"
        "    def find_spec(name, path=None, target=None):\n"
        f"        found = name == 'paddleseg'\n"
        f"        return importlib.machinery.PathFinder.find_spec(name, [{str(checkout)!r}]) if found else None\n"
        f"{way.format(other=str(checkout))}\n"
    )
    seen = "import paddleseg; print(paddleseg.__file__)"
    variables = {**os.environ, "PYTHONPATH": str(lent)}
    done = subprocess.run([sys.executable, "-c", seen], env=variables, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(checkout / "paddleseg/__init__.py"), "the variable does what it is to do"
    here = (tree.installed(), "2.8.0")
    assert said_by(sys.executable, PYTHONPATH=str(lent)) == here
    monkeypatch.setenv("PYTHONPATH", str(lent))
    assert tree.installed() == tree.installed_for(sys.executable) == here[0]


def test_one_that_was_installed_to_be_edited_is_the_installed_one(tmp_path):
    """By a .pth (b2 of the trials), and by a finder, which the wheel comes before (b3)."""
    checkout = other(tmp_path / "checkout")
    python = interpreter(tmp_path / "env", "")
    own = next((tmp_path / "env/lib").glob("python*/site-packages"))
    lines = (own / "at_start.pth").read_text()
    (own / "at_start.pth").write_text(f"{checkout}\n{lines}")
    assert said_by(python) == (checkout, "0.0.0.dev0")
    assert tree.installed_for(str(python)) == checkout
    (own / "at_start.pth").write_text(lines)
    finder = (
        "import sys, importlib.machinery\n"
        "class Editable:\n"
        f"    def find_spec(name, path=None, target=None):\n"
        "        if name == 'paddleseg':\n"
        f"            return importlib.machinery.PathFinder.find_spec(name, [{str(checkout)!r}])\n"
        "sys.meta_path.append(Editable)\n"
    )
    (own / "at_start.py").write_text(finder)
    (own / "paddleseg-0.0.0.dev0.dist-info").mkdir()
    (own / "paddleseg-0.0.0.dev0.dist-info/METADATA").write_text("Name: paddleseg\nVersion: 0.0.0.dev0\n")
    assert said_by(python) == (tree.installed(), "2.8.0"), "the wheel is what is imported"


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """An interpreter with what this one has, but with a PaddleSeg of a few lines; where its packages are."""
    folder = tmp_path_factory.mktemp("bare")
    python = interpreter(folder / "env", "")
    own = next((folder / "env/lib").glob("python*/site-packages"))
    (own / "at_start.pth").write_text("import at_start\n")
    for path in tree.installed().iterdir():
        if not path.name.startswith("paddleseg") and not (own / path.name).exists():
            (own / path.name).symlink_to(path)
    other(own, "2.8.0")
    return str(python), own


# How the six came to be, and that none of them says what is not so (row: what is asked, which one runs, the note).
WAYS = {
    "a. PYTHONPATH": ({}, "wheel", "PYTHONPATH lies in the PaddleSeg"),
    "a. PYTHONPATH, and it is named": ({"paddleseg": "seg"}, "checkout", None),
    "b1. installed to be edited, and no wheel": ({}, "checkout", None),
    "b2. a .pth before the wheel": ({}, "checkout", None),
    "b3. installed to be edited beside a wheel": ({}, "wheel", None),
    "c. paddleseg_root": ({"paddleseg_root": "seg"}, "checkout", None),
    "c. paddleseg_root, and the installed one": (
        {"paddleseg_root": "seg", "paddleseg": "installed"}, "wheel", "paddleseg_root lies in the PaddleSeg",
    ),
    "c. paddleseg_root without one": ({"paddleseg_root": "."}, "wheel", "paddleseg_root: there is no PaddleSeg in ."),
    "d. started inside the checkout": ({}, "wheel", "the folder of this run lies in the PaddleSeg"),
}  # fmt: skip
AS_A_STAGE = f"""
import json, sys
sys.path.insert(0, {str(ROOT / "scripts")!r})
from segcert.checkout import pinned
from segcert.stage import at_hand
found = at_hand.look(sys.argv[1], "pp_humanseg_lite", sys.argv[2], [])
at_hand.pin(sys.argv[1])
import paddleseg
print(json.dumps([pinned.imported(), paddleseg.__version__, found.env, at_hand.not_it(found, pinned.imported())]))
"""


@pytest.mark.parametrize("way", WAYS)
def test_a_way_to_bring_a_checkout_is_right(tmp_path, bare, plan_run, monkeypatch, way):
    """What is imported, what records say and what the plan follows are one; an edit of that alone counts."""
    asked, which, note = WAYS[way]
    (python, packages), checkout = bare, other(tmp_path / "seg")
    finder = "import importlib.machinery as m, sys\nclass E:\n    def find_spec(n, path=None, target=None):\n"
    finder += f"        return m.PathFinder.find_spec(n, [{str(checkout)!r}]) if n == 'paddleseg' else None\n"
    planted = {}
    if way.startswith("a"):
        monkeypatch.setenv("PYTHONPATH", str(checkout))
    elif way.startswith("b1"):
        planted[packages / "checkout.pth"] = f"{checkout}\n"
        (packages / "paddleseg").rename(packages / "moved")
    elif way.startswith("b2"):
        planted[packages / "at_start.pth"] = f"import sys; sys.path.insert(0, {str(checkout)!r})\n{checkout}\n"
    elif way.startswith("b3"):
        planted[packages / "at_start.py"] = f"{finder}sys.meta_path.append(E)\n"
    elif way.startswith("d"):
        monkeypatch.chdir(checkout)
    before = {path: path.read_text() if path.exists() else None for path in planted}
    try:
        for path, text in planted.items():
            path.write_text(text)
        run = plan_run({**PLAN, "python": python, **asked}, Start(main=False))
        expected = {"wheel": packages, "checkout": checkout}[which]
        assert run.paddleseg.folder == expected
        notes = list(run.paddleseg_notes)
        assert len(notes) == bool(note) and all(text.startswith(note) for text in notes), notes
        config = ROOT / "config/models/pp_humanseg_lite.yml"
        done = subprocess.run(
            [python, "-c", AS_A_STAGE, run.stage_paddleseg, config], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        imported, version, env, wrong = json.loads(done.stdout)
        assert (imported, env["paddleseg_folder"], wrong) == ([str(expected)], str(expected), None)
        assert version == env["paddleseg"] == {"wheel": "2.8.0", "checkout": "0.0.0.dev0"}[which]
        assert env["paddleseg_hash"] == run.paddleseg_hashes["pp_humanseg_lite"]
        (checkout / "paddleseg/new.py").write_text("x = 1\n")
        again = plan_run({**PLAN, "python": python, **asked}, Start(main=False))
        assert (again.paddleseg_hashes != run.paddleseg_hashes) == (which == "checkout")
    finally:
        for path, text in before.items():
            path.write_text(text) if text is not None else path.unlink()
        if (packages / "moved").is_dir():
            (packages / "moved").rename(packages / "paddleseg")


def test_what_it_is(tmp_path):
    wheel = tree.Tree(tree.installed())
    assert (wheel.version, wheel.commit, wheel.branch, wheel.edited) == ("2.8.0", None, None, [])
    checkout = tree.Tree(checkouts.make(tmp_path / "seg"))
    commit = checkouts.git(checkout.folder, "rev-parse", "HEAD")
    assert (checkout.version, checkout.commit, checkout.branch, checkout.edited) == ("2.8.0", commit, "develop", [])
    assert checkout.digest == wheel.digest, "it is what the files hold that counts"
    assert tree.said(checkout.env) == f"develop, {commit[:8]}"
    checkouts.edit(checkout.folder, "max_pool", "avg_pool")
    (checkout.folder / "paddleseg/models/new.py").write_text("class New: pass\n")
    (checkout.folder / "README.md").write_text("not of the package\n")
    edited = tree.Tree(checkout.folder)
    assert edited.edited == ["paddleseg/models/new.py", checkouts.MODEL_FILE] and edited.digest != wheel.digest
    assert tree.said(edited.env).endswith(f"edited: 2 files (paddleseg/models/new.py, {checkouts.MODEL_FILE})")
    checkouts.git(checkout.folder, "checkout", "-q", "--detach")
    assert tree.Tree(checkout.folder).branch is None


def test_an_edited_wheel_is_edited_and_what_lies_in_a_strangers_repository_has_no_commit(tmp_path):
    checkouts.git(tmp_path, "init", "-q")
    (tmp_path / ".gitignore").write_text("env\n")
    checkouts.git(tmp_path, "add", "-A")
    checkouts.git(tmp_path, "commit", "-q", "-m", "another project")
    folder = checkouts.plain(tmp_path / "env")
    shutil.copytree(next(tree.installed().glob("paddleseg-*.dist-info")), folder / "paddleseg-2.8.0.dist-info")
    found = tree.Tree(folder)
    assert (found.commit, found.edited, tree.said(found.env)) == (None, [], "2.8.0, as installed")
    checkouts.edit(folder, "max_pool", "avg_pool")
    (folder / "paddleseg/models/unet.py").unlink()
    found = tree.Tree(folder)
    assert found.edited == [checkouts.MODEL_FILE, "paddleseg/models/unet.py"]
    assert tree.said(found.env).startswith("2.8.0, edited: 2 files")
    shutil.rmtree(folder / "paddleseg-2.8.0.dist-info")
    assert tree.Tree(folder).edited is None and tree.said(tree.Tree(folder).env) == "2.8.0, edited or not: unknown"
    (folder / "paddleseg/__init__.py").write_bytes(b"\xef\xbb\xbf__version__ = '3'\n")
    assert tree.Tree(folder).version == "3"
    (folder / "paddleseg/__init__.py").write_text("from . import models\n")
    assert tree.Tree(folder).version is None and tree.said(tree.Tree(folder).env).startswith("of no version, ")
    for worked_out in ("def (\n", "__version__ = '3'\n__version__ += '.dev'\n", "from .models import __version__\n"):
        (folder / "paddleseg/__init__.py").write_text(worked_out)
        assert tree.Tree(folder).version is None


def test_the_index_and_the_surroundings_of_git_are_not_asked_whether_it_is_edited(tmp_path, monkeypatch):
    folder = checkouts.make(tmp_path / "seg")
    checkouts.git(folder, "update-index", "--assume-unchanged", checkouts.MODEL_FILE)
    checkouts.edit(folder, "max_pool", "avg_pool")
    (folder / ".git/info/exclude").write_text("ignored.py\n")
    (folder / "paddleseg/models/ignored.py").write_text("")
    (folder / "paddleseg/models/unet.py").unlink()
    edited = [f"paddleseg/models/{name}.py" for name in ("ignored", "pphumanseg_lite", "unet")]
    assert tree.Tree(folder).edited == edited
    other_one = checkouts.make(tmp_path / "other")
    checkouts.git(other_one, "commit", "-q", "--allow-empty", "-m", "another")
    commit = tree.Tree(folder).commit
    monkeypatch.setenv("GIT_DIR", str(other_one / ".git"))
    assert (tree.Tree(folder).commit, tree.Tree(folder).edited) == (commit, edited)
    for part in (folder / ".git/objects").iterdir():
        shutil.rmtree(part)
    assert (tree.Tree(folder).commit, tree.Tree(folder).edited) == (commit, None), "what it holds is not there"
    monkeypatch.setenv("PATH", "")
    assert tree.Tree(folder).commit is None and "edited or not: unknown" in tree.said(tree.Tree(folder).env)


def test_scripts_beside_the_package_are_part_of_a_checkout(tmp_path):
    folder = checkouts.plain(tmp_path / "seg")
    (folder / "tools").mkdir()
    (folder / "tools/val.py").write_text("")
    checkouts.git(folder, "init", "-q", "--object-format=sha256")
    checkouts.git(folder, "add", "-A")
    checkouts.git(folder, "commit", "-q", "-m", "all")
    assert tree.Tree(folder).edited == []
    (folder / "tools/val.py").write_text("x = 1\n")
    assert tree.Tree(folder).edited == ["tools/val.py"]


def test_configurations_are_part_of_a_checkout(tmp_path):
    """A params file of it names one of them, which inherits from others."""
    folder = checkouts.plain(tmp_path / "seg")
    names = ["configs/_base_/a.yml", "test_tipc/configs/m/m.yml", "test_tipc/configs/m/train_infer_python.txt"]
    for name in [*names, "deploy/cpp/CMakeLists.txt", "deploy/a.yaml", "mkdocs.yml"]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("iters: 1\n")
    repository(folder)
    assert tree.Tree(folder).edited == []
    for name in ("deploy/cpp/CMakeLists.txt", "mkdocs.yml", "mine.yml"):
        (folder / name).write_text("of no model\n")
    assert tree.Tree(folder).edited == []
    new = ["configs/_base_/new.yml", "configs/mine/deep/er.yml", "deploy/b.yaml"]
    data = ["deploy/data/of_a_set.yml", "configs/_base_/.#new.yml", "configs/.ipynb_checkpoints/a.yml"]
    for name in (*names, *new, *data):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("iters: 2\n")
    assert tree.Tree(folder).edited == [names[0], *new, *names[1:]]
    (folder / names[1]).unlink()
    assert names[1] in tree.Tree(folder).edited


def test_of_folders_of_code_beside_what_is_no_code_is_no_part(tmp_path):
    folder = checkouts.plain(tmp_path / "seg")
    for name in ("tools/val.py", "kit/__init__.py", "kit/notes.txt.old", "kit/picture.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("")
    repository(folder)
    (folder / "kit/picture.png").unlink()
    assert tree.Tree(folder).edited == []
    (folder / "kit/__init__.py").unlink()
    (folder / "kit/__init__.py").write_text("x = 1\n")
    assert tree.Tree(folder).edited == ["kit/__init__.py"]


def test_compiled_modules_of_the_package_are_imported_as_they_are(tmp_path):
    """Of an extension there is no source, nor of a .pyc beside no file."""
    package = tmp_path / "paddleseg"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "part.py").write_text("x = 1\n")
    py_compile.compile(str(package / "part.py"), cfile=str(package / "part.pyc"))
    (package / "part.py").unlink()
    (package / "space").mkdir()
    finder = pinned.Finder(tmp_path)
    assert finder.find_spec("paddleseg.part").origin == str(package / "part.pyc")
    assert finder.find_spec("paddleseg.space").submodule_search_locations == [str(package / "space")]
    with pytest.raises(ModuleNotFoundError):
        finder.find_spec("paddleseg.nothing")


def test_code_that_a_script_may_import_is_part_of_a_checkout(tmp_path):
    """It lies beside the script, or at the checkout's root, which is the script's PYTHONPATH."""
    folder = checkouts.plain(tmp_path / "seg")
    (folder / "tools").mkdir()
    for name in ("tools/val.py", "tools/train.py", "tools/README.md", "setup.py"):
        (folder / name).write_text("")
    repository(folder)
    (folder / "tools/.#val.py").symlink_to("somebody@a.host:1")  # an editor's mark
    (folder / "docs").mkdir()
    (folder / "docs/conf.py").write_text("of no package")
    assert tree.Tree(folder).edited == []
    (folder / "yaml").mkdir()
    for name in ("tools/numpy.py", "yaml.py", "yaml/__init__.py"):
        (folder / name).write_text("")
    (folder / "tools/train.py").unlink()
    assert tree.Tree(folder).edited == ["tools/numpy.py", "tools/train.py", "yaml.py", "yaml/__init__.py"]
    for name in ("tools/numpy.py", "yaml.py", "yaml/__init__.py"):
        (folder / name).unlink()
    shutil.rmtree(folder / "tools")
    assert tree.Tree(folder).edited == [], "as with a sparse checkout: they are not there to be run"


BESIDE = {"contrib/one.py", "contrib/more/fast.so", "lib/two.py", "lib/more/three.py"}


@pytest.mark.parametrize(
    ("line", "beside"),
    [
        ("", set()),
        ("# from a.contrib import one", set()),
        ("import paddleseg.contrib", set()),
        ("print('to contrib')", set()),
        ("import os, contrib.one", BESIDE),
        ("import os, \\\n    contrib", BESIDE),
        ("load('contrib.one')", BESIDE),
        ("from lib import two", {"lib/two.py", "lib/more/three.py"}),
        ("import sys\nsys.path.insert(0, there)", BESIDE),
    ],
)  # fmt: skip
def test_folders_at_the_root_count_where_a_script_may_import_them(tmp_path, line, beside):
    """They need no `__init__.py` for that; so do those that what is imported may import."""
    texts = {"tools/val.py": line, "contrib/one.py": "import lib.two", "lib/two.py": "", "outside/three.py": ""}
    for name, text in {**texts, "contrib/more/fast.so": "", "contrib/.two.py": "", "contrib/README.md": ""}.items():
        (tmp_path / "seg" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "seg" / name).write_text(text)
    (tmp_path / "seg/outside").rename(tmp_path / "outside")
    (tmp_path / "seg/lib/more").symlink_to(tmp_path / "outside")
    (tmp_path / "outside/again").symlink_to(tmp_path / "seg/lib")
    assert sources.beside(tmp_path / "seg", ["tools"]).keys() == {"tools/val.py", *beside}


def test_links_and_ends_of_lines_are_no_edits_where_git_made_them(tmp_path):
    folder = checkouts.plain(tmp_path / "seg")
    (folder / "paddleseg/models/again.py").symlink_to("unet.py")
    (folder / "paddleseg/models/losses_again").symlink_to("losses")
    (folder / ".gitattributes").write_text("*.py text eol=crlf\n")
    for file in folder.rglob("*.py"):
        file.write_bytes(file.read_bytes().replace(b"\r\n", b"\n"))
    (folder / "paddleseg/outside.py").symlink_to(tmp_path / "outside.py")
    repository(folder)
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", folder, clone], check=True)
    unet = clone / "paddleseg/models/unet.py"
    assert b"\r\n" in unet.read_bytes()
    outside = ["paddleseg/outside.py"]
    assert tree.Tree(clone).edited == outside, "what it leads to, no commit holds"
    unet.write_bytes(unet.read_bytes() + b"x = 1\r\n")
    assert tree.Tree(clone).edited == ["paddleseg/models/unet.py", *outside]
    checkouts.git(clone, "checkout", "-q", ".")
    (clone / "paddleseg/models/again.py").unlink()
    (clone / "paddleseg/models/again.py").symlink_to("enet.py")
    (clone / ".gitattributes").write_text("")
    found = tree.Tree(clone).edited
    assert "paddleseg/models/again.py" in found and len(found) > 100, "git would write them otherwise now"


def repository(folder):
    checkouts.git(folder, "init", "-q")
    checkouts.git(folder, "add", "-A")
    checkouts.git(folder, "commit", "-q", "-m", "all")


def test_a_name_that_is_no_text_is_told_of_all_the_same(tmp_path):
    folder = checkouts.make(tmp_path / "seg")
    Path(os.fsdecode(os.fsencode(folder / "paddleseg") + b"/\xff.txt")).write_text("")
    found = tree.Tree(folder)
    assert found.edited == ["paddleseg/\\xff.txt"] and found.digest != tree.Tree(tree.installed()).digest


def test_links_are_followed_as_an_import_follows_them(tmp_path):
    folder = checkouts.plain(tmp_path / "seg")
    (folder / "paddleseg/models").rename(tmp_path / "models")
    (folder / "paddleseg/models").symlink_to(tmp_path / "models")
    (tmp_path / "models/up").symlink_to(tmp_path)
    assert tree.Tree(folder).files == tree.Tree(tree.installed()).files
    shutil.rmtree(tmp_path / "models/__pycache__", ignore_errors=True)


PLAN = {"mode": "smoke", "hardware": "cpu", "models": ["pp_humanseg_lite"]}


def test_the_key_and_what_is_refused(tmp_path, plan_run, monkeypatch):
    one, two = checkouts.plain(tmp_path / "one"), checkouts.plain(tmp_path / "two")
    assert plan_run(PLAN, Start()).paddleseg.folder == tree.installed()
    named = plan_run({**PLAN, "paddleseg": "one"}, Start())
    assert named.paddleseg.folder == one and named.stage_paddleseg == "./one"
    assert plan_run({**PLAN, "paddleseg": "one/paddleseg"}, Start()).paddleseg.folder == one
    assert plan_run({**PLAN, "paddleseg": "installed"}, Start()).stage_paddleseg == "installed"
    assert plan_run({**PLAN, "paddleseg_root": "two"}, Start()).paddleseg.folder == two
    monkeypatch.setenv("HOME", str(tmp_path))
    assert plan_run({**PLAN, "paddleseg": "~/one"}, Start()).paddleseg.folder == one
    for wrong in ("nowhere", str(tmp_path), "~nobody/seg"):
        with pytest.raises(ConfigError, match=rf'^paddleseg: "{wrong}" is refused: there is no paddleseg/__init__\.py'):
            plan_run({**PLAN, "paddleseg": wrong}, Start())
    (two / "paddleseg/models/unet.py").write_text("def (\n")
    with pytest.raises(
        ConfigError, match=r"two cannot be imported: SyntaxError: .* \(.*two/paddleseg/models/unet\.py, line 1\)"
    ):
        plan_run({**PLAN, "paddleseg": "two"}, Start())
    (two / "paddleseg/models/unet.py").write_text("raise SystemExit(0)\n")
    with pytest.raises(ConfigError, match=r"two cannot be imported: it ends Python with exit code 0"):
        plan_run({**PLAN, "paddleseg": "two"}, Start())
    (two / "paddleseg/models/unet.py").write_text("from paddleseg.models.layers import nosuch\n")
    with pytest.raises(
        ConfigError, match=r"two cannot be imported: ImportError: cannot import name 'nosuch' .*unet\.py, line 1\)"
    ):
        plan_run({**PLAN, "paddleseg": "two"}, Start())
    assert plan_run({**PLAN, "paddleseg": "two"}, Start(main=False)).paddleseg.folder == two, "asked once a run"
    (two / "paddleseg/models/unet.py").unlink()
    (two / "paddleseg/weights.bin").symlink_to("/proc/self/mem")  # a file that is there and gives an error
    with pytest.raises(ConfigError, match=r"two/paddleseg/weights\.bin: cannot be read: Input/output error"):
        plan_run({**PLAN, "paddleseg": "two"}, Start())
    one.rename(tmp_path / "installed")
    assert plan_run({**PLAN, "paddleseg": "./installed"}, Start()).stage_paddleseg == "./installed"
    (tmp_path / "installed").rename(one)
    in_conda = plan_run({**PLAN, "paddleseg": "installed"}, Start(in_conda=True))
    assert in_conda.paddleseg is None and in_conda.stage_paddleseg == "installed" and in_conda.config["paddleseg"] == {}
    assert plan_run({**PLAN, "paddleseg": "one"}, Start(in_conda=True)).paddleseg.folder == one


def test_another_is_never_run_in_the_place_of_one_that_was_named(tmp_path, plan_run, monkeypatch):
    """Whatever goes wrong with it: an import that takes for ever, a folder that nobody may look at."""
    seg, empty = checkouts.plain(tmp_path / "seg"), other(tmp_path / "empty")
    with pytest.raises(
        ConfigError, match=r'^paddleseg: "x{300}" is refused: it cannot be looked at: File name too long'
    ):
        plan_run({**PLAN, "paddleseg": "x" * 300}, Start())
    with pytest.raises(
        ConfigError, match=rf"^paddleseg: {empty} cannot be imported: .*No module named 'paddleseg\.core'"
    ):
        plan_run({**PLAN, "paddleseg": "empty"}, Start())
    with pytest.raises(ConfigError, match=r'^paddleseg_root: "nowhere" is refused: there is no such folder'):
        plan_run({**PLAN, "paddleseg_root": "nowhere"}, Start())
    fails = tmp_path / "fails"
    fails.write_text("#!/bin/sh\nexit 3\n")
    fails.chmod(0o755)
    run = plan_run({**PLAN, "paddleseg": "seg", "python": str(fails)}, Start())
    assert (run.paddleseg.folder, run.stage_paddleseg) == (seg, "./seg"), "the first job says what is wrong with it"
    run = plan_run({**PLAN, "python": str(fails)}, Start())
    assert (run.paddleseg, run.stage_paddleseg) == (None, "installed")
    checkouts.edit(seg, "from . import models", "import time; time.sleep(60)\nfrom . import models", INIT)
    fails.write_text(f'#!/bin/sh\ncase "$2" in *installed*) exec {sys.executable} "$@";; esac\nexit 3\n')
    with pytest.raises(ConfigError, match=rf"seg cannot be imported: {fails} ended with exit code 3"):
        plan_run({**PLAN, "paddleseg": "seg", "python": str(fails)}, Start())
    monkeypatch.setattr(tree, "IMPORT_S", 0.5)
    with pytest.raises(
        ConfigError, match=r"seg cannot be imported: not within 0\.5 s; look what it does at its import"
    ):
        plan_run({**PLAN, "paddleseg": "seg"}, Start())


def test_a_folder_that_nobody_may_look_at_holds_none(tmp_path, monkeypatch):
    """Root may look everywhere, so here it is the system's answer that is made."""

    def refused(*_, **__):
        raise PermissionError(13, "Permission denied")

    other(tmp_path)
    assert tree.is_package(tmp_path)
    monkeypatch.setattr(Path, "stat", refused)
    assert not tree.is_package(tmp_path) and tree.above(tmp_path / "x") is None
    with pytest.raises(ConfigError, match="is refused: it cannot be looked at: Permission denied"):
        tree.named(str(tmp_path))


def test_in_an_environment_that_is_not_made_yet_nobody_knows_what_is_installed(tmp_path, plan_run, monkeypatch):
    """And another Python on the path says nothing of it."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    for asked in ("auto", "installed"):
        run = plan_run({**PLAN, "paddleseg": asked}, Start(in_conda=True))
        assert (run.paddleseg, run.stage_paddleseg, run.paddleseg_hashes) == (None, "installed", {})
        (note,) = run.paddleseg_notes
        assert note.startswith("paddleseg: installed: which one that is, records say once Snakemake has made")


def test_auto_takes_the_checkout_that_a_params_file_lies_in(tmp_path):
    files = []
    for name in ("one", "two"):
        folder = other(tmp_path / name) / "test_tipc/configs/m"
        folder.mkdir(parents=True)
        files.append(folder / "train_infer_python.txt")
    chosen = tree.chosen("auto", None, files[:1], sys.executable)
    assert chosen.folder == tmp_path / "one"
    assert tree.chosen("installed", None, files, sys.executable).folder == tree.installed()
    with pytest.raises(ConfigError, match=r"lie in several PaddleSegs, .*one, .*two; name the one"):
        tree.chosen("auto", None, files, sys.executable)
    assert tree.chosen("auto", None, [tmp_path / "x.txt"], sys.executable).folder == tree.installed()
    assert settings.resolve(*settings.completed({}, {}, ROOT / "config/config.yaml"), "c")["paddleseg"] == "auto"


def test_a_checkout_that_is_not_used_is_told_of(tmp_path, plan_run, monkeypatch):
    checkout = checkouts.plain(tmp_path / "seg")
    (checkout / "own.yml").write_text(f"_base_: {ROOT}/config/models/pp_humanseg_lite.yml\n")
    mine = {**PLAN, "model_zoo": {"pp_humanseg_lite": {"config": "seg/own.yml"}}}
    (note,) = plan_run(mine, Start()).paddleseg_notes
    assert note.startswith(f"the configuration of pp_humanseg_lite lies in the PaddleSeg {checkout}, which is not used")
    assert not list(plan_run({**mine, "paddleseg": "seg"}, Start()).paddleseg_notes)
    assert not list(plan_run(PLAN, Start()).paddleseg_notes)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'nothing'}{os.pathsep}{checkout}")
    (note,) = plan_run(PLAN, Start()).paddleseg_notes
    assert note.startswith(f"PYTHONPATH lies in the PaddleSeg {checkout}")
    monkeypatch.delenv("PYTHONPATH")
    monkeypatch.chdir(checkout)
    (note,) = plan_run(PLAN, Start()).paddleseg_notes
    assert note.startswith("the folder of this run lies in")


# -- a run -------------------------------------------------------------------------------------

PAGE = (ROOT / "docs/working-tree.md").read_text(encoding="utf-8")
CLONE, CERTIFY, LOOK, AGAIN = re.findall(r"^```bash\n(.*?)^```", PAGE, re.M | re.S)
LITE = "results/smoke/pp_humanseg_lite/single_fp32"


def typed(folder, block, **variables):
    """What a block of commands of the page prints."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = ["bash", "-euo", "pipefail", "-c", block]
    environment = {**os.environ, "PATH": path, **variables}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, done.stderr


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A folder with a checkout of PaddleSeg, certified by the page's commands while PYTHONPATH has a broken one."""
    assert CLONE.startswith("git clone "), "the one that needs a network: here the checkout is made"
    folder = copy_project(tmp_path_factory.mktemp("checkout") / "run")
    checkout = checkouts.make(folder / "PaddleSeg")
    broken = folder / "broken/paddleseg"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise RuntimeError('nobody asked for this one')\n")
    printed, told = typed(folder, CERTIFY, PYTHONPATH=str(folder / "broken"))
    assert f"note: PYTHONPATH lies in the PaddleSeg {folder}/broken, which is not used" in told
    commit = checkouts.git(checkout, "rev-parse", "HEAD")
    corrected = "Trained with corrected losses in the place of its CrossEntropyLoss, OhemCrossEntropyLoss."
    assert printed.splitlines()[-1] == f"PaddleSeg: develop, {commit[:8]}; `{checkout}`. {corrected}"
    return folder


def planned(folder, *arguments):
    done = snakemake(folder, "--configfile", "tree.yaml", "-n", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return planned_jobs(done.stdout), done.stdout


def test_records_and_conclusions_say_which_one_ran(ran):
    checkout = tree.Tree(ran / "PaddleSeg")
    for stage in (
        "train",
        "eval",
        "export",
        "infer/python_infer_cpu_usemkldnn_False_threads_1_precision_fp32_batchsize_1",
    ):
        found = record.read(ran / LITE / f"{stage}.json")
        assert (
            found["env"].items()
            >= {**checkout.env, "paddleseg_hash": checkout.hash_of(CONTENTS["pp_humanseg_lite"])}.items()
        )
        assert "--paddleseg ./PaddleSeg " in found["command"]
    concluded = json.loads((ran / "results/smoke/conclusions.json").read_text())
    assert concluded["scope"]["paddleseg"]["files"] == checkout.files
    words = f"develop, {checkout.commit[:8]}; `{checkout.folder}`"
    for name, before in (("conclusions.md", "PaddleSeg: "), ("conclusions.zh.md", "PaddleSeg：")):
        assert (
            f"{before}{words}".replace("; ", "；" if "zh" in name else "; ")
            in (ran / "results/smoke" / name).read_text()
        )
    assert f"develop, {checkout.commit[:8]}" in (ran / "results/smoke/conclusions.html").read_text()


STALE = {"train": 1, "evaluate": 1, "export": 1, "infer": 1, "write_run_config": 1, "conclude": 1, "page": 1}


def test_an_edit_makes_its_models_chain_stale_and_no_others(ran):
    assert planned(ran)[0] == {}
    checkouts.edit(ran / "PaddleSeg", "max_pool", "avg_pool")
    jobs, told = planned(ran)
    assert jobs == STALE and "pp_liteseg" not in told
    checkouts.git(ran / "PaddleSeg", "commit", "-q", "-a", "-m", "another pool")
    assert planned(ran)[0] == STALE, "an edit is an edit, also when it is committed"
    checkouts.git(ran / "PaddleSeg", "revert", "--no-edit", "HEAD")
    jobs, _ = planned(ran)
    assert jobs == dict.fromkeys(("write_run_config", "conclude", "page"), 1), "another commit with the same content"
    checkouts.edit(ran / "PaddleSeg", "import", "import", "paddleseg/models/unet.py")
    os.utime(ran / "PaddleSeg/paddleseg/models/unet.py")
    (ran / "PaddleSeg/README.md").write_text("text")
    assert planned(ran)[0] == jobs, "of a model that is not asked for"
    config = ran / "config/models/pp_humanseg_lite.yml"
    text, stat = config.read_text(), config.stat()
    config.write_text(text.replace("learning_rate: 0.0075", "learning_rate: 0.0076"))
    os.utime(config, (1, 1))  # as a copy that keeps the time it was edited at
    assert text != config.read_text()
    found, told = planned(ran)
    assert found == STALE and "pp_liteseg" not in told
    config.write_text(text)
    os.utime(config, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    checkouts.edit(ran / "PaddleSeg", "def resize", "def  resize", "paddleseg/transforms/functional.py")
    assert planned(ran)[0] == {key: 2 * (key not in jobs) or 1 for key in STALE}, "what all models run"
    checkouts.git(ran / "PaddleSeg", "checkout", "-q", ".")


def test_the_file_that_was_edited_is_named_by_a_comparison(ran):
    before = json.loads((ran / "results/smoke/conclusions.json").read_text())
    after = json.loads(json.dumps(before))
    after["scope"]["paddleseg"]["files"][checkouts.MODEL_FILE] = "0" * 16
    for cell in (cell for cell in after["cells"] if cell["stage"] == "train" and "env" in cell):
        cell["env"] |= {"paddleseg_commit": "f" * 40, "paddleseg_edited": [checkouts.MODEL_FILE]}
    for name, content in (("a", before), ("b", after)):
        (ran / f"{name}.json").write_text(json.dumps(content))
    command = [sys.executable, "scripts/compare.py", "--baseline", "a.json", "--candidate", "b.json", "--settings"]
    command += [json.dumps(yaml.safe_load((ROOT / "config/config.yaml").read_text())["compare"])]
    done = subprocess.run([*command, "--markdown", "c.md", "--json", "c.json"], cwd=ran, capture_output=True, text=True)
    text = (ran / "c.md").read_text()
    assert done.returncode == 0 and f"`{checkouts.MODEL_FILE}`" in text and "f" * 40 in text, done.stderr + text
    assert "paddleseg_hash" not in text and "environments are equal" not in text


# -- one stage ---------------------------------------------------------------------------------


def train(folder, dataset, *arguments, program=None):
    options = ["--iters", "2", "--batch-size", "2", "--workers", "0", *arguments]
    if program is None:
        return stages.train(folder, dataset, *options)
    fixed = [
        "--config",
        stages.CONFIG,
        "--dataset",
        dataset,
        "--checkpoint",
        "model.pdparams",
        "--history",
        "history.csv",
    ]
    command = [
        program,
        ROOT / "scripts/train.py",
        *stages.MODEL,
        *fixed,
        "--record",
        "train.json",
        "--log",
        "train.log",
    ]
    command += [*stages.SIZE, *options]
    return subprocess.run(list(map(str, command)), cwd=folder, capture_output=True, text=True, timeout=300, check=False)


def test_a_regression_in_its_losses_turns_a_training_red(tmp_path, dataset):
    """P3: also where the loss would be replaced for another fault."""
    checkout = checkouts.plain(tmp_path / "seg")
    checkouts.edit(
        checkout, "    def forward(self, logit, label",
        "    def forward(self, *_, **__):\n        raise RuntimeError('P3')\n\n    def former(self, logit, label",
        "paddleseg/models/losses/cross_entropy_loss.py",
    )  # fmt: skip
    done = train(tmp_path, dataset, "--paddleseg", checkout)
    failed = record.read(tmp_path / "train.failed.json")
    assert done.returncode == 1 and "RuntimeError: P3" in failed["reason"]
    assert failed["env"]["paddleseg_folder"] == str(checkout)


ELSEWHERE = """
import importlib.machinery, sys
class Finder:
    def find_spec(name, path=None, target=None):
        if name == "paddleseg.blocks":
            return importlib.machinery.PathFinder.find_spec(name, [{folder!r}])
sys.meta_path.{where}
"""


def test_a_module_that_it_lacks_comes_from_nowhere_else(tmp_path, dataset):
    """As with a second checkout that was installed to be edited; also where that is asked first."""
    checkout, second = checkouts.plain(tmp_path / "seg"), tmp_path / "second"
    (second / "blocks").mkdir(parents=True)
    (second / "blocks/__init__.py").write_text("")
    checkouts.edit(checkout, "import paddle\n", "import paddle\nimport paddleseg.blocks\n")
    for where, words in (
        ("append(Finder)", f"No module named 'paddleseg.blocks' in {checkout}"),
        ("insert(0, Finder)", f"No module named 'paddleseg.blocks' in {checkout}"),
    ):
        python = interpreter(tmp_path / f"env{len(where)}", ELSEWHERE.format(folder=str(second), where=where))
        done = train(tmp_path, dataset, "--paddleseg", checkout, program=python)
        assert done.returncode == 1 and words in record.read(tmp_path / "train.failed.json")["reason"]
    checkouts.edit(checkout, "from . import models", f"__path__.append({str(second)!r})\nfrom . import models", INIT)
    done = train(tmp_path, dataset, "--paddleseg", checkout)
    assert done.returncode == 1 and words in record.read(tmp_path / "train.failed.json")["reason"]


INIT = "paddleseg/__init__.py"


def test_what_runs_is_what_the_files_hold_and_not_code_that_was_compiled_from_them_before(tmp_path):
    """An edit may keep size and time of a file, by which Python takes compiled code for its own."""
    (tmp_path / ".snakemake").mkdir()
    folder = other(tmp_path / "seg")
    init = folder / INIT
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'scripts')!r}); from pathlib import Path\n"
        "from segcert.checkout import pinned; pinned.pin(Path('seg').resolve()); import paddleseg\n"
        "print(paddleseg.__version__, *pinned.imported())"
    )

    def version():
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.split()

    subprocess.run(
        [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", folder], check=True
    )
    assert version() == ["0.0.0.dev0", str(folder)]
    kept = list((tmp_path / ".snakemake/paddleseg").iterdir())
    assert len(kept) == 1
    stat = init.stat()
    init.write_text(init.read_text().replace("dev0", "dev1"))
    os.utime(init, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert version() == ["0.0.0.dev1", str(folder)] == version()
    for damage in (b"", b"no code", b"i\x01\0\0\0"):
        for file in (tmp_path / ".snakemake/paddleseg").iterdir():
            file.write_bytes(damage)
        assert version() == ["0.0.0.dev1", str(folder)]
    shutil.rmtree(tmp_path / ".snakemake")
    assert version() == ["0.0.0.dev1", str(folder)] and not (tmp_path / ".snakemake").exists()
    (folder / "paddleseg/spaced").mkdir()
    (folder / "paddleseg/spaced/x.py").write_text("y = 7\n")
    code = code.replace("import paddleseg\n", "import paddleseg, paddleseg.spaced.x\n")
    assert version()[0] == "0.0.0.dev1"


def test_conclusions_name_the_one_that_records_name_where_the_plan_knew_none():
    from segcert import conclusions

    env = {"paddleseg": "2.8.0", "paddleseg_folder": "/env", "paddleseg_edited": [], "paddle": "3"}
    entries = [{"env": {**env, "paddleseg_hash": "1"}}, {"env": {**env, "paddleseg_hash": "2"}}, {}, {"env": {}}]
    found = conclusions._observed_paddleseg(entries)
    assert found == {"paddleseg": "2.8.0", "paddleseg_folder": "/env", "paddleseg_edited": []}
    assert tree.said(found) == "2.8.0, as installed"
    assert conclusions._observed_paddleseg([*entries, {"env": {**env, "paddleseg_edited": ["x.py"]}}]) is None


def test_one_that_was_imported_before_is_not_taken_for_another(tmp_path, dataset):
    before, asked = checkouts.plain(tmp_path / "before"), checkouts.plain(tmp_path / "asked")
    at_start = (
        "import sys, types\nm = types.ModuleType('paddleseg')\n"
        f"m.__file__, m.__path__ = {str(before / 'paddleseg/__init__.py')!r}, [{str(before / 'paddleseg')!r}]\n"
        "sys.modules['paddleseg'] = m\n"
    )
    python = interpreter(tmp_path / "env", at_start)
    done = train(tmp_path, dataset, "--paddleseg", asked, program=python)
    reason = record.read(tmp_path / "train.failed.json")["reason"]
    assert done.returncode == 1 and f"paddleseg was imported from {before}, and {asked} was asked for" in reason


def test_the_package_itself_may_be_named_as_well(tmp_path, dataset):
    checkout = checkouts.plain(tmp_path / "seg")
    done = train(tmp_path, dataset, "--paddleseg", checkout / "paddleseg")
    assert done.returncode == 0, done.stderr
    assert record.read(tmp_path / "train.json")["env"]["paddleseg_folder"] == str(checkout)


def test_a_folder_that_is_none_fails_a_stage_by_name(tmp_path, dataset):
    done = train(tmp_path, dataset, "--paddleseg", tmp_path / "nowhere")
    assert done.returncode == 1
    assert "there is no paddleseg/__init__.py in it" in record.read(tmp_path / "train.failed.json")["reason"]
    checkout = checkouts.plain(tmp_path / "seg")
    (checkout / "paddleseg/models/unet.py").write_text("def (\n")
    assert train(tmp_path, dataset, "--paddleseg", checkout).returncode == 1
    reason = record.read(tmp_path / "train.failed.json")["reason"]
    assert reason.startswith("SyntaxError: invalid syntax (unet.py, line 1)")


def test_where_none_is_installed_a_stage_fails_by_name(tmp_path, dataset):
    """An environment with all that is in this one, but for PaddleSeg."""
    python = interpreter(tmp_path / "env", "")
    own = next((tmp_path / "env/lib").glob("python*/site-packages"))
    (own / "at_start.pth").write_text("import at_start\n")
    for path in tree.installed().iterdir():
        if not path.name.startswith("paddleseg") and not (own / path.name).exists():
            (own / path.name).symlink_to(path)
    done = train(tmp_path, dataset, "--paddleseg", "installed", program=python)
    assert (
        done.returncode == 1 and "No module named 'paddleseg'" in record.read(tmp_path / "train.failed.json")["reason"]
    )


EDITING = """
import sys
from pathlib import Path
if "train.py" in sys.argv[0]:
    import os
    file = Path(os.environ["EDITED"])
    if os.environ.get("SEGCERT_WORKER"):
        before = file.read_text()
        file.write_text(before + "# later\\n")
        file.write_text(before)  # there and back: what was imported, nobody knows
"""


def test_an_edit_while_a_stage_works_fails_it(tmp_path, dataset, monkeypatch):
    checkout = checkouts.plain(tmp_path / "seg")
    monkeypatch.setenv("EDITED", str(checkout / checkouts.MODEL_FILE))
    python = interpreter(tmp_path / "env", EDITING)
    done = train(tmp_path, dataset, "--paddleseg", checkout, program=python)
    reason = record.read(tmp_path / "train.failed.json")["reason"]
    assert (
        done.returncode == 1
        and reason == f"{checkout}/{checkouts.MODEL_FILE} was edited while it was worked with; run it again"
    )


def test_an_edit_of_another_models_file_while_a_stage_works_does_it_no_harm(tmp_path):
    from segcert.stage import at_hand

    seg, config = checkouts.make(tmp_path / "seg"), ROOT / "config/models/pp_humanseg_lite.yml"
    found = at_hand.look(str(seg), None, str(config), [])
    unet = seg / "paddleseg/models/unet.py"
    checkouts.edit(seg, "import paddle\n", "import  paddle\n", "paddleseg/models/unet.py")
    assert found.changed() is None and found.env["paddleseg_edited"] == [], "as it was when the work began"
    unet.write_text("def (\n")
    assert found.changed() == f"{unet} was edited while it was worked with; run it again", "it counts for all now"
    checkouts.git(seg, "checkout", "-q", ".")
    found = at_hand.look(str(seg), None, str(config), [])
    assert found.changed() is None
    os.utime(seg / checkouts.MODEL_FILE)
    assert f"{checkouts.MODEL_FILE} was edited while" in found.changed()
    unet.touch()
    for unknown in (None, str(tmp_path / "none.yml")):
        assert "was edited while" in at_hand.AtHand(found.tree, found.hash, {}, unknown).changed()


def test_a_stage_without_a_configuration_is_held_to_the_code_of_its_parents_all_the_same(tmp_path, monkeypatch):
    """An inference has none: the hash is that of the plan or its parents, or of what the plan names."""
    from segcert.stage import at_hand

    seg, config = other(tmp_path / "seg"), str(ROOT / "config/models/pp_humanseg_lite.yml")
    above = at_hand.look(str(seg), "m", config, [])
    record_of = [{"env": above.env}]
    assert at_hand.look(str(seg), "m", None, record_of).hash == above.hash
    (seg / "paddleseg/core.py").write_text("x = 1\n")
    found = at_hand.look(str(seg), "m", None, record_of)
    assert found.hash is None
    told = found.differs_from(record_of[0], "train.json")
    hashes = rf"hash {above.env['paddleseg_tree']}\) than .*; hash {found.tree.digest}\)"
    assert re.match(rf"train\.json: was made by other code of PaddleSeg .*; {hashes}", told)
    assert found.differs_from({"env": {"paddleseg": "2.8.0"}}, "train.json") is None, "of an earlier version"
    handed_on = {"paddleseg_tree": above.env["paddleseg_tree"], "hashes": {"m": above.hash}, "configs": {"m": config}}
    monkeypatch.setenv(tree.HANDED_ON, json.dumps(handed_on))
    with pytest.raises(ConfigError, match="was edited since this run was planned; start it again"):
        at_hand.look(str(seg), "m", None, record_of)


def test_an_edit_between_the_plan_and_a_job_fails_the_job(tmp_path, dataset, monkeypatch):
    checkout = checkouts.plain(tmp_path / "seg")
    planned = {"paddleseg_tree": "f" * 16, "hashes": {"pp_humanseg_lite": "0" * 16}}
    monkeypatch.setenv(tree.HANDED_ON, json.dumps(planned))
    done = train(tmp_path, dataset, "--paddleseg", checkout)
    assert done.returncode == 1
    assert (
        "was edited since this run was planned; start it again" in record.read(tmp_path / "train.failed.json")["reason"]
    )
    for nonsense in ("no JSON", "[]"):
        monkeypatch.setenv(tree.HANDED_ON, nonsense)
        done = train(tmp_path, dataset, "--paddleseg", checkout)
        assert done.returncode == 0, done.stderr


def test_versions_are_those_of_the_imported_modules(monkeypatch):
    import cv2
    import numpy
    import paddleseg

    from segcert import machine

    assert machine.imported_versions()["opencv"] == machine.package_version("opencv-python-headless")
    monkeypatch.setattr(cv2, "__version__", "4.5.5")
    monkeypatch.setattr(numpy, "__version__", "1.99")
    found = machine.imported_versions()
    assert (found["opencv"], found["numpy"]) == ("4.5.5", "1.99")
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert "openvino" not in machine.imported_versions()
    monkeypatch.setattr(paddleseg, "__version__", "2.8")  # of a checkout: not that of the wheel beside it
    assert machine.imported_versions()["paddleseg"] == "2.8"


def test_a_version_that_no_plan_knows_makes_nothing_stale(tmp_path, plan_run):
    """The hash of what it holds does; a plan that compared versions would not believe any record."""
    folder = checkouts.plain(tmp_path / "seg")
    init = folder / "paddleseg/__init__.py"
    init.write_text(init.read_text().replace("'2.8.0'", "'.'.join('280')"))
    run = plan_run({**PLAN, "paddleseg": str(folder)}, Start())
    cells = [cell for cell in run.table.planned() if cell.definition.software]
    assert run.paddleseg.version is None and {cell.model for cell in cells} == {"pp_humanseg_lite"}
    for cell in cells:
        assert cell.software["paddleseg_hash"] and "paddleseg" not in cell.software


# -- the page ----------------------------------------------------------------------------------


@pytest.mark.long
def test_the_other_commands_of_the_page_run_and_say_what_it_says(ran):
    printed, _ = typed(ran, LOOK)
    assert planned_jobs(printed) == STALE and "pp_liteseg" not in printed
    printed, _ = typed(ran, AGAIN)
    differs = printed.partition("What differs between the runs")[2]
    assert f"`{checkouts.MODEL_FILE}`" in differs and checkouts.git(ran / "PaddleSeg", "rev-parse", "HEAD") in differs
    assert re.search(rf"^\| paddleseg_edited +\| none +\| {checkouts.MODEL_FILE}, none +\|$", differs, re.M)
    for model in ("pp_humanseg_lite", "pp_liteseg_stdc1"):
        found = record.read(ran / f"results/smoke/{model}/single_fp32/export.json")
        edited = [checkouts.MODEL_FILE] if model == "pp_humanseg_lite" else []
        assert (found["env"]["paddleseg_edited"], found["status"]) == (edited, "passed")


def test_a_child_is_held_to_the_code_of_its_parent(ran):
    """P1: the export of a checkpoint that other code trained is not made, and nothing of it is green."""
    file = ran / "PaddleSeg" / checkouts.MODEL_FILE
    before = file.read_text()  # edited already, where the page's other commands ran
    file.write_text(before + "\n")
    try:
        target = f"{LITE}/export.json"
        done = snakemake(ran, "--configfile", "tree.yaml", "--rerun-triggers", "mtime", "-R", "export", "--", target)
        assert done.returncode == 1
        failed = record.read(ran / LITE / "export.failed.json")
        assert re.match(
            rf"{LITE}/train\.json: was made by other code of PaddleSeg \(develop, \w{{8}}.*; hash \w{{16}}\) "
            rf"than is at hand now \(develop, \w{{8}}, edited: 1 file \({checkouts.MODEL_FILE}\); hash \w{{16}}\)",
            failed["reason"],
        )
    finally:
        file.write_text(before)
    assert not (ran / LITE / "export.json").exists()


CALLED = """
import atexit, os, sys
if os.environ.get("SEGCERT_WORKER"):
    called = set()
    def note(frame, event, _):
        code = frame.f_code
        if event == "call" and "/paddleseg/" in code.co_filename and code.co_name != "<module>":
            called.add(code.co_filename.rpartition("/paddleseg/")[2] + " " + code.co_qualname)
    def write():
        sys.setprofile(None)
        with open(os.environ["CALLED"], "a") as stream:
            stream.writelines(line + chr(10) for line in sorted(called))
    atexit.register(write)
    sys.setprofile(note)
"""


@pytest.mark.long
def test_what_the_page_says_of_what_is_exercised(tmp_path, dataset, monkeypatch):
    monkeypatch.setenv("CALLED", str(tmp_path / "called"))
    monkeypatch.setattr(sys, "executable", str(interpreter(tmp_path / "env", CALLED)))
    for done in (
        train(tmp_path, dataset), stages.evaluate(tmp_path, dataset), stages.export(tmp_path),
        stages.infer(tmp_path, dataset, "cell", "--device", "cpu", "--engine", "native", "--precision", "fp32"),
    ):  # fmt: skip
        assert done.returncode == 0, done.stderr
    called = {}
    for line in (tmp_path / "called").read_text().splitlines():
        file, name = line.split(" ", 1)
        if name.partition(".")[0].startswith(("<", "__")):
            continue  # done as it is imported
        called.setdefault(file, set()).add(name.partition(".")[0])
    rows = re.findall(r"^\| (`[^|]+) \| ([^|]+) \| (?:yes|no) \|$", PAGE.partition("is exercised")[2], re.M)
    told = {place: words for places, words in rows for place in re.findall(r"`([^`]+)`", places)}
    assert len(told) == 13
    for place, words in told.items():
        under = {name for file, names in called.items() if file.startswith(place) for name in names}
        if words == "no":
            assert not under, place
        elif words.endswith(" alone"):
            assert under == set(re.findall(r"`(\w+)`", words)), place
        else:
            assert under, place
            always = words.partition(";")[0]
            assert set(re.findall(r"`([a-z_]+)`", always)) <= under, place
