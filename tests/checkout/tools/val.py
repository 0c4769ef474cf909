"""Evaluate, on the command line of PaddleSeg's tools/val.py.

It counts for itself: what the installed PaddleSeg counts areas with fails on Paddle 3.
"""

import argparse

import numpy as np
import paddle
from paddleseg.core.infer import inference
from paddleseg.cvlibs import Config, SegBuilder
from paddleseg.utils import utils
from paddleseg.utils.metrics import mean_iou

options = argparse.ArgumentParser()
for name in ("--config", "--device", "--model_path"):
    options.add_argument(name)
args = options.parse_args()
builder = SegBuilder(Config(args.config))
print(f"PaddlePaddle: {paddle.__version__}")
paddle.set_device(args.device)
model = builder.model
utils.load_entire_model(model, args.model_path)
model.eval()
dataset = builder.val_dataset
counts = np.zeros((dataset.num_classes, dataset.num_classes), "int64")  # labels, predictions
with paddle.no_grad():
    for sample in dataset:
        fed = paddle.to_tensor(sample["img"][np.newaxis])
        found = np.squeeze(inference(model, fed, trans_info=sample["trans_info"])[0].numpy())
        label = np.squeeze(sample["label"])
        counted = label != dataset.ignore_index
        np.add.at(counts, (label[counted], found[counted]), 1)
areas = (np.diag(counts), counts.sum(0), counts.sum(1))
by_class, mean = mean_iou(*(paddle.to_tensor(area) for area in areas))
print(f"[EVAL] #Images: {len(dataset)} mIoU: {mean:.4f} Acc: 0")
print(f"[EVAL] Class IoU: \n{np.round(by_class, 4)}")
