"""A new layout, file by file: one is added to a copy by the list of CONTRIBUTING.md, generated, packed and trained on.

It is that of PaddleSeg's `CocoStuff`, which this project has not.
"""

import json
import shutil

import file_by_file
import pytest
import yaml
from conftest import snakemake
from file_by_file import before

pytestmark = pytest.mark.long

ROW = """COCO_STUFF = Layout(
    name="coco_stuff",
    marker="annotations",
    pairs=Folders("images/{split}2017/*.jpg", "annotations/{split}2017/*.png"),
    types={"CocoStuff": (171, 255)},
    params_type="CocoStuff",
    train_mode="train",
    first_class=0,
    blank_tests=False,
)
"""
MAKER = """def _coco(images: Mapping[str, int], seed: int, size: Size) -> Iterator[tuple[str, bytes]]:
    for split, count in images.items():
        for number in range(count):
            photo, label = street(np.random.default_rng([seed, number]), size or (128, 64))
            yield f"images/{split}2017/{number:012d}.jpg", _encode(".jpg", photo)
            yield f"annotations/{split}2017/{number:012d}.png", _encode(".png", label)


"""
TOLD = """`layout: coco_stuff` (`type: CocoStuff`, 171 classes):

```
images/{train,val,test}2017/<name>.jpg
annotations/{train,val,test}2017/<name>.png
```

"""
TABLE = "test_layouts.py::test_every_layout_is_generated_packed_and_unpacked_again[coco_stuff]"
DOCS = "test_docs.py::test_every_layout_is_told_of"


# file -> changes, each of which what is there once and what is there then; and the test that misses them.
EDITS: dict[str, tuple[list[tuple[str, str]], str]] = {
    "scripts/segcert/layouts.py": (
        [
            before("# In the order in which", ROW),
            ("    ROAD_EXTRACTION,\n)", "    ROAD_EXTRACTION,\n    COCO_STUFF,\n)"),
        ],
        "test_settings.py::test_the_schema_for_editors_is_the_one_that_is_checked_by",
    ),
    "scripts/segcert/data/synthetic.py": (
        [
            before("# By the name of a layout", MAKER),
            before('    "cityscapes": _streets', '    "coco_stuff": _coco,\n'),
        ],
        TABLE,
    ),
    "config/config.yaml": (
        [("with bars). source:", "with bars)\n# or coco_stuff (images/). source:")],
        f"{DOCS}[config/config.yaml]",
    ),
    "docs/own-model.md": (
        [before("Inference runs on the test split, or, without", TOLD)],
        f"{DOCS}[docs/own-model.md]",
    ),
    "docs/data.md": (
        [("or `road_extraction`;", "`road_extraction`, or `coco_stuff`;")],
        f"{DOCS}[docs/data.md]",
    ),
    "docs/params-files.md": (
        [
            before(
                "- Other types are not read", "- `type: CocoStuff`: `images/<split>2017/*.jpg` with `annotations/`.\n"
            )
        ],
        f"{DOCS}[docs/params-files.md]",
    ),
}
READER = "scripts/segcert/data/layouts.py"  # of a kind that is neither lists nor folders, which this one has not
MADE = {"config/schema/config.schema.json", "docs/reference/config.md", "docs/reference/commands.md", "docs/zoo.md"}
MODEL = """\
_base_: config/models/pp_humanseg_lite.yml
train_dataset:
  _inherited_: false
  type: CocoStuff
  dataset_root: somewhere
  mode: train
  transforms: [{type: Resize, target_size: [64, 64]}, {type: Normalize}]
val_dataset:
  _inherited_: false
  type: CocoStuff
  dataset_root: somewhere
  mode: val
  transforms: [{type: Resize, target_size: [64, 64]}, {type: Normalize}]
model: {num_classes: 171}
"""
MINE = {
    "mode": "smoke",
    "hardware": "cpu",
    "models": ["mine"],
    "data": {"coco": "folder"},
    "input_size": {"default": [64, 64]},
    "train": {"iters": 2, "topologies": ["single"]},
    "datasets": {
        "made": {"layout": "coco_stuff", "source": "synthetic", "images": {"train": 6, "val": 2, "test": 2}, "seed": 1},
        "folder": {"layout": "coco_stuff", "source": "folder", "path": "mine"},
    },
    "model_zoo": {"mine": {"algorithm": "ConnectNet", "config": "mine.yml", "data": "coco"}},
}


@pytest.fixture(scope="module")
def added(tmp_path_factory):
    """A copy with the made-up layout."""
    folder = file_by_file.copy(tmp_path_factory.mktemp("new") / "project")
    file_by_file.add(folder, EDITS)
    file_by_file.make(folder, *MADE)
    return folder


def test_the_list_names_every_file():
    assert file_by_file.named("A new layout, file by file") == EDITS.keys() | MADE | {READER}


def test_nothing_that_bears_on_layouts_breaks(added):
    files = [f"tests/test_{name}.py" for name in ("layouts", "settings", "modelkeys", "docs")]
    chosen = "not (test_docs or test_modelkeys) or layout"
    assert file_by_file.failing(added, "-k", chosen, *files) == set()


@pytest.mark.parametrize("name", EDITS)
def test_an_entry_that_is_forgotten_is_found(added, name):
    changes, finder = EDITS[name]
    with file_by_file.forgotten(added, name, changes):
        assert file_by_file.failing(added, f"tests/{finder}") == {finder}


def test_what_is_not_made_anew_is_found(added):
    made = {name: (added / name).read_text(encoding="utf-8") for name in MADE}
    for name, text in made.items():
        old = (file_by_file.ROOT / name).read_text(encoding="utf-8")
        assert "coco_stuff" in text and "coco_stuff" not in old
        (added / name).write_text(old, encoding="utf-8")
    try:
        checked = file_by_file.python(added, "docs/generate.py", "--check", *MADE)
        assert {name for name in MADE if f"{name}: is not up to date" in checked.stderr} == MADE, checked.stderr
    finally:
        for name, text in made.items():
            (added / name).write_text(text, encoding="utf-8")


def test_it_is_generated_packed_unpacked_trained_on_and_evaluated(added):
    (added / "mine.yaml").write_text(yaml.safe_dump(MINE), encoding="utf-8")
    (added / "mine.yml").write_text(MODEL, encoding="utf-8")
    (added / "mine").mkdir()
    made = snakemake(added, "results/data/made.json", "--configfile", "mine.yaml")
    assert made.returncode == 0, made.stdout + made.stderr
    shutil.copytree(added / "results/data/made", added / "mine", dirs_exist_ok=True)
    folder = "results/smoke/mine/single_fp32"
    done = snakemake(added, f"{folder}/eval.json", "--configfile", "mine.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    manifest = json.loads((added / "results/data/folder/manifest.json").read_text(encoding="utf-8"))
    assert manifest["layout"] == "coco_stuff" and [len(pairs) for pairs in manifest["splits"].values()] == [6, 2, 2]
    for stage in ("train", "eval"):
        told = json.loads((added / f"{folder}/{stage}.json").read_text(encoding="utf-8"))
        assert told["status"] == "passed"
    assert len(told["metrics"]["class_iou"]) == 171
