"""The statuses of a cell: what each means, whether it turns a run red, and how it is shown."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Status:
    name: str
    meaning: str
    red: bool
    symbol: str
    zh: str
    zh_meaning: str


PASSED = Status(
    "passed", "ran, effective = requested, its gates hold", False, "✓", "通过", "实际运行，所用与所求一致，各项检查成立"
)
ACCURACY_FAILED = Status(
    "accuracy-failed", "ran, a numerical gate does not hold", True, "≠", "精度不达标", "实际运行，但某项数值检查不成立"
)
FAILED = Status("failed", "ran and broke", True, "✗", "失败", "运行了，但出错")
KNOWN_FAILURE = Status(
    "known-failure", "failed as the configuration says it does", False, "⚠", "已知问题", "按配置中的说明失败"
)
BLOCKED = Status("blocked", "something it is made from failed", False, "⛔", "被阻塞", "所依赖的某一步失败")
UNVERIFIED = Status("unverified", "could not be exercised on this hardware", False, "?", "未验证", "本机硬件无法验证")
SKIPPED = Status("skipped", "the matrix rules exclude it", False, "–", "跳过", "被矩阵规则排除")
NOT_RUN = Status(
    "not-run", "in the matrix, not asked for in this run", False, "·", "未运行", "在矩阵中，但本次没有要求运行"
)

ALL = (PASSED, ACCURACY_FAILED, FAILED, KNOWN_FAILURE, BLOCKED, UNVERIFIED, SKIPPED, NOT_RUN)
BY_NAME = {status.name: status for status in ALL}

# What was really exercised. A run without any of these proves nothing.
EXERCISED = (PASSED, ACCURACY_FAILED, FAILED, KNOWN_FAILURE)


def by_name(name: str) -> Status:
    """The status called `name`; ValueError names the allowed ones."""
    try:
        return BY_NAME[name]
    except KeyError:
        raise ValueError(f"unknown status {name!r}; one of {', '.join(BY_NAME)}") from None


def is_red(names: list[str]) -> bool:
    """Whether a run whose cells have these statuses is red.

    A red cell turns it red; so does a run in which nothing passed, because it certifies nothing.
    A blocked cell is not counted again: its cause is red already.
    """
    return any(by_name(name).red for name in names) or PASSED.name not in names
