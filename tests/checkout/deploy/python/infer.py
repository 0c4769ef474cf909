"""Infer, on the command line of PaddleSeg's deploy/python/infer.py."""

import argparse
from pathlib import Path

import numpy as np
from paddle.inference import Config, create_predictor
from paddleseg.deploy.infer import DeployConfig
from paddleseg.utils import get_image_list
from paddleseg.utils.visualize import get_pseudo_color_map

options = argparse.ArgumentParser()
for name in ("--config", "--image_path", "--save_dir", "--device", "--enable_mkldnn"):
    options.add_argument(name)
options.add_argument("--cpu_threads", type=int)
options.add_argument("--with_argmax", action="store_true")
args = options.parse_args()
deploy = DeployConfig(args.config)
config = Config(deploy.model, deploy.params)
config.set_cpu_math_library_num_threads(args.cpu_threads)
config.enable_mkldnn() if args.enable_mkldnn == "True" else config.disable_mkldnn()
predictor = create_predictor(config)
given = predictor.get_input_handle(predictor.get_input_names()[0])
made = predictor.get_output_handle(predictor.get_output_names()[0])
Path(args.save_dir).mkdir()
for image in get_image_list(args.image_path)[0]:
    batch = np.array([deploy.transforms({"img": image})["img"]])
    given.reshape(batch.shape)
    given.copy_from_cpu(batch)
    predictor.run()
    results = made.copy_to_cpu()
    label = (np.argmax(results, axis=1) if args.with_argmax else results)[0]
    get_pseudo_color_map(label).save(f"{args.save_dir}/{Path(image).stem}.png")
