"""The configuration: merged in the stated order, and refused with file, key, value and what is allowed."""

import copy
import json

import pytest
import yaml

from segcert import modelconfig, paths, sections, settings
from segcert.errors import ConfigError

FILE = "config/config.yaml"


@pytest.fixture
def config(root):
    return yaml.safe_load((root / FILE).read_text(encoding="utf-8"))


def resolve(config, **overrides):
    return settings.resolve(sections.merge(config, overrides), overrides, FILE)


def test_shipped_configuration_resolves_in_every_mode(config):
    for mode in config["modes"]:
        models = {"models": "all"} if mode == "zoo" else {}  # which has those of a checkout
        assert resolve(config, mode=mode, **models)["mode"] == mode


def test_mode_goes_over_the_file_and_the_user_over_the_mode(config):
    assert resolve(config)["train"]["iters"] == 50
    assert resolve(config, mode="smoke")["train"]["iters"] == config["modes"]["smoke"]["train"]["iters"]
    mine = resolve(config, mode="smoke", train={"iters": 7})
    assert mine["train"]["iters"] == 7
    assert mine["train"]["workers"] == config["modes"]["smoke"]["train"]["workers"]


def test_each_layer_goes_over_the_one_before(config):
    """The file, the mode, the file's settings of a model, the user's of all models, the user's of that model."""
    name, found = "pp_humanseg_lite", []

    def iters(resolved):
        return sections.per_model(sections.of_model(resolved, name, "train")["iters"], name)

    found.append(iters(resolve(config, models=[name])))
    config["modes"]["mine"] = {"train": {"iters": 51}}
    found.append(iters(resolve(config, mode="mine")))
    config["model_zoo"][name]["settings"] = {"train": {"iters": 52, "workers": 9}}
    found.append(iters(resolve(config, mode="mine")))
    found.append(iters(resolve(config, mode="mine", train={"iters": 53})))
    own = {name: {"settings": {"train": {"iters": 54}}}}
    found.append(iters(last := resolve(config, mode="mine", train={"iters": 53}, model_zoo=own)))
    assert found == [50, 51, 52, 53, 54]
    assert sections.of_model(last, name, "train")["workers"] == 9, "what nobody else says stays the file's"


def test_aliases_name_models(config):
    assert resolve(config, models=["fcn_hrnetw18_small", "pphumanseg_lite"])["models"] == [
        "pp_humanseg_mobile",
        "pp_humanseg_lite",
    ]


def test_values_by_model(config):
    whole = resolve(config, mode="whole_train_whole_infer")["train"]["batch_size"]
    assert sections.per_model(whole, "ocrnet_hrnetw48") == 3
    assert sections.per_model(whole, "ocrnet_hrnetw18") == 8
    assert sections.per_model(5, "anything") == 5


WRONG = [
    ({"hardware": "tpu"}, ["--config", "hardware", '"tpu"', "auto, cpu, gpu"]),
    ({"train": {"itres": 5}}, ["--config", "train.itres: 5: no such key (did you mean iters?)"]),
    ({"train": {"iters": 0}}, ["train.iters", "0", "at least 1"]),
    ({"train": {"iters": "many"}}, ["train.iters", '"many"']),
    ({"models": ["pp_humanseg_light"]}, ["models", "pp_humanseg_light", "pp_humanseg_lite"]),
    (
        {"models": ["pp_humanseg_lite", "pphumanseg_lite"]},
        ['models: "pphumanseg_lite" is pp_humanseg_lite', "name each model once"],
    ),
    ({"mode": "lite"}, ["mode", '"lite"', "smoke", "whole_infer"]),
    ({"data": {"cityscapes": "elsewhere"}}, ["data.cityscapes", '"elsewhere"', "cityscapes_20imgs"]),
    ({"infer": {"cpu": [], "gpu": []}}, ["infer: the matrix is empty; put an entry under infer.cpu or infer.gpu"]),
    ({"infer": {"cpu": [{"engine": "mkl", "precision": "fp32"}]}}, ["infer.cpu.0.engine", '"mkl"', "onednn"]),
    ({"infer": {"batch_sizes": [1, 1]}}, ["infer.batch_sizes", "none twice"]),
    (
        {"train": {"topologies": ["single"]}, "infer": {"from_topologies": ["multi"]}},
        ['infer.from_topologies: ["multi"] is refused; allowed: those of train.topologies: single'],
    ),
    ({"train": {"precisions": [{"precision": "amp"}]}}, ["train.precisions.0", "level"]),
    (
        {"train": {"precisions": [{"precision": "fp32", "level": "O1"}]}},
        ['train.precisions.0.level: "O1": this key does not go with the others here; leave it out'],
    ),
    ({"train": {"precisions": [{"precision": "fp32", "graph": "static"}]}}, ['graph: "static"', "dynamic, to_static"]),
    (
        {
            "train": {
                "precisions": [{"precision": "fp32"}, {"precision": "fp32", "graph": "to_static", "models": ["m"]}]
            }
        },
        ['--config or --configfile: train.precisions.1.models.0: "m" is refused', "a key of `model_zoo`"],
    ),
    (
        {"train": {"precisions": [{"precision": "fp32", "models": ["pp_humanseg_lite"]}]}},
        ["train.precisions: no entry is for a model that is to be trained: fcn_hrnet_w18"],
    ),
    (
        {"train": {"precisions": [{"precision": "fp32"}, {"precision": "fp32", "models": ["fcn_hrnet_w18"]}]}},
        ["train.precisions: two entries ask for the same training: fcn_hrnet_w18"],
    ),
    (
        {"train": {"precisions": [{"precision": "fp32"}, {"precision": "fp32", "graph": "dynamic"}]}},
        ["train.precisions: two entries ask for the same training: of all models"],
    ),
    (
        {"train": {"precisions": [{"precision": "fp32", "graph": "to_static"}]}},
        ['infer.from_graphs: ["dynamic"] is refused; allowed: one of those of train.precisions: to_static'],
    ),
    ({"datasets": {"mine": {"layout": "cityscapes", "source": "path"}}}, ["datasets.mine.path", "this key is needed"]),
    (
        {"datasets": {"mine": {"layout": "voc", "source": "path", "path": "a.tar"}}},
        ['datasets.mine.layout: "voc" is refused; allowed: one of mini_supervisely, cityscapes'],
    ),
    ({"gates": {"pixel_agreement": {"fp32": 2}}}, ["gates.pixel_agreement.fp32", "at most 1"]),
    ({"train": {"checkpoints": "mine"}}, ["train.checkpoints", '"mine"', "trained, released"]),
    ({"modes": {"mine": {"train": {"checkpoints": 1}}}}, ["modes.mine.train.checkpoints: 1", "trained, released"]),
    ({"speed": 1}, ["speed", "no such key"]),
    ({"models": 3}, ["models: 3 is refused; allowed: all, zoo, the name of a model, or a list of names"]),
]


def test_what_is_exported_is_among_what_is_trained_where_something_is(config):
    """Of released weights nothing is: no topology and no precision of a training that is not done is refused."""
    odd = {"train": {"topologies": ["single"]}, "infer": {"from_topologies": ["multi"], "from_precision": "amp"}}
    odd["train"]["precisions"] = [{"precision": "fp32"}]
    released = {"settings": {"train": {"checkpoints": "released"}}}
    for words in ("infer.from_topologies", "infer.from_precision"):
        with pytest.raises(ConfigError, match=words):
            resolve(config, **odd)
    resolve(config, **odd, mode="whole_infer")
    resolve(config, **odd, mode="mine", modes={"mine": released["settings"]})
    one = {"infer": odd["infer"], "train": {"topologies": ["single"], "precisions": [{"precision": "fp32"}]}}
    one["train"]["checkpoints"] = "released"
    resolve(config, models=["pp_humanseg_lite"], model_zoo={"pp_humanseg_lite": {"settings": one}})
    one["train"]["checkpoints"] = "trained"
    with pytest.raises(ConfigError, match=r"model_zoo.pp_humanseg_lite.settings.infer.from_topologies"):
        resolve(
            config, mode="whole_infer", models=["pp_humanseg_lite"], model_zoo={"pp_humanseg_lite": {"settings": one}}
        )


@pytest.mark.parametrize(("overrides", "words"), WRONG, ids=[str(case[0])[:60] for case in WRONG])
def test_wrong_configuration_says_where_what_and_what_is_allowed(config, overrides, words):
    with pytest.raises(ConfigError) as refused:
        resolve(config, **overrides)
    for word in words:
        assert word in str(refused.value)


def test_the_schema_for_editors_is_the_one_that_is_checked_by():
    """Its lists of engines and layouts are those of their tables."""
    assert json.loads(paths.SCHEMA.read_text(encoding="utf-8")) == settings.whole_schema()


def test_editors_find_the_schema(root):
    """By the first line, relative to the file."""
    first = (root / FILE).read_text(encoding="utf-8").splitlines()[0]
    head, _, named = first.partition("=")
    assert head == "# yaml-language-server: $schema" and (root / FILE).parent.joinpath(named).samefile(paths.SCHEMA)


def test_a_key_taken_out_of_the_file_is_missed_by_name(config):
    broken = copy.deepcopy(config)
    del broken["infer"]["warmup"]
    del broken["infer"]["images"]
    with pytest.raises(ConfigError, match=r"config/config.yaml: infer.warmup: this key is needed") as error:
        settings.resolve(broken, {}, FILE)
    assert len(str(error.value).splitlines()) == 2, "each missing key is named once"


def test_an_alias_that_two_models_have_is_refused(config):
    wanted = r'model_zoo\.other\.aliases: "pphumanseg_lite" is a name of pp_humanseg_lite; take another'
    with pytest.raises(ConfigError, match=wanted):
        resolve(
            config,
            model_zoo={
                "other": {"algorithm": "X", "config": "x.yml", "data": "cityscapes", "aliases": ["pphumanseg_lite"]}
            },
        )


def test_base_chain_of_model_configurations(root, tmp_path):
    chain = modelconfig.config_chain(root / "config/models/fcn_hrnet_w18.yml")
    assert [path.name for path in chain] == ["fcn_hrnet_w18.yml", "cityscapes.yml"]
    (tmp_path / "a.yml").write_text("_base_: b.yml\n")
    (tmp_path / "b.yml").write_text("_base_: a.yml\n")
    with pytest.raises(ConfigError, match=r"comes back to itself"):
        modelconfig.config_chain(tmp_path / "a.yml")
    (tmp_path / "c.yml").write_text("_base_: gone.yml\n")
    with pytest.raises(ConfigError, match=r"c.yml: _base_: cannot read .*gone.yml"):
        modelconfig.config_chain(tmp_path / "c.yml")
    for content, words in (("model: {", r"d\.yml: is not YAML"), ("- a list", r"d\.yml: must be a mapping")):
        (tmp_path / "d.yml").write_text(content)
        with pytest.raises(ConfigError, match=words):
            modelconfig.content(tmp_path / "d.yml")


def test_numbers_that_the_command_line_brings_as_text(config):
    mine = resolve(
        config,
        mode="smoke",
        train={"iters": "7"},
        infer={"batch_sizes": ["1", "2"]},
        input_size={"default": ["64", "32"]},
        evaluate={"images": "null"},
    )
    assert mine["train"]["iters"] == 7
    assert mine["infer"]["batch_sizes"] == [1, 2]
    assert mine["input_size"]["default"] == [64, 32]
    assert mine["evaluate"]["images"] is None
    with pytest.raises(ConfigError, match=r'train\.iters: "many"'):
        resolve(config, train={"iters": "many"})
