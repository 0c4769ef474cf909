"""TIPC's params files of the kind `ptq_params` (train_ptq_infer_python.txt): released weights are quantised.

What they ask for is told in the words of the train-and-infer kind, with the number of images to calibrate on. The
original quantises in mode whole_infer alone, from a model that is exported already.
"""

from __future__ import annotations

from segcert.tipc.params import FIELDS as TRAIN_FIELDS
from segcert.tipc.params import (
    MARK,
    NAME,
    Command,
    Meaning,
    Params,
    ParamsError,
    Problem,
    Reader,
    Released,
    line_of,
)

KIND = "ptq_params"
SCRIPT = "deploy/slim/quant/ptq.py"
SUFFIX = "_KL"  # behind the model's name, in the shipped files
MARKS = {0: KIND, 3: "##", 5: "##", 9: "##", 12: "##", 13: "infer_params"}
FIELDS = {
    "model_name": 1,
    "python": 2,
    "infer_model": 4,
    "config": 6,
    "batch_num": 7,
    "batch_size": 8,
    "trainer": 10,
    "ptq": 11,
    "inference": 14,
    "device": 15,
    "infer_batch_size": 16,
    "infer_config": 17,
    "image_path": 18,
    "benchmark": 19,
}


def parse(text: str, file: str) -> Params:
    """The lines of such a file by name.

    Raises:
        ParamsError: a line or a section is not where it belongs.
    """
    rows = [(number, line.strip()) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    count = max(FIELDS.values()) + 1
    for place, name in MARKS.items():
        there = rows[place][1] if place < len(rows) else ""
        found = mark[1].strip() if (mark := MARK.match(there)) else there.replace("#", "") or "##"
        if found != name:
            number = rows[min(place, len(rows) - 1)][0]
            said = f"wrong number of lines: {name} belongs in place {place + 1} (empty lines do not count)"
            raise ParamsError([Problem(file, number, said)])
    if len(rows) != count:
        said = f"wrong number of lines: {len(rows)} that are not empty, {count} belong into a file of the kind {KIND}"
        raise ParamsError([Problem(file, rows[-1][0], said)])
    return Params(file, {name: line_of(*rows[place]) for name, place in FIELDS.items()}, {})


def understand(params: Params) -> tuple[Meaning | None, list[Problem]]:
    """What such a file asks for, and what is wrong with it; None where the former cannot be told."""
    reader = Reader(params)
    name = params["model_name"]
    if not NAME.match(name.value):
        reader.say(name.number, f"model_name: {name.value!r} is refused; allowed: letters, digits, '_', '.', '-'")
    config, inference = params["config"], reader.command(params["inference"])
    if not config.given:
        reader.say(config.number, "--config: no value; the model's configuration is needed")
    if inference is None:
        reader.say(params["inference"].number, "inference: no command")
    numbers = [reader.numbers(key)[:1] for key in ("batch_num", "batch_size")]
    method = reader.command(params["ptq"])
    if method and method.script.removeprefix("./") != SCRIPT:
        reader.say(method.line, f"{method.script} is not done here: only {SCRIPT} is")
    export = Command(config.number, "tools/export.py", {"--config": (config.value,)})
    lines = {key: line.number for key, line in params.lines.items()}
    images = 1
    for values in numbers:
        images *= values[0] if values else 1
    meaning = Meaning(
        file=params.file,
        model=name.value.removesuffix(SUFFIX),
        python=params["python"].value,
        devices=[],
        autocasts=[None],
        autocast_key="null",
        iters={},
        batch_size={},
        trainers=[],
        evaluation=None,
        released=[Released(params["infer_model"].value, lines["infer_model"], export, quant=False)],
        inference=inference or Command(lines["inference"], "", {}),
        infer_devices=[value for value in params["device"].alternatives if value],
        mkldnn=[],
        threads=[],
        infer_batch_sizes=reader.numbers("infer_batch_size"),
        trt=[],
        precisions=["int8"],
        # Where messages of the other kind look for their lines.
        lines=dict.fromkeys(TRAIN_FIELDS, lines["config"]) | lines,
        calibration=images,
    )
    return (None if any(problem.error for problem in reader.problems) else meaning), reader.problems
