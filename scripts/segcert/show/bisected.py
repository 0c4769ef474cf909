"""A search in words: bisect.md, with a transcript of every probe."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tabulate import tabulate

MOST_REASON = 240


def told(probe: Mapping[str, Any], what: str) -> str:
    """What one probe came to."""
    figure = probe["value"] is not None
    verdict = f"{what} {probe['value']:.4g}" if figure else probe["verdict"]
    status = f", {probe['status']}" if probe["status"] and not figure else ""
    return f"{verdict}{status}" + (f": {_short(probe['reason'])}" if probe["reason"] else "")


def markdown(content: Mapping[str, Any]) -> str:
    """bisect.md, of what bisect.json holds."""
    answer, probes = content["answer"], content["probes"]
    what = content["what"]
    heading = answer["sentence"] if answer else f"Not ended: {len(probes)} probes so far; start it again to go on."
    names = [candidate["name"] for candidate in content["candidates"]]
    parts = [f"# Bisect: {what} of a cell", f"**{heading}**", f"The cell: `{content['cell']}`"]
    parts.append(f"Candidates, from the good end to the bad one: {', '.join(f'`{name}`' for name in names)}.")
    verdicts = answer["verdicts"] if answer else {}
    rows = []
    for name in names:
        own = [probe for probe in probes if probe["candidate"] == name]
        values = [f"{probe['value']:.4g}" for probe in own if probe["value"] is not None]
        rows.append([name, verdicts.get(name, "not looked at"), len(own), ", ".join(values)])
    head = ["candidate", "verdict", "probes", *([what] if what != "status" else [])]
    parts.append(tabulate([row[: len(head)] for row in rows], head, "pipe", disable_numparse=True))
    parts.append("## Every probe")
    lines = [
        [p["number"], p["candidate"], p["why"], _cell(told(p, what)), p["paddle"], p["started"], p["wall_s"]]
        for p in probes
    ]
    head = ["", "candidate", "why it was looked at", "what came of it", "Paddle, observed", "started (UTC)", "s"]
    parts.append(tabulate(lines, head, "pipe", disable_numparse=True, missingval=""))
    parts.append("Each probe is a run in a folder of its own (`folder` in bisect.json), with its log in `screen.log`.")
    return "\n\n".join(parts) + "\n"


def _short(reason: str) -> str:
    text = re.sub(r"\s+", " ", reason).strip()
    return text if len(text) <= MOST_REASON else f"{text[:MOST_REASON]}..."


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
