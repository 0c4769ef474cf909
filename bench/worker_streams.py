"""This project's engine with several streams: its own scenarios, and MLPerf's load generator over the same streams."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "scripts"), str(Path(__file__).resolve().parent)]

from segcert.stage import deferred  # noqa: E402

deferred.defer()


def build(options):
    import mlperf
    import numpy as np
    from worker_common import samples

    from segcert.compute import stats, streams
    from segcert.compute.engines import library
    from segcert.compute.preprocess import deploy_config
    from segcert.requests.infer import Infer

    export, several = Path(options["export"]), options["streams"]
    program = deploy_config(export)["model"]
    engine = library.create(options["engine"], export, program, "cpu", "fp32", options["threads"], several)
    images = np.load(options["batch"])
    fed = streams.feed(engine, (([f"{number}"], images[number : number + 1]) for number in range(len(images))))
    crew = streams.Threads(engine.streams())
    answers = streams.Answers()
    streams.offline(crew, fed, options["warm_s"], answers)
    alone_ms = float(np.median(samples(lambda: engine.run(fed[0].batch))))
    runs = iter(range(10**6))

    def logs():
        """A folder of its own for each run of the load generator."""
        return Path(options["logs"]) / f"run_{next(runs)}"

    def offline(seconds):
        return stats.summarize(streams.offline(crew, fed, seconds, answers))["p50"]

    def server(seconds, queries, most_s):
        """Search for a rate as a cell does, and hand that to the load generator."""
        gates = {"min_agreement": 0, "max_miou_drop": 1, "max_logits_l2": 1, "max_logits_peak": 1}  # of cells alone
        request = Infer(streams=several, server_p99_ms=options["bound"] * alone_ms, **gates)
        found = streams._server(request, crew, fed, offline(seconds), alone_ms, answers)
        held = found["rate"] is not None
        asked = queries, most_s, found["rate"], found["bound_ms"]
        return {**found, "loadgen": mlperf.server(crew, fed, *asked, logs()) if held else None}

    def theirs(seconds):
        """By the load generator, which is told a rate that is rather too high, so that it takes at least so long."""
        return mlperf.offline(crew, fed, seconds, 1.2 * offline(0), logs())

    scenarios = {"offline": offline, "loadgen offline": theirs, "server": server}
    return {"alone_ms": alone_ms}, lambda scenario, **how: [scenarios[scenario](**how)]
