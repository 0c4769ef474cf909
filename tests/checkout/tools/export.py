"""Export, on the command line of PaddleSeg's tools/export.py."""

import argparse
from pathlib import Path

import paddle
import yaml
from paddleseg.cvlibs import Config, SegBuilder
from paddleseg.deploy.export import WrappedModel

options = argparse.ArgumentParser()
for name in ("--config", "--model_path", "--save_dir"):
    options.add_argument(name)
options.add_argument("--output_op", choices=["argmax", "softmax", "none"], default="argmax")
args = options.parse_args()
config = Config(args.config)
builder = SegBuilder(config)
model = builder.model
model.set_state_dict(paddle.load(args.model_path))
wrapped = model if args.output_op == "none" else WrappedModel(model, args.output_op)
wrapped.eval()
spec = [paddle.static.InputSpec([None, 3, None, None], "float32")]
paddle.jit.save(paddle.jit.to_static(wrapped, input_spec=spec), f"{args.save_dir}/model")
program = next(path.name for path in Path(args.save_dir).glob("model.*") if path.suffix in (".json", ".pdmodel"))
deploy = {"model": program, "params": "model.pdiparams", "transforms": config.dic["val_dataset"]["transforms"]}
(Path(args.save_dir) / "deploy.yaml").write_text(yaml.safe_dump({"Deploy": deploy}))
