"""junit.xml: the cells of a run as test cases, for systems that read test reports.

A cell is a test case of the suite of its model, and so is a certificate of a training. What did
not prove itself is never a plain success: red cells are failures, and whatever was not exercised, or
failed as expected, is skipped with its reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from junitparser import Failure, JUnitXml, Properties, Property, Skipped, TestCase, TestSuite

from segcert import statuses
from segcert.concluded import Concluded
from segcert.conclusions import Conclusions
from segcert.show import logs

TAIL = (40, 6_000)  # lines and bytes of a red cell's log
HEADER = '<?xml version="1.0" encoding="UTF-8"?>\n'
MOST_TAILS = 200  # a report of thousands of red cells need not hold every log


def junit(conclusions: Conclusions) -> str:
    """The conclusions as JUnit XML."""
    document = JUnitXml("PaddleSeg certification")
    suites: dict[str, TestSuite] = {}
    tails = 0
    for cell in conclusions.cells:
        name = cell["model"] or "data"
        if name not in suites:
            suites[name] = TestSuite(logs.plain(name))
            _add_property(suites[name], "mode", conclusions.mode)
        red = cell.status.red
        tails += red
        suites[name].add_testcase(_case(cell, conclusions.mode, with_log=red and tails <= MOST_TAILS))
    for item in conclusions.certificates:
        suites[item["model"]].add_testcase(_certificate_case(item, conclusions.mode))
    if statuses.PASSED.name not in conclusions.counts and not any(cell.status.red for cell in conclusions.cells):
        suites["run"] = TestSuite("run")
        suites["run"].add_testcase(_nothing_proven(conclusions.mode))
    for suite in suites.values():
        document.add_testsuite(suite)
    document.update_statistics()
    xml: bytes = document.tostring()
    return HEADER + xml.decode("utf-8") + "\n"


def _certificate_case(item: Mapping[str, Any], mode: str) -> TestCase:
    """Only a comparison that was made and does not hold fails: a training that failed has a case of its own."""
    status = statuses.by_name(item["verdict"])
    case = TestCase(
        f"certificate of {item['cell']}", classname=logs.plain(f"{mode}.{item['model']}.certificate"), time=0.0
    )
    message = f"{status.name}: {logs.plain(item['reason'] or '')}"
    if status is statuses.ACCURACY_FAILED:
        case.result = [Failure(message, status.name)]
    elif status is not statuses.PASSED:
        case.result = [Skipped(message, status.name)]
    return case


def _nothing_proven(mode: str) -> TestCase:
    """What makes a run red in which no cell failed: skipped cases alone would read as success."""
    case = TestCase("something passed", classname=f"{mode}.run", time=0.0)
    case.result = [Failure("nothing passed, so nothing is certified", statuses.FAILED.name)]
    return case


def _case(cell: Concluded, mode: str, with_log: bool) -> TestCase:
    status = cell.status
    case = TestCase(
        logs.plain(" ".join(cell.place)),
        classname=logs.plain(".".join(filter(None, (mode, cell["model"], cell["stage"])))),
        time=float(cell.get("wall_s") or 0.0),
    )
    reason = logs.plain(cell["reason"] or "").strip()
    message = f"{status.name}: {reason or status.meaning}"
    if status.red:
        failure = Failure(message, status.name)
        failure.text = "\n".join(_evidence(cell, with_log))
        case.result = [failure]
    elif status is not statuses.PASSED:
        case.result = [Skipped(message, status.name)]
    elif reason:
        case.system_out = reason
    return case


def _evidence(cell: Concluded, with_log: bool) -> list[str]:
    lines = [logs.plain(cell["reason"] or "")]
    if cell.get("command"):
        lines.append(f"command: {logs.plain(cell['command'])}")
    if cell.get("log"):
        lines.append(f"log: {logs.plain(cell['log'])}")
        tail = logs.tail(cell["log"], *TAIL) if with_log else None
        if tail:
            lines += ["", tail]
    return lines


def _add_property(suite: TestSuite, name: str, value: str) -> None:
    properties = Properties()
    properties.add_property(Property(name, logs.plain(value)))
    suite.append(properties)
