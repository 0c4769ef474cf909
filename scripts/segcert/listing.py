"""The matrix in words: every combination of a cell table, whether it is run, and if not, why."""

from __future__ import annotations

from segcert import engines, offers
from segcert.cells import Cell, CellTable
from segcert.engines import CPU, GPU

RUN = "run"


def text(table: CellTable) -> str:
    """A line per combination, the rules that were applied, and how many of each kind there are."""
    rows = list(_rows(table))
    widths = [max(map(len, column)) for column in zip(*[row[:3] for row in rows], strict=True)] if rows else [0, 0, 0]
    lines = [
        f"mode {table.mode}, rules {table.settings['rules']}, "
        f"{table.hardware.gpus} GPUs (hardware: {table.hardware.setting})",
        "",
        *(f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:<{widths[2]}}  {why}".rstrip() for a, b, c, why in rows),
        "",
        f"engines in names, as TIPC has them: {', '.join(_engines(table))}",
        "",
        "rules that leave a combination of the inference matrix out:",
        *(f"  {rule}  {words}" for rule, words in offers.RULES[table.settings["rules"]].items()),
        "",
        ", ".join(f"{sum(_decision(c) == kind for c in table.cells)} {kind}" for kind in _kinds(table)) or "no cells",
    ]
    return "\n".join(lines)


def _engines(table: CellTable) -> list[str]:
    """What TIPC's names of the engines stand for, of those that the table has."""
    asked = {(cell.requested["device"], cell.requested["engine"]) for cell in table.cells if cell.stage == "infer"}
    return [
        f"{kind.tipc[device]} is {kind.name}"
        for device in (CPU, GPU)
        for kind in engines.ALL
        if device in kind.tipc and (device, kind.name) in asked
    ] or ["none"]


def _kinds(table: CellTable) -> list[str]:
    return sorted({_decision(cell) for cell in table.cells}, key=lambda kind: (kind != RUN, kind))


def _decision(cell: Cell) -> str:
    return RUN if cell.planned else str(cell.status)


def _rows(table: CellTable) -> list[tuple[str, str, str, str]]:
    """(model and stage, cell, decision, reason)."""
    rows = []
    exported = {(cell.model, cell.train_name) for cell in table.cells if cell.stage == "export"}
    for cell in table.cells:
        name = cell.train_name if cell.name == cell.train_name else f"{cell.train_name}: {cell.name}"
        why = cell.reason or ""
        if cell.stage == "train" and not cell.planned:
            why += "; so neither evaluation, export nor inference of it"
        elif cell.stage == "train" and (cell.model, cell.train_name) not in exported:
            why = "not exported: infer.from_topologies, from_precision and from_graphs say from which checkpoints"
        rows.append((f"{cell.model} {cell.stage}", name, _decision(cell), why))
    return rows
