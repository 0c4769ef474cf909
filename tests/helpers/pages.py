"""Conclusions made by hand for the tests of what is shown: one cell of every status, and hostile text."""

from pathlib import Path

from segcert import machine, statuses
from segcert.concluded import Concluded
from segcert.conclusions import Conclusions
from segcert.files import sha256

EVIL = (
    """<script>window.pwned=1</script>'"><img src=x onerror="window.pwned=2">"""
    "</script></code></pre><b id=evil>&amp;{{7*7}}"
)
MODEL = "model_<b>&'\""
ENV = machine.environment()
TIMING = {"count": 8, "mean": 5.0, "p50": 4.5, "p50_ci95": [4.0, 6.0], "p90": 7.0, "p95": 8.0, "p99": None}


def cell(folder, model, stage, name, status, *, train_cell="single_fp32", reason=None, log=None, **requested):
    """A cell as conclusions.json has it; one that was exercised has what a run leaves."""
    infer = stage == "infer"
    path = folder / model / train_cell / (f"infer/{name}.json" if infer else f"{stage}.json")
    entry = {
        "schema_version": 1, "model": model, "algorithm": "Algorithm", "mode": "smoke", "stage": stage, "cell": name,
        "train_cell": train_cell, "topology": train_cell.split("_")[0], "status": status, "reason": reason,
        "requested": requested, "record": path.as_posix(),
    }  # fmt: skip
    if statuses.by_name(status).exercised:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
        path.with_suffix(".log").write_text(log if log is not None else "first line\nlast line\n")
        entry |= {
            "command": f"python scripts/{stage}.py --cell {name}", "log": path.with_suffix(".log").as_posix(),
            "started": "2026-11-20T10:00:00Z", "wall_s": 1.5, "cpu_s": 1.0, "peak_rss_mb": 100.0,
            "env": ENV, "effective": dict(requested), "inputs": {},
            "metrics": {}, "outputs": {},
        }  # fmt: skip
        if infer and status != "failed":
            gate = {"name": "pixel_agreement", "value": 0.99996, "bound": "at least", "threshold": 0.999}
            gate["holds"] = status == "passed"
            entry["metrics"] = {
                "inference_ms": TIMING, "throughput_ips": 222.2, "pixel_agreement": 0.999996, "build_s": 1.0,
                "worker_rss_mb": 100.0, "load": {"noticed": False, "jobs_beside": "none"},
                "gates": [{**gate, "sentence": "agrees"}],
            }  # fmt: skip
    return entry


def of_engine(folder, model, status, engine="onednn", precision="fp32", threads=1, device="cpu", **more):
    name = f"{device}_{engine}_{precision}_{threads}"
    more = {"train_cell": "single_fp32", **more}
    return cell(folder, model, "infer", name, status, device=device, engine=engine, precision=precision,
                threads=threads, batch_size=1, **more)  # fmt: skip


def history(train, losses):
    """Lay the history of a training beside its record, as its record names it."""
    path = Path(train["record"]).with_name("history.csv")
    path.write_text("iter,loss\n" + "".join(f"{index},{loss}\n" for index, loss in enumerate(losses, 1)))
    train["outputs"][path.as_posix()] = sha256(path)
    return path


def views(cells):
    """Cells as the page, the plots and the pictures look at them."""
    return [Concluded(cell) for cell in cells]


def every_status(folder, reason="because"):
    """A run with a cell of every status; whatever is text in it is `reason`."""
    train = cell(folder, MODEL, "train", "single_fp32", "passed", device="cpu", devices=1, precision="fp32")
    amp = cell(
        folder,
        MODEL,
        "train",
        "single_amp_O1_float16",
        "unverified",
        reason=reason,
        train_cell="single_amp_O1_float16",
        device="gpu",
        precision="amp",
        level="O1",
        dtype="float16",
    )
    history(train, [3.0, 2.0, 1.0])
    cells = [train, amp, cell(folder, MODEL, "eval", "single_fp32", "passed", device="cpu", precision="fp32")]
    for threads, status in enumerate(statuses.ALL, 1):
        text = None if status is statuses.PASSED else reason
        one = of_engine(folder, MODEL, status.name, threads=threads, reason=text, log=f"first\n{reason}\n")
        if "command" in one:
            one["command"] += f" --text {reason}"
        cells.append(one)
    return Conclusions("smoke", cells)


def made_up(section="red"):
    """A status that there is not, which ran and is listed in a section."""
    return statuses.Status(
        name="flaky", symbol="~", meaning="passes now and then", zh="时好时坏", zh_meaning="有时通过，有时失败",
        red=section == "red", exercised=True, severity=8, badness=3, holds_up="blocked", stops=True, section=section,
    )  # fmt: skip


def admit(monkeypatch, status):
    """Let it be one of all."""
    monkeypatch.setattr(statuses, "ALL", (*statuses.ALL, status))
    monkeypatch.setitem(statuses.BY_NAME, status.name, status)
