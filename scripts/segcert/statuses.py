"""The statuses of a cell: this file alone says what each means, what follows from it and where it is shown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

# Where a document lists cells, in the page's order. Each has a title of its own: `what_<section>` of words.yaml.
Section = Literal["red", "blocked", "known", "surprise", "unverified", "others"]
SECTIONS: tuple[Section, ...] = get_args(Section)


@dataclass(frozen=True, kw_only=True)
class Status:
    """Everything that is asked of a status. Nothing has a default, so a new one has to say it all.

    Attributes:
        red: whether a cell of it turns the run red.
        exercised: whether the cell really ran. A run without any such cell proves nothing.
        severity: how much it says against a group of cells, for which the worst one stands; no two are alike.
        badness: how much it says against a cell in the comparison of two runs; below 0: nothing.
        holds_up: name of the status of what is made from it; None: that runs.
        stops: whether what is made from it may never have started: then no record of it is looked for.
        section: where its cells are listed; of those that passed, the ones with a remark.
    """

    name: str
    symbol: str
    meaning: str
    zh: str
    zh_meaning: str
    red: bool
    exercised: bool
    severity: int
    badness: int
    holds_up: str | None
    stops: bool
    section: Section

    @property
    def broke(self) -> bool:
        """Whether it ran and did not pass, or is red: then a reader wants its log."""
        return self.red or (self.exercised and self.badness > 0)


PASSED = Status(
    name="passed", symbol="✓", meaning="ran, effective = requested, its gates hold",
    zh="通过", zh_meaning="实际运行，所用与所求一致，各项检查成立",
    red=False, exercised=True, severity=0, badness=0, holds_up=None, stops=False, section="surprise",
)  # fmt: skip
ACCURACY_FAILED = Status(
    name="accuracy-failed", symbol="≠", meaning="ran, a numerical gate does not hold",
    zh="精度不达标", zh_meaning="实际运行，但某项数值检查不成立",
    red=True, exercised=True, severity=6, badness=2, holds_up="blocked", stops=True, section="red",
)  # fmt: skip
FAILED = Status(
    name="failed", symbol="✗", meaning="ran and broke, or its file is broken", zh="失败",
    zh_meaning="运行了，但出错；或其文件有误",
    red=True, exercised=True, severity=7, badness=3, holds_up="blocked", stops=True, section="red",
)  # fmt: skip
KNOWN_FAILURE = Status(
    name="known-failure", symbol="⚠", meaning="failed as the configuration says it does",
    zh="已知问题", zh_meaning="按配置中的说明失败",
    red=False, exercised=True, severity=2, badness=1, holds_up="blocked", stops=False, section="known",
)  # fmt: skip
BLOCKED = Status(
    name="blocked", symbol="⛔", meaning="something it is made from failed",
    zh="被阻塞", zh_meaning="所依赖的某一步失败",
    red=False, exercised=False, severity=5, badness=3, holds_up="blocked", stops=True, section="blocked",
)  # fmt: skip
UNVERIFIED = Status(
    name="unverified", symbol="?", meaning="could not be exercised on this hardware",
    zh="未验证", zh_meaning="本机硬件无法验证",
    red=False, exercised=False, severity=3, badness=-1, holds_up="unverified", stops=False, section="unverified",
)  # fmt: skip
SKIPPED = Status(
    name="skipped", symbol="–", meaning="the matrix rules exclude it", zh="跳过", zh_meaning="被矩阵规则排除",
    red=False, exercised=False, severity=1, badness=-1, holds_up="blocked", stops=False, section="others",
)  # fmt: skip
NOT_RUN = Status(
    name="not-run", symbol="·", meaning="in the matrix, not asked for in this run",
    zh="未运行", zh_meaning="在矩阵中，但本次没有要求运行",
    red=False, exercised=False, severity=4, badness=-1, holds_up="not-run", stops=True, section="others",
)  # fmt: skip

# In the order in which they are counted and explained.
ALL = (PASSED, ACCURACY_FAILED, FAILED, KNOWN_FAILURE, BLOCKED, UNVERIFIED, SKIPPED, NOT_RUN)
BY_NAME = {status.name: status for status in ALL}


def by_name(name: str) -> Status:
    """The status called `name`; ValueError names the allowed ones."""
    try:
        return BY_NAME[name]
    except KeyError:
        raise ValueError(f"unknown status {name!r}; one of {', '.join(BY_NAME)}") from None


def worst(names: Iterable[str]) -> Status:
    """The status that says most against a group of cells: red ones first, then what did not run.

    Raises:
        ValueError: a name is of no status, or there is none.
    """
    return max(map(by_name, names), key=lambda status: status.severity)


def is_red(names: list[str]) -> bool:
    """Whether a run whose cells have these statuses is red.

    A red cell turns it red; so does a run in which nothing passed, because it certifies nothing.
    A blocked cell is not counted again: its cause is red already.
    """
    return any(by_name(name).red for name in names) or PASSED.name not in names
