"""Train, on the command line of PaddleSeg's tools/train.py."""

import argparse
import random
import time
from pathlib import Path

import numpy as np
import paddle
import paddle.nn.functional as F
from paddleseg.cvlibs import Config, SegBuilder

options = argparse.ArgumentParser()
for name in ("--config", "--device", "--save_dir"):
    options.add_argument(name)
for name in ("--seed", "--log_iters", "--num_workers", "--save_interval"):
    options.add_argument(name, type=int)
args = options.parse_args()
config = Config(args.config)
builder = SegBuilder(config)
print(f"PaddlePaddle: {paddle.__version__}")
paddle.set_device(args.device)
paddle.seed(args.seed)
np.random.seed(args.seed)
random.seed(args.seed)
model = builder.model
dataset = builder.train_dataset
optimizer = builder.optimizer
model.train()
sampler = paddle.io.DistributedBatchSampler(dataset, batch_size=config.batch_size, shuffle=True, drop_last=True)
loader = paddle.io.DataLoader(dataset, batch_sampler=sampler, num_workers=args.num_workers, return_list=True)
done = 0
begun = time.perf_counter()
while done < config.iters:
    for batch in loader:
        label = batch["label"].astype("int64")
        loss = F.cross_entropy(model(batch["img"])[0], label, axis=1, ignore_index=255)
        loss.backward()
        optimizer.step()
        rate = optimizer.get_lr()
        optimizer._learning_rate.step()
        optimizer.clear_grad()
        done += 1
        took, begun = time.perf_counter() - begun, time.perf_counter()
        speed = f"batch_cost: {took:.4f}, reader_cost: 0.00000, ips: {len(label) / took:.4f} samples/sec"
        print(f"[TRAIN] epoch: 1, iter: {done}/{config.iters}, loss: {float(loss):.4f}, lr: {rate:.6f}, {speed}")
        if done == config.iters:
            break
folder = Path(args.save_dir) / f"iter_{done}"
folder.mkdir(parents=True)
paddle.save(model.state_dict(), str(folder / "model.pdparams"))
