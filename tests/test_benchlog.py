"""The benchmark log: PaddleSeg's sample field by field, and our own log through the same parser."""

import sys
from datetime import datetime

import pytest
import tipc_logs

from segcert.compute import inference
from segcert.errors import StageError
from segcert.tipc import benchlog

# The sample in the documentation of TIPC, under its heading on the benchmark option.
TIPC_SAMPLE = """
2022-04-13 11:43:09 [INFO]    ---------------------- Env info ----------------------
2022-04-13 11:43:09 [INFO]     OS_version: CentOS Linux 7
2022-04-13 11:43:09 [INFO]     CUDA_version: 11.2.67
Build cuda_11.2.r11.2/compiler.29373293_0
2022-04-13 11:43:09 [INFO]     CUDNN_version: None.None.None
2022-04-13 11:43:09 [INFO]     drivier_version: 460.27.04
2022-04-13 11:43:09 [INFO]    ---------------------- Paddle info ----------------------
2022-04-13 11:43:09 [INFO]     paddle_version: 2.2.2
2022-04-13 11:43:09 [INFO]     paddle_commit: b031c389938bfa15e15bb20494c76f86289d77b0
2022-04-13 11:43:09 [INFO]     log_api_version: 1.0
2022-04-13 11:43:09 [INFO]    ----------------------- Conf info -----------------------
2022-04-13 11:43:09 [INFO]     runtime_device: cpu
2022-04-13 11:43:09 [INFO]     ir_optim: True
2022-04-13 11:43:09 [INFO]     enable_memory_optim: True
2022-04-13 11:43:09 [INFO]     enable_tensorrt: False
2022-04-13 11:43:09 [INFO]     enable_mkldnn: False
2022-04-13 11:43:09 [INFO]     cpu_math_library_num_threads: 1
2022-04-13 11:43:09 [INFO]    ----------------------- Model info ----------------------
2022-04-13 11:43:09 [INFO]     model_name:
2022-04-13 11:43:09 [INFO]     precision: fp32
2022-04-13 11:43:09 [INFO]    ----------------------- Data info -----------------------
2022-04-13 11:43:09 [INFO]     batch_size: 1
2022-04-13 11:43:09 [INFO]     input_shape: dynamic
2022-04-13 11:43:09 [INFO]     data_num: 50
2022-04-13 11:43:09 [INFO]    ----------------------- Perf info -----------------------
2022-04-13 11:43:09 [INFO]     cpu_rss(MB): 315.2656, gpu_rss(MB): 8842.0, gpu_util: 0.0%
2022-04-13 11:43:09 [INFO]     total time spent(s): 4.2386
2022-04-13 11:43:09 [INFO]     preprocess_time(ms): 33.7887, inference_time(ms): 50.7443, postprocess_time(ms): 0.2391
"""

SEED_VALUES = {
    "env": {
        "OS_version": "CentOS Linux 7",
        "CUDA_version": "11.2.67\nBuild cuda_11.2.r11.2/compiler.29373293_0",
        "CUDNN_version": "None.None.None",
        "drivier_version": "460.27.04",
    },
    "paddle": {
        "paddle_version": "2.2.2",
        "paddle_commit": "b031c389938bfa15e15bb20494c76f86289d77b0",
        "log_api_version": 1.0,
    },
    "conf": {
        "runtime_device": "cpu",
        "ir_optim": True,
        "enable_memory_optim": True,
        "enable_tensorrt": False,
        "enable_mkldnn": False,
        "cpu_math_library_num_threads": 1,
    },
    "model": {"model_name": "", "precision": "fp32"},
    "data": {"batch_size": 1, "input_shape": "dynamic", "data_num": 50},
    "perf": {
        "cpu_rss(MB)": 315.2656,
        "gpu_rss(MB)": 8842.0,
        "gpu_util": 0.0,
        "total time spent(s)": 4.2386,
        "preprocess_time(ms)": 33.7887,
        "inference_time(ms)": 50.7443,
        "postprocess_time(ms)": 0.2391,
    },
}


def test_seed_sample_field_by_field():
    assert tipc_logs.benchmark(TIPC_SAMPLE) == SEED_VALUES


def test_our_log_reads_back_and_looks_like_the_seeds():
    text = benchlog.format_log(SEED_VALUES, datetime(2022, 4, 13, 11, 43, 9))
    assert tipc_logs.benchmark(text) == SEED_VALUES
    # Apart from the trailing blank after an empty model name, the lines are PaddleSeg's, one by one.
    assert [line.rstrip() for line in text.splitlines()] == TIPC_SAMPLE.strip().splitlines()


@pytest.mark.parametrize("code", [None, 0, 3])
def test_a_logger_that_ends_the_process_is_heard_all_the_same(code):
    """A stand-in for auto_log, which is on no package registry, and ends the process once it has written its lines."""

    class Logger:
        times = None

        def report(self):
            lines.extend(TIPC_SAMPLE.splitlines(keepends=True))
            sys.exit(code)

    lines = []
    writer = inference._AutoLog(Logger(), lines)
    if code:
        with pytest.raises(StageError, match="auto_log ended with exit code 3"):
            writer.report()
    else:
        assert tipc_logs.benchmark(writer.report()) == SEED_VALUES


def test_other_lines_around_the_block_do_not_matter():
    noisy = f"W0101 some warning\n{TIPC_SAMPLE}2022-04-13 11:43:10 [INFO]    Finish\ndone\n"
    assert tipc_logs.benchmark(noisy) == SEED_VALUES


def test_a_log_without_a_key_is_refused_by_name():
    with pytest.raises(tipc_logs.LogError, match="Data info has no data_num"):
        tipc_logs.benchmark(TIPC_SAMPLE.replace("data_num: 50", "other: 50"))


def test_a_log_without_a_block_is_refused_by_name():
    with pytest.raises(tipc_logs.LogError, match="Env info"):
        tipc_logs.benchmark("2022-04-13 11:43:09 [INFO]    nothing here\n")


def test_a_continued_value_may_have_a_prefix_of_its_own():
    """As AutoLog's own logger writes nvcc's second line."""
    logged = TIPC_SAMPLE.replace("Build cuda", "2022-04-13 11:43:09 [INFO]    Build cuda")
    assert tipc_logs.benchmark(logged) == SEED_VALUES
