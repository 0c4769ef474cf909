"""Several requests at once: what is in flight is observed, each gets its own answer, and a rate is searched for."""

import dataclasses
import heapq
import threading

import numpy as np
import pages
import pytest
import stages
import yaml
from conftest import ROOT

from segcert import cells, noise, proof, record, sections, settings
from segcert.compute import inference, streams
from segcert.compute.engines import library
from segcert.compute.engines.base import Engine
from segcert.compute.engines.onnxruntime import OnnxRuntime
from segcert.compute.engines.openvino import OpenVino
from segcert.concluded import Concluded
from segcert.errors import ConfigError, StageError, Unverified
from segcert.machine import Hardware
from segcert.requests.infer import Infer
from segcert.show import page, plots, report
from segcert.stage import judging
from segcert.stage.judging import Exit

CPU = Hardware(0, "cpu", bf16=True, cores=4)
NEEDED = {"min_agreement": 0.999, "max_miou_drop": 0.001, "max_logits_l2": 2e-5, "max_logits_peak": 5e-5}
REQUEST = Infer(warmup=1, max_warmup=1, min_samples=4, streams=2, server_p99_ms=2000, **NEEDED)


@pytest.fixture(scope="module")
def exported(trained):
    done = stages.export(trained)
    assert done.returncode == 0, done.stderr
    return trained


@pytest.fixture
def cell(exported, dataset, tmp_path, monkeypatch):
    """Runs an inference cell in this process: what it comes to, as the supervisor would judge it, and its result."""
    monkeypatch.setattr(inference.machine, "cores", lambda: 4)

    def run(engine, **asked):
        request = dataclasses.replace(REQUEST, engine=engine, **asked)
        made = tmp_path / f"{engine}-{len(list(tmp_path.iterdir()))}"
        files = inference.Files(exported / "export", dataset, exported / "reference", tmp_path / "log", made)
        result = inference.infer(request, files, "pp_humanseg_lite")
        return judging.judge("infer", request.requested, result, Exit(0), None), result

    return run


# -- real engines -----------------------------------------------------------------------------


# oneDNN tells its number of threads once a process, so its engines run in processes of their own: see below.
@pytest.mark.parametrize("engine", ["native", "onnxruntime", "openvino"])
def test_requests_that_run_at_once_are_seen_to_and_answered_as_alone(cell, engine):
    bound = 2000 if engine in ("onnxruntime", "openvino") else None  # of the others it would take as long again
    outcome, result = cell(engine, server_p99_ms=bound)
    assert outcome.status.name == "passed", outcome.reason
    told = result.metrics
    assert result.effective["streams"] == 2 and result.effective["threads"] == 1
    assert told["stream_labels"] == 1 and told["streams"]["images"] == told["streams"]["distinct"] == 2
    assert told["streams"]["requests"] >= 2 * 4 and told["streams"]["worst_images"] == []
    assert told["offline"]["passes"] >= streams.PASSES == len(result.extra["samples_offline_ips"])
    low, high = told["offline"]["ips_ci95"]
    assert low <= told["offline"]["ips"] == told["throughput_ips"] <= high
    if bound:
        assert len(told["server"]["trials"]) == streams.STEPS and told["server"]["requests"] == 100
        assert all(trial["holds"] == (trial["p99_ms"] <= 2000) for trial in told["server"]["trials"])


def test_threads_are_those_of_each_stream(exported):
    """What a library says of all its streams together is told for one of them."""
    batch = np.ones((1, 3, 96, 128), np.float32)
    for engine, several, each, of_all in (("onnxruntime", 3, 2, 4), ("openvino", 2, 1, 2)):
        runner = library.create(engine, exported / "export", "model.json", "cpu", "fp32", each, several)
        asked = (
            runner.session.get_session_options().intra_op_num_threads  # besides, each caller computes
            if engine == "onnxruntime"
            else runner.compiled.get_property("INFERENCE_NUM_THREADS")
        )
        assert asked == of_all and runner.observe(batch)[0]["threads"] == each and len(runner.streams()) == several
        assert [np.array_equal(run(batch), runner.run(batch)) for run in runner.streams()] == [True] * several


@pytest.mark.parametrize("engine", ["onednn", "onednn_convolutions"])
def test_a_cell_of_several_streams_is_a_job_like_any_other(exported, dataset, engine):
    """Through the script, whose environment says how many threads each stream has."""
    name = f"two_{engine}"
    done = stages.infer(exported, dataset, name, "--engine", engine, "--streams", "2", "--server-p99-ms", "0.001")
    found = record.read(exported / (f"{name}.json" if done.returncode == 0 else f"{name}.failed.json"))
    if done.returncode == 0:
        assert found["status"] == "passed" and proof.unproven(found) == []
        assert found["requested"]["streams"] == found["effective"]["streams"] == 2
        assert found["metrics"]["server"]["rate"] is None and found["metrics"]["server"]["trials"] == []
    else:  # on one core alone
        assert "needs 2 CPU cores" in found["reason"]


# -- lies -------------------------------------------------------------------------------------

SHARED = """
import sys
sys.path.insert(0, {scripts!r})
from segcert.compute.engines.paddle_inference import PaddleInference
PaddleInference.streams = lambda self: [self.run] * self.several
import infer
if __name__ == "__main__":
    sys.exit(infer.main())
"""


def test_a_predictor_that_threads_share_without_a_clone_is_red(exported, dataset, tmp_path):
    """It answers with what another thread fed, or breaks."""
    lying = tmp_path / "lying.py"
    lying.write_text(SHARED.format(scripts=str(ROOT / "scripts")))
    done = stages.infer(exported, dataset, "shared", "--engine", "native", "--streams", "2", script_name=lying)
    assert done.returncode == 1, done.stderr
    found = record.read(exported / "shared.failed.json")
    assert found["status"] in ("accuracy-failed", "failed") and not (exported / "shared.json").exists()
    if found["status"] == "accuracy-failed":
        (gate,) = [gate for gate in found["metrics"]["gates"] if gate["name"] == "stream_labels"]
        worst = found["metrics"]["streams"]["worst_images"][0]["image"]
        assert gate["value"] < 1 and worst in gate["sentence"] and gate["sentence"] in found["reason"]


def test_a_stream_that_gives_what_another_was_asked_for_is_red(cell, monkeypatch):
    given = OnnxRuntime.streams

    def crossed(self):
        latest, runs = [], given(self)

        def run(batch, own=runs[0]):
            latest.append(own(batch))
            return latest[max(0, len(latest) - 2)]  # that of the request before, whoever asked

        return [run, *runs[1:]]

    monkeypatch.setattr(OnnxRuntime, "streams", crossed)
    outcome, result = cell("onnxruntime", server_p99_ms=None)
    assert outcome.status.name == "accuracy-failed" and result.metrics["server"] is None
    worst = result.metrics["streams"]["worst_images"]
    assert worst[0]["image"] in outcome.reason and worst[0]["differing"] > 0
    assert "label maps of 2 of 2 images were others, with several requests at once" in outcome.reason


@pytest.mark.parametrize(("engine", "kind"), [("onnxruntime", OnnxRuntime), ("openvino", OpenVino)])
def test_requests_that_wait_for_one_another_are_seen_to(cell, monkeypatch, engine, kind):
    given, lock = kind.streams, threading.Lock()

    def one_by_one(run):
        def waits(batch):
            with lock:
                return run(batch)

        return waits

    monkeypatch.setattr(kind, "streams", lambda self: [one_by_one(run) for run in given(self)])
    outcome, result = cell(engine, server_p99_ms=None)
    assert outcome.status.name == "failed" and "streams: 2 requested, 1 observed" in outcome.reason
    assert result.metrics["stream_labels"] == 1 and result.metrics["streams"]["in_the_middle"][1] < 0.2


def test_an_engine_that_has_one_stream_for_all_is_seen_to(cell, monkeypatch):
    """OpenVINO queues what it has no stream for; the callers wait side by side all the same."""
    monkeypatch.setattr(
        OpenVino, "build", lambda self, build=OpenVino.build: (setattr(self, "several", 1), build(self))
    )
    given = OpenVino.streams
    monkeypatch.setattr(OpenVino, "streams", lambda self: (setattr(self, "several", 2), given(self))[1])
    outcome, _ = cell("openvino", server_p99_ms=None)
    assert outcome.status.name == "failed" and "streams: 2 requested, 1 observed" in outcome.reason


def test_an_answer_of_another_size_differs_wholly():
    answers = streams.Answers()
    fed = streams.Fed(["a.png", "b.png"], np.zeros(1, np.float32), np.zeros((2, 4, 4), np.int32))
    answers.hold(fed, np.zeros((2, 4, 5), np.int32))
    answers.hold(streams.Fed(["c.png"], fed.batch, fed.labels[:1]), np.zeros((1, 4, 4), np.int64))
    assert answers.equal == pytest.approx(1 / 3) and [one["differing"] for one in answers.worst()] == [1, 1]
    assert streams.judge(answers, distinct=1)["weak"] is True and "weak" not in streams.judge(answers, distinct=2)


def test_requests_that_are_too_short_to_be_seen_prove_nothing(cell, monkeypatch):
    monkeypatch.setattr(streams, "SEEN", 1.0)
    with pytest.raises(Unverified, match="too short to see how many are computed at a time: take a larger batch"):
        cell("onnxruntime")


def test_a_thread_that_ended_computes_nothing(monkeypatch):
    number = 2**22 + 1  # more than the kernel gives
    monkeypatch.setattr(streams.threading, "get_native_id", lambda: number)
    progress = streams.Progress()
    progress.begin()
    assert progress.seconds() == {number: 0} and progress.at_work(0.0001) == []


@pytest.mark.parametrize(
    ("looks", "alone", "seen"),
    [
        ([2] * 33 + [1] * 67, 0.8, 2),  # half of 0.64 is asked
        ([2] * 31 + [1] * 69, 0.8, 1),
        ([2] * 20 + [0] * 80, 0.6, 2),
        ([4] * 21 + [3] * 79, 0.8, 4),
        ([4] * 20 + [3] * 80, 0.8, 3),
        ([1] * 100, 0.8, 1),
        ([0] * 100, 0.8, 1),
    ],
)
def test_how_many_are_at_once_follows_from_the_looks(looks, alone, seen):
    assert streams.Load(looks, 0.001, streams.Answers()).at_once(alone, 4) == seen


def test_an_engine_that_knows_no_streams_says_so():
    class Mkl(Engine):
        name = "mkl"
        build = run = logits = observe = lambda self, *_: None

    with pytest.raises(StageError, match="engine mkl: does not say how it computes several requests at once"):
        Mkl(ROOT, "model.json", "cpu", "fp32", 1, 2).streams()


def test_a_stream_that_breaks_keeps_no_other_waiting():
    def breaks(_batch):
        raise ValueError("it broke")

    fed = [streams.Fed(["a.png"], np.zeros((1, 3, 4, 4), np.float32), np.zeros((1, 4, 4), np.int32))]
    with streams.threads([breaks, lambda _batch: fed[0].labels]) as crew, pytest.raises(ValueError, match="it broke"):
        streams.under_load(crew, fed, 2)
    with streams.threads([breaks]) as crew, pytest.raises(ValueError, match="it broke"):
        streams.served(crew, fed, [0.0, 0.001], streams.Answers())


def test_batches_are_kept_as_far_as_there_is_room(monkeypatch):
    class Doubles:
        def run(self, batch):
            return 2 * batch

    prepared = [([f"{number}.png"], np.full((1, 4), number, np.float32)) for number in range(5)]
    assert [one.names for one in streams.feed(Doubles(), prepared)] == [[f"{number}.png"] for number in range(5)]
    monkeypatch.setattr(streams, "MOST_BYTES", 16)
    fed = streams.feed(Doubles(), prepared)
    assert [one.names for one in fed] == [["0.png"], ["1.png"]] and fed[1].labels.tolist() == [[2, 2, 2, 2]]


# -- the server scenario, with a made-up server ------------------------------------------------


def served(rate, count, service_s, at_once):
    """Milliseconds that requests take with a server whose every request takes the same time."""
    free, took = [0.0] * at_once, []
    for due in streams.arrivals(rate, count):
        begin = max(due, heapq.heappop(free))
        heapq.heappush(free, begin + service_s)
        took.append(1000 * (begin + service_s - due))
    return took


def highest(service_s, at_once, bound_ms, count=2000):
    capacity = at_once / service_s
    trials = streams.search(lambda rate: served(rate, count, service_s, at_once), capacity, bound_ms)
    assert len(trials) == streams.STEPS
    held, above = streams.best_of(trials, capacity)
    return held and held.rate / capacity, above / capacity


@pytest.mark.parametrize(("service_s", "at_once"), [(0.01, 1), (0.01, 2), (0.2, 2), (0.003, 8)])
def test_the_rate_that_is_found_is_that_of_the_server(service_s, at_once):
    """Against every 64th of its capacity, one by one: the highest that holds with none below it that does not."""
    for patience in (1.5, 3, 10):
        bound = 1000 * service_s * patience
        held, above = highest(service_s, at_once, bound)
        holds = [
            np.percentile(served(step / 64 * at_once / service_s, 2000, service_s, at_once), 99) <= bound
            for step in range(1, 64)
        ]
        below = [*holds, False].index(False)
        assert (held, above) == pytest.approx((below / 64, (below + 1) / 64))


def test_more_streams_and_more_patience_hold_more():
    alone, two = (highest(0.01, count, 30)[0] for count in (1, 2))
    assert 0 < alone < two < 1, "of two streams each waits less for the other"
    assert highest(0.01, 1, 100)[0] > alone


def test_what_takes_longer_alone_than_the_bound_holds_at_no_rate():
    held, above = highest(0.01, 1, 9)
    assert held is None and above == pytest.approx(1 / 64)


def test_what_holds_at_any_rate_is_known_up_to_what_it_gets_through():
    assert highest(0.01, 2, 1e9) == pytest.approx((63 / 64, 1))


def test_requests_come_at_random_and_on_average_at_the_rate():
    """Gaps of a Poisson process: exponential (Kolmogorov-Smirnov, 1 %), and independent of the one before."""
    gaps = np.diff(streams.arrivals(50, 20001), prepend=0)
    assert gaps.mean() == pytest.approx(1 / 50, rel=0.03)
    ordered = np.sort(gaps)
    below = np.arange(1, len(gaps) + 1) / len(gaps)
    assert np.abs(1 - np.exp(-50 * ordered) - below).max() < 1.63 / np.sqrt(len(gaps))
    assert abs(np.corrcoef(gaps[:-1], gaps[1:])[0, 1]) < 0.03
    assert np.allclose(np.multiply(2, streams.arrivals(100, 50)), streams.arrivals(50, 50)), "one pattern at any rate"
    assert not np.allclose(streams.arrivals(50, 50), streams.arrivals(50, 50, seed=2))


def test_requests_are_served_by_whoever_is_free_and_each_once():
    """A made-up engine, which takes no time of a core."""
    done = [[], []]
    fed = [streams.Fed([f"{n}.png"], np.full((1, 1), n, np.float32), np.zeros((1, 1), np.int32)) for n in range(3)]
    answers = streams.Answers()

    def stream(own):
        def run(batch):
            own.append(int(batch[0, 0]))
            return fed[0].labels

        return run

    with streams.threads([stream(own) for own in done]) as crew:
        took = streams.served(crew, fed, streams.arrivals(2000, 60), answers)
        assert len(took) == 60 and all(0 < seconds < 60 for seconds in took)
        assert sorted(done[0] + done[1]) == sorted(n for n in range(3) for _ in range(20))
        passes = streams.offline(crew, fed, 0, answers)
    assert len(passes) == streams.PASSES and len(done[0] + done[1]) == 60 + 8 * streams.PASSES
    assert answers.requests == 60 + 8 * streams.PASSES and answers.equal == 1


@pytest.mark.parametrize("scores", [False, True])
@pytest.mark.parametrize("scenario", ["offline", "served"])
def test_answers_are_looked_at_while_they_are_timed_too(scenario, scores):
    """A made-up engine that gives zeros from its thirtieth request on."""
    right = np.zeros((1, 32, 4), np.int32)
    right[:, 16] = 1
    fed = [streams.Fed(["a.png"], np.zeros((1, 3, 32, 4), np.float32), right)]
    given = np.stack([1 - right, right], axis=1).astype(np.float32) if scores else right
    asked = iter(range(10**6))
    answers = streams.Answers()
    with streams.threads([lambda _batch: given if next(asked) < 30 else np.zeros_like(given)] * 2) as crew:
        if scenario == "offline":
            streams.offline(crew, fed, 0, answers)
        else:
            streams.served(crew, fed, streams.arrivals(5000, 100), answers)
    assert answers.equal == 0 and answers.requests > 30
    judged = streams.judge(answers, 2)
    assert judged["holds"] is False and "a.png" in judged["sentence"]


# -- the matrix -------------------------------------------------------------------------------


def table(hardware=CPU, **asked):
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
    asked = {"mode": "smoke", "models": ["pp_humanseg_lite"], **asked}
    return cells.CellTable(settings.resolve(sections.merge(config, asked), asked, "config.yaml"), hardware)


def streamed(made):
    return [cell for cell in made.cells if "streams" in cell.requested]


def test_mode_smoke_has_two_such_cells_of_one_model():
    found = [
        (cell.model, cell.requested["engine"], cell.threads, cell.status) for cell in streamed(table(models="all"))
    ]
    assert found == [("pp_humanseg_lite", engine, 2, None) for engine in ("onnxruntime", "openvino")]
    assert streamed(table(mode="lite_train_lite_infer")) == []


def test_a_number_of_streams_is_a_cell_beside_that_of_one():
    """Of every entry and number of threads, or of those that its entry is for; each once."""
    asked = {"streams": [2, 1, {"streams": 2, "engines": ["openvino"]}, {"streams": 3, "precisions": ["int8"]}]}
    made = table(
        infer={**asked, "sizes": [], "cpu_threads": [1, 2], "scenarios": ["offline"]},
        hardware=dataclasses.replace(CPU, cores=5),
    )
    inferred = [cell for cell in made.cells if cell.stage == "infer" and cell.requested["device"] == "cpu"]
    plain = [cell for cell in inferred if "streams" not in cell.requested]
    of_2, of_3 = ([cell for cell in inferred if cell.requested.get("streams") == number] for number in (2, 3))
    assert len(plain) == len(of_2) == 16 and len(of_3) == 4
    for one, two in zip(plain, of_2, strict=True):
        assert two.name == f"{one.name}_streams_2" and two.threads == 2 * one.threads
        assert two.requested == {**one.requested, "streams": 2}
        assert two.options == [*one.options[:7], two.name, *one.options[8:], "--streams", "2"]
    assert {cell.reason for cell in of_3} == {None, "needs 6 CPU cores; a job may use 5 here"}


def test_a_gpu_has_none_yet():
    gpu = Hardware(1, "gpu", cores=4)
    found = [cell for cell in streamed(table(gpu, infer={"streams": [2]})) if cell.requested["device"] == "gpu"]
    assert {(cell.status, cell.reason) for cell in found} == {("unverified", cells.STREAMS_OF_A_GPU)}


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"streams": []}, "infer.streams: [] is refused"),
        ({"streams": [0]}, "infer.streams.0: 0 is refused"),
        ({"streams": [{"streams": 2, "engines": ["mkl"]}]}, "infer.streams.0"),
        ({"streams": [{"streams": 2, "models": ["moon"]}]}, 'infer.streams.0.models.0: "moon" is refused'),
        ({"scenarios": ["server"]}, "allowed: [offline], or [offline, server]"),
        ({"server_p99_ms": 0}, "infer.server_p99_ms: 0 is refused"),
    ],
)
def test_what_cannot_be_is_refused_by_its_key(asked, words):
    with pytest.raises(ConfigError) as told:
        table(infer=asked)
    assert words in str(told.value)


def test_the_table_of_a_run_of_before_knows_no_streams():
    old = table(infer={"streams": [1]})
    before = dict(old.settings)
    left_out = ("streams", "scenarios", "server_p99_ms", "soak")
    before["infer"] = {key: value for key, value in before["infer"].items() if key not in left_out}
    before["train"] = {key: value for key, value in before["train"].items() if key != "soak"}
    before["gates"] = {key: value for key, value in before["gates"].items() if not key.startswith("memory_mb_per")}
    assert cells.CellTable(before, CPU).cells == old.cells


# -- what is shown ----------------------------------------------------------------------------


def measured(ips, rate):
    server = {"rate": rate, "rate_range": rate and [rate, rate + 2], "bound_ms": 100, "p99_ms": rate and 88.5,
              "p99_ci95": rate and [80, 91]}  # fmt: skip
    timed = dict.fromkeys(("p50", "p95", "min", "max"), 5.0) | {"p50_ci95": [4, 6], "count": 9}
    return {"offline": {"ips": ips, "ips_ci95": [ips - 1, ips + 1], "load": {"own_cores": 2.0, "noticed": False}},
            "server": server, "stream_labels": 1.0, "inference_ms": timed, "throughput_ips": ips,
            "pixel_agreement": 1.0, "build_s": 1, "worker_rss_mb": 100}  # fmt: skip


def test_the_tables_have_both_scenarios(tmp_path):
    conclusions = pages.every_status(tmp_path)
    inferred = [cell for cell in conclusions.cells if cell["stage"] == "infer" and cell.metrics]
    for cell, rate in zip(inferred[:2], (42.5, None), strict=True):
        content = {**cell, "metrics": {**cell.metrics, **measured(345.6, rate)}}
        content["requested"] = {**cell.requested, "streams": 2, "server_p99_ms": 100}
        content["effective"] = {**cell.effective, "streams": 2}
        conclusions.cells[conclusions.cells.index(cell)] = Concluded(content)
    shown = conclusions.select(streams=2)
    assert all("· 2 streams" in cell.label(form) for cell in shown for form in ("short", "full", "engine"))
    text = report.markdown(conclusions)
    table = text.partition("## Several requests at once")[2].partition("\n## ")[0]
    assert "42.5 – 44.5" in table and "344.6 – 346.6" in table and "80 – 91" in table and table.count("345.6") == 2
    rows = report.cells_frame(conclusions)
    assert rows["streams"].dropna().tolist() == [2, 2] and rows["server_rate"].dropna().tolist() == [42.5]
    assert len(report.latency_frame(conclusions)) == len(inferred) - 2
    assert plots.latency_points(shown) == []
    assert not [item for item in conclusions.fastest if "streams" in item["asked"]]
    rendered = page.render(conclusions, "", tmp_path)
    for words in ('id="streams"', "42.5 – 44.5", "344.6 – 346.6", "离线（图/秒）"):
        assert words in rendered
    assert 'id="streams"' not in page.render(pages.every_status(tmp_path), "", tmp_path)


def test_runs_are_compared_by_images_a_second_of_several_streams():
    metric = noise.BY_NAME["offline_ips"]
    cell = Concluded({"stage": "infer", "effective": {"device": "cpu"}, "metrics": measured(345.6, None)})
    assert noise.figure_of(cell, metric) == 345.6 and noise.interval_of(cell, metric) == (344.6, 346.6)
    assert noise.cores_of(cell, metric.load) == noise.Cores(2.0, 0.0) and not metric.lower_is_better
