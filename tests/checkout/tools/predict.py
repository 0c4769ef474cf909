"""Predict, on the command line of PaddleSeg's tools/predict.py."""

import argparse

from paddleseg.core import predict
from paddleseg.cvlibs import Config, SegBuilder
from paddleseg.transforms import Compose
from paddleseg.utils import get_image_list

options = argparse.ArgumentParser()
for name in ("--config", "--device", "--model_path", "--image_path", "--save_dir"):
    options.add_argument(name)
args = options.parse_args()
builder = SegBuilder(Config(args.config))
images, folder = get_image_list(args.image_path)
predict(
    builder.model,
    model_path=args.model_path,
    transforms=Compose(builder.val_transforms),
    image_list=images,
    image_dir=folder,
    save_dir=args.save_dir,
)
