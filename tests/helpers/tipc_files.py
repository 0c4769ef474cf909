"""TIPC params files for the tests, written from their lines by name."""

from collections.abc import Mapping
from pathlib import Path

import yaml

from segcert import sections, settings

# The lines in their order; (name, key, value). None stands for a line of its own without a colon.
TRAIN_MODES = ("lite_train_lite_infer", "lite_train_whole_infer", "whole_train_whole_infer")
LINES = [
    (None, "train_params", ""),
    ("model_name", "model_name", "pphumanseg_lite"),
    ("python", "python", "python3.7"),
    ("gpu_list", "gpu_list", "0|0,1"),
    ("use_gpu", "Global.use_gpu", "null|null"),
    ("autocast", "Global.auto_cast", "null"),
    ("iters", "--iters", "|".join(f"{mode}=50" for mode in TRAIN_MODES)),
    ("train_save_dir", "--save_dir", ""),
    ("train_batch_size", "--batch_size", "|".join(f"{mode}=2" for mode in TRAIN_MODES)),
    ("pretrained", "--model_path", "null"),
    ("checkpoint", "train_model_name", "best_model/model.pdparams"),
    ("train_images", "train_infer_img_dir", "test_tipc/data/mini_supervisely/test.txt"),
    ("train_extra", "null", "null"),
    (None, "##", ""),
    ("trainer", "trainer", "norm_train"),
    ("norm_trainer", "norm_train", "tools/train.py --config {config} --do_eval --save_interval 500 --seed 100"),
    ("pact_trainer", "pact_train", "null"),
    ("fpgm_trainer", "fpgm_train", "null"),
    ("distill_trainer", "distill_train", "null"),
    ("trainer_1", "null", "null"),
    ("trainer_2", "null", "null"),
    (None, "##", ""),
    (None, "eval_params", ""),
    ("eval", "eval", "null"),
    ("eval_extra", "null", "null"),
    (None, "##", ""),
    (None, "export_params", ""),
    ("export_save_dir", "--save_dir", ""),
    ("export_weights", "--model_path", ""),
    ("norm_export", "norm_export", "tools/export.py --config {config}"),
    ("pact_export", "quant_export", "null"),
    ("fpgm_export", "fpgm_export", "null"),
    ("distill_export", "distill_export", "null"),
    ("export_1", "export1", "null"),
    ("export_2", "export2", "null"),
    (None, "infer_params", ""),
    ("infer_model", "infer_model", "./test_tipc/output/model/model.pdparams"),
    ("infer_export", "infer_export", "tools/export.py --config {config}"),
    ("infer_quant", "infer_quant", "False"),
    ("inference", "inference", "deploy/python/infer.py"),
    ("device", "--device", "cpu|gpu"),
    ("mkldnn", "--enable_mkldnn", "True"),
    ("cpu_threads", "--cpu_threads", "6"),
    ("infer_batch_size", "--batch_size", "1"),
    ("use_trt", "--use_trt", "False"),
    ("precision", "--precision", "fp32"),
    ("infer_config", "--config", ""),
    ("image_path", "--image_path", "./test_tipc/data/mini_supervisely/test.txt"),
    ("save_log_path", "--save_log_path", "null"),
    ("benchmark", "--benchmark", "True"),
    ("infer_key_1", "--save_dir", ""),
    ("infer_key_2", "--model_name", "pphumanseg_lite"),
]
NUMBER = {name: place + 1 for place, (name, _, _) in enumerate(LINES) if name}
TAIL = """
===========================infer_benchmark_params==========================
random_infer_input:[{float32,[3,224,398]}]
===========================to_static_train_benchmark_params===========================
to_static_train:--opts to_static_training=True
===========================train_benchmark_params==========================
batch_size:2|4
fp_items:fp32|fp16
epoch:400
--profiler_options:'batch_range=[10,20];state=GPU;tracer_option=Default;profile_path=model.profile'
flags:FLAGS_eager_delete_tensor_gb=0.0;FLAGS_conv_workspace_size_limit=4096
log_iters:15;skip_iters:2;repeats:500
"""


def lines(config: str = "configs/model.yml", **changes: str) -> list[str]:
    """The lines of a params file; a change is a value, or `key:value`, by the line's name."""
    made = []
    for name, key, value in LINES:
        if name is None:
            made.append(key if key == "##" else f"{key:=^70}")
            continue
        key, value = changes.get(f"{name}_key", key), changes.get(name, value)
        made.append(f"{key}:{value.replace('{config}', config)}")
    return made


def text(tail: str = "", **changes: str) -> str:
    return "\n".join(lines(**changes)) + "\n" + tail


def write(path: Path, **changes: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text(**changes), encoding="utf-8")
    return path


def like_built_in(name: str, zoo_name: str, shipped: Mapping[str, object], mode: str) -> dict[str, str]:
    """Changes that make a params file say what the shipped configuration says of a model, in a mode."""
    by_mode = {m: settings.resolve({**shipped, "mode": m}, {"mode": m}, "shipped")["train"] for m in TRAIN_MODES}
    now = settings.resolve({**shipped, "mode": mode}, {"mode": mode}, "shipped")
    train, threads = now["train"], now["infer"]["cpu_threads"]
    command = f"tools/train.py --config {{config}} --do_eval --save_interval 500 --seed {now['seed']}"

    def values(key: str) -> str:
        return "|".join(f"{m}={sections.per_model(section[key], zoo_name)}" for m, section in by_mode.items())

    return {
        "model_name": name,
        "infer_key_2": name,
        "autocast_key": "--precision",
        "autocast": "fp16|fp32",
        "iters": values("iters"),
        "train_batch_size": values("batch_size"),
        "norm_trainer": f"{command} --num_workers {train['workers']} --log_iters {train['log_iters']}",
        "mkldnn": "False|True",
        "cpu_threads": "|".join(map(str, threads)),
        "use_trt": "False|True",
        "precision": "fp32|fp16",
    }


def shipped(root: Path) -> dict[str, object]:
    return yaml.safe_load((root / "config/config.yaml").read_text(encoding="utf-8"))
