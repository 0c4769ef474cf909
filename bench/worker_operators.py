"""Which of Paddle's operators a training step spends its time in: prints {operator: share of the step} as JSON.

worker_operators.py CONFIG DATASET BATCH_SIZE STEPS
"""

import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))


def shares(config_path: str, dataset: str, batch_size: int, steps: int) -> dict[str, float]:
    """Time of each operator, forward and backward, as a share of the steps' wall time, by Paddle's own profiler."""
    import paddle
    from paddle import profiler

    from segcert.compute import components, training

    config = components.load_config(config_path, dataset, None, steps, batch_size, None)
    build = components.builder(config)
    batches = training._batches(components.CheckedDataset(build.train_dataset), batch_size, 0, 1)
    _, batch = next(batches)
    model = build.model
    model.train()
    optimizer, losses, scaler = build.optimizer, build.loss, paddle.amp.GradScaler(enable=False)

    def step() -> None:
        training.step(model, model, losses, optimizer, scaler, training.Precision("fp32"), batch)

    for _ in range(3):
        step()
    # without a handler of its own it would leave its trace in the working directory
    with profiler.Profiler(targets=[profiler.ProfilerTarget.CPU], on_trace_ready=lambda found: None) as watched:
        for _ in range(steps):
            step()
            watched.step()
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        watched.export(str(trace), format="json")
        events = [event for event in json.loads(trace.read_text(encoding="utf-8"))["traceEvents"] if "dur" in event]
    return summed(events)


def summed(events: list[dict]) -> dict[str, float]:
    """Shares by operator, the largest first, of the events of a trace, which are called `<operator>[<time>]`."""
    whole = sum(event["dur"] for event in events if event.get("cat") == "ProfileStep")
    spent: dict[str, float] = {}
    for event in events:
        if event.get("cat") == "Operator":
            name = event["name"].partition("[")[0].removesuffix(" dygraph")
            spent[name] = spent.get(name, 0.0) + event["dur"] / whole
    return dict(sorted(spent.items(), key=lambda item: -item[1]))


if __name__ == "__main__":
    print(json.dumps(shares(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
