"""What a record says of an exception: its end and its place, whatever it carries; and known failures still match."""

import json
from pathlib import Path

import paddle
import pytest
import rtformer
import stages
from conftest import ROOT

from segcert import record
from segcert.errors import StageError, Unverified
from segcert.stage import reasons

HERE = Path(__file__).name
OPERATOR = "The input of Op(Conv) should be a 4-D or 5-D Tensor. But received: 3-D."


def raised(error):
    """The same exception as one that was raised and caught, and the line where."""
    try:
        raise error
    except BaseException as caught:
        return caught, caught.__traceback__.tb_lineno


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("the moon is wrong"), "ValueError: the moon is wrong"),
        (KeyError("colour"), "KeyError: 'colour'"),
        (RuntimeError(), "RuntimeError:"),
        (SystemExit(3), "SystemExit: 3"),
        (OSError("one\n\n  two\tthree\n"), "OSError: one two three"),
    ],
)
def test_an_exception_is_its_type_its_message_on_one_line_and_its_place(error, words):
    error, line = raised(error)
    assert reasons.reason(error) == f"{words} ({HERE}, line {line})".replace(HERE, reasons._shown(__file__))
    assert reasons.short(error) == words and reasons.texts(error) == [words]


def test_what_is_said_to_a_person_stays_whole():
    said = "a.png: is missing;\n  put it there " + "or elsewhere " * 100 + 'File "a.py", line 3, in work\nKeyError: 1'
    for error in (StageError(said), Unverified(said)):
        assert reasons.reason(raised(error)[0]) == " ".join(said.split())


def test_a_group_is_told_of_by_what_is_in_it():
    inner, line = raised(KeyError("colour"))
    place = f" ({reasons._shown(__file__)}, line {line})"
    group = ExceptionGroup("it rains", [inner, StageError("a.png: is missing"), ExceptionGroup("hail", [inner] * 4)])
    hail = "; ".join([f"KeyError: 'colour'{place}"] * 3)
    assert reasons.reason(group) == f"it rains: KeyError: 'colour'{place}; a.png: is missing; hail: {hail}; and 1 more"
    assert "a.png: is missing" in reasons.texts(group) and reasons.texts(group).count("KeyError: 'colour'") == 5


def test_what_an_exception_was_made_from_can_be_known():
    try:
        raise StageError("export: onednn cannot load the model") from RuntimeError(OPERATOR)
    except StageError as error:
        assert reasons.texts(error) == ["export: onednn cannot load the model", f"RuntimeError: {OPERATOR}"]


def test_a_long_message_has_its_beginning_and_its_end():
    error = ValueError("begins, " + "goes on, " * 200 + "ends")
    assert len(reasons.short(error)) < 520
    assert reasons.short(error).startswith("ValueError: begins, goes on") and reasons.short(error).endswith("on, ends")
    assert reasons.texts(error) == [f"ValueError: {error}"]


def test_an_error_of_an_operator_has_its_summary():
    """As Paddle's predictors and executors say it: with a traceback of C++, or of Python, or with their own head."""
    summary, bar = (
        f"InvalidArgumentError: {OPERATOR}\n  [Hint: Expected rank == 4.] (at /paddle/conv.cc:77)\n",
        "-" * 22,
    )
    cpp = f"\n\n{bar}\nC++ Traceback (most recent call last):\n{bar}\n0   paddle::Run()\n1   paddle::Conv()\n\n"
    cpp += f"{bar}\nError Message Summary:\n{bar}\n{summary}"
    frames = f'    File "{paddle.__path__[0]}/nn/conv.py", line 700, in conv2d\n      helper.append_op(type="conv2d")\n'
    for message in (cpp, f"In user code:\n\n\n    {summary}", f"{frames}\n{cpp}"):
        assert reasons.short(ValueError(message)) == " ".join(summary.split())
    placed = reasons.reason(ValueError(f"In user code:\n\n{frames}\n    {summary}"))
    assert placed == f"{' '.join(summary.split())} (paddle/nn/conv.py, line 700)"


class Colours(paddle.io.Dataset):
    """As a data set that fails in a process of the loader."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return {}["colour"]


def test_a_process_of_the_loader_that_fails_is_told_of_by_its_own_exception():
    """Its traceback is the message of a KeyError, which shows line ends as two characters."""
    from paddle.io.dataloader.worker import _WorkerException

    with pytest.raises(KeyError) as one:
        Colours()[0]
    with pytest.raises(KeyError) as passed_on:
        _WorkerException(0, (one.type, one.value, one.tb)).reraise()
    assert "\\n" in str(passed_on.value)
    assert reasons.reason(passed_on.value).startswith(f"KeyError: 'colour' ({reasons._shown(__file__)}, line ")


def test_the_place_is_the_models_then_a_librarys_then_this_projects():
    def place(*files):
        return reasons._at([(file, number) for number, file in enumerate(files)])

    model = f"{paddle.__path__[0]}seg/models/fcn.py"
    library, own = f"{paddle.__path__[0]}/nn/conv.py", str(ROOT / "scripts/segcert/compute/training.py")
    python = json.__file__
    assert place(own, model, library, python) == " (paddleseg/models/fcn.py, line 1)"
    assert place(own, library, python, "<string>") == " (paddle/nn/conv.py, line 1)"
    assert place(own, python) == " (segcert/compute/training.py, line 0)"
    assert place(own, model, "/home/me/heads.py", library) == " (/home/me/heads.py, line 2)"
    assert place(python, "<frozen runpy>") == ""


# -- a model that Paddle cannot turn into a graph ---------------------------------------------


@pytest.fixture(scope="module")
def unexportable(tmp_path_factory):
    """A folder with the configuration and a checkpoint of RTFormer, which asks for a batch size when it is exported."""
    return rtformer.make(tmp_path_factory.mktemp("rtformer"))


# Asks for a free batch again where a fixed one would do: so the model cannot be exported at all.
NEVER_FIXED = """
import sys
sys.path.insert(0, {scripts!r})
from segcert.compute import exporting
exported = exporting._exported
exporting._exported = lambda model, folder, fed, batch, *more: exported(model, folder, fed, None, *more)
import export
if __name__ == "__main__":
    sys.exit(export.main())
"""


def export(folder, *arguments):
    own = folder / "never_fixed.py"
    own.write_text(NEVER_FIXED.format(scripts=str(ROOT / "scripts")))
    files = ["--config", "model.yml", "--checkpoint", "model.pdparams", "--export", "export"]
    files += ["--record", "export.json", "--log", "export.log", "--input-size", "64", "64"]
    return stages.script(own, folder, *files, *arguments)


def test_a_model_that_cannot_be_exported_is_told_of_by_its_own_line(unexportable):
    """Its reason was the whole traceback, 2,600 characters in one line."""
    assert export(unexportable).returncode == 1
    found = record.read(unexportable / "export.failed.json")
    assert found["reason"].startswith("TypeError: bool(Tensor) is not supported in static graph mode")
    assert "(paddleseg/models/rtformer.py, line " in found["reason"] and len(found["reason"]) < 600
    log = (unexportable / "export.log").read_text()
    assert "In transformed code:" in log and "please set input_shape for export.py" in log
    assert log.endswith(f"{found['reason']}\n")


@pytest.mark.parametrize(
    "pattern",
    [
        "In transformed code: File .*rtformer.py.* groups == 0",  # of the traceback: as it was before
        pytest.param(r"^TypeError: In transformed code: ", marks=pytest.mark.long),
        r"^TypeError: bool\(Tensor\) is not .* \(paddleseg/models/rtformer\.py, line \d+\)$",  # of the reason
    ],
)
def test_a_known_failure_is_looked_for_in_all_that_it_says(unexportable, pattern):
    known = ("--known-failure", "rtformer", pattern, "wants a batch size", "https://example.org/1", "")
    done = export(unexportable, *known)
    assert done.returncode == 0, done.stderr
    found = record.read(unexportable / "export.json")
    assert found["status"] == "known-failure"
    assert found["reason"].startswith("rtformer: wants a batch size (https://example.org/1) Seen: TypeError: bool(")
