"""What becomes of a stage, branch by branch: no process is needed for it."""

import ast
import dataclasses
import signal

import pytest
from conftest import ROOT

from segcert import own_scripts, proof, published
from segcert.stage import judging
from segcert.stage.judging import Exit, Known, Told
from segcert.stage.worker import Result

ASKED = {"device": "cpu", "engine": "onednn", "precision": "fp32", "batch_size": 1}
FINE = Exit(0)
MOON = Known("moon", "moon is \\w+", "astronomy", "https://example.org/1")


LOGITS = [proof.gate(name, 0.0, "at most", 0.1, f"{name} is 0") for name in proof.LOGITS]


def gate(value, **more):
    return {**proof.gate("pixel_agreement", value, "at least", 0.9, f"agreement is {value}"), **more}


def measured(*gates, seen=(), **metrics):
    """What an inference cell finds that has all that it must have, with changes."""
    times = {"count": 2, "p50": 2.0, "mean": 2.0, "min": 1.0, "max": 3.0}
    logits = {"effective": {name: ASKED[name] for name in proof.OF_AN_ENGINE}}
    metrics = {"pixel_agreement": 0.95, "inference_ms": times, "logits": logits, **metrics}
    samples = {"samples_ms": {"inference": [1.0, 3.0]}}
    return Result({**ASKED, **dict(seen)}, metrics, [*(gates or [gate(0.95)]), *LOGITS], samples)


def judge(result=None, end=FINE, told=None, known=(), asked=None, **more):
    found = judging.judge("infer", {**ASKED, **(asked or {})}, result, end, told, known, **more)
    return found.status.name, found.reason


def test_one_that_proves_what_was_asked_for_passes():
    assert judge(measured()) == ("passed", None)
    found = judging.judge("infer", ASKED, measured(), FINE, None)
    assert found.result == measured() and not found.lasting
    assert judging.metrics(found.result) == {**measured().metrics, "gates": [gate(0.95), *LOGITS]}
    assert judging.metrics(Result({}, {"n": 1})) == {"n": 1}


def test_what_is_known_excuses_no_gate_that_it_does_not_name():
    """A cell that computed otherwise than asked, and wrong as well: the first is known, the second is not."""
    otherwise = Known("K1", "onednn requested, native observed", "so it is", "https://example.org/1")
    apart = "engine: onednn requested, native observed"
    right, wrong = measured(seen={"engine": "native"}), measured(gate(0.5), seen={"engine": "native"})
    assert judge(right, known=[otherwise])[0] == "known-failure"
    assert judge(wrong, known=[otherwise]) == ("failed", f"{apart}; agreement is 0.5")
    of_gate = Known("K2", "agreement is 0", "rounding", "https://example.org/2")
    assert judge(wrong, known=[otherwise, of_gate])[0] == "known-failure"
    assert judge(measured(gate(0.5)), known=[of_gate])[0] == "known-failure"
    assert judge(measured(gate(0.5)), known=[otherwise])[0] == "accuracy-failed"
    asked = {"precision": "amp"}
    on_cpu = judge(measured(gate(0.5), seen={"precision": "fp32"}), asked=asked)
    assert on_cpu == ("failed", "precision: amp requested, fp32 observed; agreement is 0.5")


@pytest.mark.parametrize("code", [0, 1, -signal.SIGTERM])
def test_one_that_was_ended_says_why_whatever_else_it_left(code):
    end = Exit(code, "timed out after 1 minutes", out_of_memory=True)
    assert judge(measured(), end, Told("the moon is wrong")) == ("failed", "timed out after 1 minutes")
    assert judging.judge("infer", ASKED, measured(), end, None).result == Result({})


@pytest.mark.parametrize("code", [0, 1])
def test_what_the_worker_told_goes_before_how_it_ended(code):
    assert judge(measured(), Exit(code), Told("the moon is wrong")) == ("failed", "the moon is wrong")
    assert judge(None, Exit(code), Told("needs a sun", unverified=True)) == ("unverified", "needs a sun")
    for lasting in (True, False):
        told = Told("nobody tells", unverified=True, lasting=lasting)
        assert judging.judge("infer", ASKED, None, Exit(code), told).lasting is lasting


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (3, "ended with exit code 3 and no message; see the log"),
        (-signal.SIGKILL, "killed by SIGKILL; was the machine out of memory? (dmesg tells)"),
        (-signal.SIGSEGV, "killed by SIGSEGV in native code"),
        (-signal.SIGTERM, "killed by SIGTERM"),
    ],
)
def test_one_that_told_nothing_has_its_exit_in_words(code, words):
    assert judge(measured(), Exit(code)) == ("failed", words)
    killed = Exit(code, out_of_memory=True)
    assert judge(None, killed) == ("failed", f"{words}; a process of its group was killed for its memory")


@pytest.mark.parametrize(
    ("printed", "words"),
    [
        (b"begun\n\ncannot do it\n----\n\n", "cannot do it"),
        (b"ERROR of before\nat work\nERROR no such thing\n[error] there are errors\n", "ERROR no such thing [error] "),
        (b"what it said\n\n----\nC++ Traceback (most recent call last):\n----\n0 f()\n"
         b"`abort` is detected by the operating system.\n  [SignalInfo: SIGABRT]\n", "what it said"),
        (b"C++ Traceback (most recent call last):\n0 f()\nhandled\n", "handled"),
        (b"x" * 1000, f"{'x' * 400} ..."),
        (b"\xff odd \t words", "\ufffd odd words"),
    ],
)  # fmt: skip
def test_the_last_that_was_printed_is_why_native_code_ended(printed, words):
    for code, how in ((-signal.SIGABRT, "killed by SIGABRT"), (3, "ended with exit code 3")):
        status, reason = judge(None, Exit(code, printed=printed))
        assert status == "failed" and reason.startswith(words)
        assert reason.endswith(f"(the last that it printed; {how})")
    for code in (-signal.SIGKILL, -signal.SIGTERM):  # somebody else ended it
        assert judge(None, Exit(code, printed=printed)) == judge(None, Exit(code))


def test_one_without_a_result_or_without_its_outputs_failed():
    assert judge(None, Exit(0, out_of_memory=True)) == ("failed", "ended without a result although its exit code was 0")
    missing = {"missing": ["benchmark_log", "predictions"]}
    assert judge(measured(), **missing) == ("failed", "ended without its outputs benchmark_log, predictions")
    assert judge(None, **missing) == ("failed", "ended without a result although its exit code was 0")
    assert judging.judge("infer", ASKED, measured(), FINE, None, **missing).result == measured()


def test_something_else_ran_than_was_asked_for():
    fell_back = measured(gate(0.5), seen={"engine": "native", "precision": "bf16"})
    reason = "engine: onednn requested, native observed; precision: fp32 requested, bf16 observed"
    assert judge(fell_back) == ("failed", f"{reason}; agreement is 0.5")
    amp = {"precision": "amp", "device": "cpu"}
    assert judge(measured(), asked=amp) == ("unverified", "precision: amp requested, fp32 observed")
    elsewhere = measured(seen={"device": "gpu"})
    assert judge(elsewhere, asked={**amp, "device": "gpu"})[0] == "failed", "a GPU can compute in mixed precision"


def test_a_gate_that_does_not_hold():
    low = measured(gate(0.5), pixel_agreement=0.5)
    assert judge(low) == ("accuracy-failed", "agreement is 0.5")
    lie = "the gate pixel_agreement is said to hold and does not: 0.5, at least 0.9 is asked"
    assert judge(measured(gate(0.5, holds=True), pixel_agreement=0.5)) == ("accuracy-failed", lie)


def test_what_the_conclusions_would_not_believe_has_not_passed():
    assert judge(measured(pixel_agreement=0.99)) == (
        "failed",
        "not proved: the gate pixel_agreement was held against 0.95, and 0.99 is its metric",
    )
    bare = measured()
    del bare.effective["batch_size"], bare.extra["samples_ms"]
    assert judge(bare) == ("failed", "not proved: batch_size was not observed; it has no timed samples")
    assert judge(bare, asked={"batch_size": None})[0] == "failed"


def test_what_was_computed_on_a_stand_in_never_passes():
    stand_in = {"stand_in": "a CPU for a GPU"}
    assert judge(measured(), **stand_in) == ("unverified", "computed on a stand-in: a CPU for a GPU")
    other = {"device": "gpu", "engine": "tensorrt", "precision": "fp16"}
    assert judge(measured(), asked=other)[0] == "failed"
    assert judge(measured(), asked=other, **stand_in)[0] == "unverified", "what it cannot do as asked is forgiven"
    assert judge(measured(), asked={"batch_size": 2}, **stand_in)[0] == "failed", "what it can do is not"
    assert judge(measured(gate(0.5), pixel_agreement=0.5), **stand_in)[0] == "accuracy-failed"


def test_a_failure_that_is_known_is_none():
    seen = "moon: astronomy (https://example.org/1) Seen: "
    assert judge(told=Told("the moon is wrong"), known=[MOON]) == ("known-failure", f"{seen}the moon is wrong")
    assert judge(told=Told("it rains"), known=[MOON]) == ("failed", "it rains")
    at_length = Told("it rains", ["it rains", "RainError: the moon is wrong"])
    assert judge(told=at_length, known=[MOON]) == ("known-failure", f"{seen}it rains"), "it may be in what is left out"
    wet = Known("rain", "^it rains$", "weather", "https://example.org/2")
    assert judge(told=at_length, known=[wet, MOON])[1] == "rain: weather (https://example.org/2) Seen: it rains"
    low = Known("low", "agreement is 0.5", "small", "https://example.org/3")
    assert judge(measured(gate(0.5), pixel_agreement=0.5), known=[low])[0] == "known-failure"
    timed_out = Known("slow", "timed out", "slow", "https://example.org/4")
    assert judge(None, Exit(1, "timed out after 1 minutes"), known=[timed_out])[0] == "known-failure"


def known_gates(error=".", name="G1", **gates):
    return Known(name, error, "rounding", "https://example.org/9", gates)


def test_a_gate_is_excused_as_far_as_it_is_known_to_be_off():
    """A wrong result has no message: it is known by its numbers, and one that is worse is not known."""
    low = measured(gate(0.5), pixel_agreement=0.5)
    seen = "G1: rounding (https://example.org/9) Seen: agreement is 0.5"
    for bound in (0.5, 0.4):
        assert judge(low, known=[known_gates(pixel_agreement=bound)]) == ("known-failure", seen)
    assert judge(low, known=[known_gates(pixel_agreement=0.6)]) == (
        "accuracy-failed",
        "agreement is 0.5; not as known: G1 excuses pixel_agreement of at least 0.6, and 0.5 is worse by 0.1",
    )
    assert judge(low, known=[known_gates(pixel_agreement=0.6), known_gates(name="G2", pixel_agreement=0.5)]) == (
        "known-failure", seen.replace("G1", "G2")
    )  # fmt: skip
    assert judge(low, known=[known_gates(logits_l2=9)]) == (
        "accuracy-failed", "agreement is 0.5; not as known: G1 says nothing of pixel_agreement"
    )  # fmt: skip
    assert judge(low, known=[MOON]) == ("accuracy-failed", "agreement is 0.5"), "it names no gates"


def test_which_way_is_worse_is_the_gates_own():
    far = proof.gate("logits_peak", 0.5, "at most", 0.1, "they are 0.5 off")
    assert judge(measured(gate(0.95), far), known=[known_gates(logits_peak=0.6)])[0] == "known-failure"
    status, reason = judge(measured(gate(0.95), far), known=[known_gates(logits_peak=0.3)])
    assert status == "accuracy-failed" and reason.endswith(
        "G1 excuses logits_peak of at most 0.3, and 0.5 is worse by 0.2"
    )


def test_every_gate_that_does_not_hold_must_be_known():
    far = proof.gate("logits_peak", 0.5, "at most", 0.1, "they are 0.5 off")
    both = measured(gate(0.5), far, pixel_agreement=0.5)
    assert judge(both, known=[known_gates(pixel_agreement=0.5, logits_peak=0.5)])[0] == "known-failure"
    one = [known_gates(pixel_agreement=0.5)]
    assert judge(both, known=one) == (
        "accuracy-failed", "agreement is 0.5; they are 0.5 off; not as known: G1 says nothing of logits_peak"
    )  # fmt: skip
    words = Known("W", "they are 0.5 off", "so", "https://example.org/8")
    other = known_gates(name="G2", logits_peak=0.5)
    for second in (words, other):
        status, reason = judge(both, known=[*one, second])
        assert status == "known-failure" and reason.count("https://example.org/") == 2, "each by one of its own"


@pytest.mark.parametrize("holds", [False, True])
def test_a_gate_without_a_number_is_excused_by_none(holds):
    none = measured(gate(None, holds=holds), pixel_agreement=None)
    status, reason = judge(none, known=[known_gates(pixel_agreement=0)])
    assert status == "accuracy-failed"
    told = (
        "nothing excuses this: the gate pixel_agreement is said to hold"
        if holds
        else "of at least 0, and it is no number"
    )
    assert told in reason


def test_a_gate_that_lies_is_excused_by_none():
    entry = [known_gates(pixel_agreement=0)]
    for value, holds in ((0.5, True), (0.95, False)):
        status, reason = judge(measured(gate(value, holds=holds), pixel_agreement=value), known=entry)
        assert status == "accuracy-failed" and "not as known: nothing excuses this: " in reason
    assert judge(measured({"name": 1}), known=entry)[0] == "accuracy-failed"


def test_what_excuses_a_gate_excuses_nothing_else():
    entry = [known_gates(pixel_agreement=0.1)]
    assert judge(told=Told("the moon is wrong"), known=entry) == ("failed", "the moon is wrong")
    native = measured(gate(0.5), seen={"engine": "native"}, pixel_agreement=0.5)
    apart = "engine: onednn requested, native observed"
    assert judge(native, known=entry) == ("failed", f"{apart}; agreement is 0.5")
    by_words = Known("W", "agreement is", "so", "https://example.org/8")
    assert judge(native, known=[by_words])[0] == "failed", "its words are the gate's"
    assert (
        judge(native, known=[*entry, Known("N", "native observed", "so", "https://example.org/7")])[0]
        == "known-failure"
    )


def test_with_words_and_gates_both_must_hold():
    low = measured(gate(0.5), pixel_agreement=0.5)
    assert judge(low, known=[known_gates("agreement is", pixel_agreement=0.5)])[0] == "known-failure"
    status, reason = judge(low, known=[known_gates("the moon", pixel_agreement=0.5)])
    assert status == "accuracy-failed" and reason.endswith("not as known: G1 is told by 'the moon' as well")


def test_one_that_passes_although_its_gates_are_listed_says_so():
    for error in (".", "so it is"):
        remark = judge(
            dataclasses.replace(measured(), remark="so it is"), known=[known_gates(error, pixel_agreement=0.5)]
        )
        assert remark == ("passed", "so it is; passes although listed as known failure G1: take it off the list")


def test_every_gate_has_a_name_that_a_configuration_may_name():
    found = set()
    for file in (ROOT / "scripts").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "proof.gate":
                named = {part.value for part in ast.walk(node.args[0]) if isinstance(part, ast.Constant)}
                found |= named
                assert {proof.GATES[name] for name in named} <= {ast.literal_eval(node.args[2])}
    assert found and found <= set(proof.GATES)
    assert {*own_scripts.GATES.values(), published.GATE} <= set(proof.GATES)


@pytest.mark.parametrize("name", proof.GATES)
def test_a_gate_that_is_turned_round_does_not_hold(name):
    other = proof.MOST if proof.GATES[name] == proof.LEAST else proof.LEAST
    assert proof.gate(name, 1, proof.GATES[name], 1, "so")["holds"] and not proof.gate(name, 1, other, 1, "so")["holds"]


def test_only_a_failure_can_be_a_known_one():
    assert judge(told=Told("the moon is hidden", unverified=True), known=[MOON]) == ("unverified", "the moon is hidden")
    rain = Known("rain", "rain", "weather", "https://example.org/2")
    remark = "passes although listed as known failure moon, rain: take it off the list"
    assert judge(measured(), known=[MOON, rain]) == ("passed", remark)


def test_what_was_made_on_a_stand_in_holds_up_what_is_not():
    """What follows from each status of what a stage is made from: tests/test_statuses.py."""
    above = {"status": "unverified", "stage": "train", "cell": "x", "reason": "r", "stand_in": "a CPU for a GPU"}
    assert judging.held_up(above, "a CPU for a GPU") is None
    assert judging.held_up(above).reason == "made from train x: unverified: r"
    del above["stand_in"]
    assert judging.held_up(above, "a CPU for a GPU").status.name == "unverified"
