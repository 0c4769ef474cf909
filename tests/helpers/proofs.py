"""Records of every kind that prove what they say, as far as proof looks at them: each test spoils its own copy."""

import copy

TIMES = [4.0, 5.0, 6.5]
STATISTICS = {"count": 3, "p50": 5.0, "mean": 5.166667, "min": 4.0, "max": 6.5}


def gate(name, value, bound="at most", threshold=0.5):
    made = {"name": name, "value": value, "bound": bound, "threshold": threshold}
    return {**made, "holds": True, "sentence": f"{name} does not hold"}


TRIALS = [
    {"rate": 10.0, "p99_ms": 40.5, "holds": True}, {"rate": 15.0, "p99_ms": 100.0, "holds": True},
    {"rate": 17.5, "p99_ms": 120.0, "holds": False},
]  # fmt: skip
OF_A_LONG_RUN = [gate("memory_mb_per_1000_batches", 2.9167, threshold=5), gate("memory_mb_rise", -0.25, threshold=64)]


def content(stage, requested, effective=None, metrics=None, **more):
    effective = {**requested, **(effective or {})}
    return {"stage": stage, "requested": requested, "effective": effective, "metrics": metrics or {}, **more}


ENGINE = {"device": "cpu", "engine": "onnxruntime", "precision": "fp32"}
TRAIN = {"device": "cpu", "devices": 1, "precision": "fp32", "graph": "dynamic", "iters": 4, "batch_size": 2}
PUBLISHED = {
    "miou": 0.8, "dataset": "d", "split": "val", "images": 6, "size": [128, 96], "file": "https://example.org/w",
    "of": "https://example.org/w", "tolerance": 0.005, "weights": "w", "from": "https://example.org/README.md",
}  # fmt: skip
SEEN = {
    "dataset": "d", "split": "val", "sizes": [[128, 96]], "transforms": [{"type": "Resize"}],
    "published_transforms": [{"type": "Resize"}], "test_config": {"scales": 1.0}, "left_out": [], "unmet": [],
}  # fmt: skip
EVAL = {
    "miou": 0.802, "classes_present": 2, "images": 6, "val_images": 6, "reference_images": 1, "inference_images": 3,
}  # fmt: skip
ASKED = {"device": "cpu", "precision": "fp32", "transforms": "val", "images": None, "reference_images": 1}
# An output of probabilities, as far as it tells what it is.
SHARES = {
    "dims": 4, "dtype": "float32", "channels": 2, "classes": 2, "lowest": 0.25, "highest": 0.75, "sum_lowest": 1.0,
    "sum_highest": 1.0,
}  # fmt: skip
LOGITS = {"logits_l2": 0.01, "logits_peak": 0.02, "logits_gap": 0.0}


def every():
    """Kind -> what there is to prove of it."""
    agreement = {"pixel_agreement": 0.9996, **LOGITS}
    streams = content(
        "infer",
        {**ENGINE, "threads": 1, "batch_size": 1, "streams": 2},
        metrics={
            **agreement,
            "inference_ms": STATISTICS,
            "logits": {"effective": ENGINE},
            "stream_labels": 1.0,
            "throughput_ips": 20.0,
            "offline": {"ips": 20.0},
            "gates": [gate(name, value, "at least" if name == "pixel_agreement" else "at most")
                      for name, value in agreement.items()] + [gate("stream_labels", 1.0, "at least", 1)],
        },
        samples_ms={"inference": TIMES},
        samples_offline_ips=[19.0, 20.0, 24.5],
    )  # fmt: skip
    served = copy.deepcopy(streams)
    for part in ("requested", "effective"):
        served[part]["server_p99_ms"] = 100
    served["metrics"]["server"] = {"bound_ms": 100, "rate": 15.0, "trials": TRIALS}
    return {
        "data": content("data", {"layout": "mini_supervisely"}),
        "train": content("train", TRAIN),
        "train on two": content(
            "train", {**TRAIN, "devices": 2}, metrics={"gates": [gate("rank_weight_difference", 0.0)]}
        ),
        "train in float16": content(
            "train", {**TRAIN, "dtype": "float16"}, metrics={"gates": [gate("skipped_share", 0.25)]}
        ),
        "train from weights": content(
            "train",
            TRAIN,
            metrics={"pretrained": [{"key": "backbone"}], "gates": [gate("pretrained_share", 1.0, "at least")]},
        ),
        "train of a long run": content(
            "train",
            {**TRAIN, "soak": 200},
            metrics={"growth_mb_per_1000": 2.9167, "gates": OF_A_LONG_RUN},
            samples_soak_mb=[[50, 100.0], [100, 100.0], [150, 100.125], [200, 100.5]],
        ),
        "released": content("train", {"device": "cpu", "weights": "w"}),
        "eval": content("eval", ASKED, metrics=EVAL),
        "eval of some images": content("eval", {**ASKED, "images": 4}, metrics={**EVAL, "images": 4}),
        "eval as published": content(
            "eval",
            {**ASKED, "published": PUBLISHED},
            {"published": PUBLISHED},
            {**EVAL, "published": SEEN, "gates": [gate("published_miou", 0.002, threshold=0.005)]},
        ),
        "eval otherwise": content(
            "eval",
            {**ASKED, "published": PUBLISHED},
            {"published": PUBLISHED},
            {**EVAL, "published": {**SEEN, "split": "test", "unmet": ["split test, not val"]}},
        ),
        "export": content(
            "export",
            {"device": "cpu", "precision": "fp32", "opset": 13},
            {"onnx": True, "opset": 17},
            {"exported_agreement": 1.0, "gates": [gate("exported_agreement", 1.0, "at least")]},
        ),
        "export of probabilities": content(
            "export",
            {"device": "cpu", "precision": "fp32", "opset": 13, "output_op": "softmax"},
            {"onnx": True},
            {
                "exported_agreement": 1.0,
                "softmax_peak": 0.0,
                "output": SHARES,
                "gates": [gate("exported_agreement", 1.0, "at least"), gate("softmax_peak", 0.0)],
            },
        ),
        "export without onnx": content(
            "export",
            {"device": "cpu", "precision": "fp32"},
            {"onnx": False},
            {"exported_agreement": 1.0, "gates": [gate("exported_agreement", 1.0, "at least")]},
        ),
        "export of before": content(
            "export", {"device": "cpu", "precision": "fp32", "opset": 13, "onnx": True}, {"onnx": True}
        ),
        "quantise": content(
            "quantise",
            {"device": "cpu", "precision": "int8", "method": "static", "weight_bits": 7, "images": 8},
            metrics={"train_images": 2, "calibrated_on": {"a": "0a", "b": "0b"}},
        ),
        "infer": content(
            "infer",
            {**ENGINE, "threads": 1, "batch_size": 1},
            metrics={
                **agreement,
                "inference_ms": STATISTICS,
                "preprocess_ms": STATISTICS,
                "logits": {"effective": ENGINE},
                "gates": [gate(name, value, "at least" if name == "pixel_agreement" else "at most")
                          for name, value in agreement.items()],
            },
            samples_ms={"inference": TIMES, "preprocess": TIMES},
        ),
        "infer of probabilities": content(
            "infer",
            {**ENGINE, "threads": 1, "batch_size": 1, "output_op": "softmax"},
            metrics={
                **agreement,
                "inference_ms": STATISTICS,
                "logits": {"effective": ENGINE},
                "softmax_peak": 0.01,
                "output": SHARES,
                "gates": [gate(name, value, "at least" if name == "pixel_agreement" else "at most")
                          for name, value in agreement.items()] + [gate("softmax_peak", 0.01)],
            },
            samples_ms={"inference": TIMES},
        ),
        "infer of logits": content(
            "infer",
            {**ENGINE, "threads": 1, "batch_size": 1, "output_op": "none"},
            metrics={
                **agreement,
                "inference_ms": STATISTICS,
                "logits": {"effective": ENGINE},
                "output": {**SHARES, "lowest": -2.5},
                "gates": [gate(name, value, "at least" if name == "pixel_agreement" else "at most")
                          for name, value in agreement.items()],
            },
            samples_ms={"inference": TIMES},
        ),
        "infer of a long run": content(
            "infer",
            {**ENGINE, "threads": 1, "batch_size": 1, "soak": 200},
            metrics={
                **agreement,
                "inference_ms": STATISTICS,
                "logits": {"effective": ENGINE},
                "growth_mb_per_1000": 2.9167,
                "gates": [gate(name, value, "at least" if name == "pixel_agreement" else "at most")
                          for name, value in agreement.items()]
                + OF_A_LONG_RUN,
            },
            samples_ms={"inference": TIMES},
            samples_soak_mb=[[50, 100.0], [100, 100.0], [150, 100.125], [200, 100.5]],
        ),
        "infer of another size": content(
            "infer",
            {**ENGINE, "threads": 1, "batch_size": 1, "shapes": "dynamic", "size": [100, 70]},
            metrics={
                **agreement,
                "inference_ms": STATISTICS,
                "logits": {"effective": ENGINE},
                "gates": [gate(name, value, "at least" if name == "pixel_agreement" else "at most")
                          for name, value in agreement.items()],
            },
            samples_ms={"inference": TIMES},
        ),
        "infer of streams": streams,
        "infer of a server": served,
        "scripts": content(
            "scripts",
            {"script": "tools/val.py", "digest": "ab", "device": "cpu", "outcome": "complete"},
            {"command": "python tools/val.py", "exit_code": 0},
            {"miou_difference": 0.0, "gates": [gate("miou_difference", 0.0)]},
        ),
    }  # fmt: skip
