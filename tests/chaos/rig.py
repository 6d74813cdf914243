"""The rig of all faults: load that does not wait, what makes an answer wrong, and the table that figures go into.

A supervisor is not needed beyond `tests.serve.graphs.pids`: it names the processes of the Ray that the tests started,
and no others are ever signalled.
"""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from motet.storage import read_json, write_json

ROOT = Path(__file__).resolve().parents[2]
FIGURES = ROOT / "bench" / "results" / "chaos.json"
RATE, SECONDS, FAULT_AT_S = 20.0, 8.0, 2.0
BODIES = [json.dumps({"user_id": f"u{number:02d}", "k": 5}) for number in range(12)]


@dataclass(frozen=True)
class Seen:
    """What one client saw."""

    due: float
    status: int
    seconds: float
    body: dict[str, Any] | None


class Load:
    """An open loop against an endpoint, in a process of its own.

    Args:
        address: of the endpoint.
        rate: requests a second.
        seconds: how long.
        bodies: one JSON text a request, over and over.
    """

    def __init__(self, address: str, rate: float = RATE, seconds: float = SECONDS, bodies: list[str] = BODIES) -> None:
        command = [sys.executable, str(ROOT / "bench" / "load.py"), "open", f"{address}/v1/recommend", str(rate),
                   str(seconds), "whole"]  # fmt: skip
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdin is not None
        self.process.stdin.write("\n".join(bodies))
        self.process.stdin.close()

    def answers(self) -> list[Seen]:
        """Wait for the end, and return what came."""
        assert self.process.stdout is not None
        rows = [json.loads(line) for line in self.process.stdout]
        assert self.process.wait(60) == 0
        return [Seen(row["due"], row["status"], row["seconds"], _json(row["body"])) for row in rows]


def _json(text: str) -> dict[str, Any] | None:
    return json.loads(text) if text.startswith("{") else None


@contextmanager
def load(address: str, **how: Any) -> Iterator[Callable[[], list[Seen]]]:
    """Run load over a block; what it gives returns the answers, and waits for the last of them."""
    running = Load(address, **how)
    try:
        yield running.answers
    finally:
        running.process.kill()
        running.process.wait(10)
        assert running.process.stdout is not None
        running.process.stdout.close()


@dataclass(frozen=True)
class Verdict:
    """What a fault did to the requests around it."""

    sent: int
    lost: int
    """Without an answer, or with an error of the server."""
    refused: int
    """429."""
    wrong: int
    """An item that is not in the catalogue, or twice; too many; a release that nobody serves."""
    fell_back: int
    """Answered by fewer steps than all."""
    slowest_ms: float
    first_s: float | None
    """From the fault to the first answer that was not in full; None if there was none."""
    last_s: float | None
    """From the fault to when the last such answer was due."""


def judge(answers: list[Seen], fault: float, catalogue: Collection[str], releases: Collection[str], k: int) -> Verdict:
    """Return the verdict on answers.

    Args:
        answers: of a load.
        fault: when the fault came, by `time.perf_counter` as the answers.
        catalogue: ids of all items.
        releases: those that may answer.
        k: the length that was asked for.
    """
    good = [one for one in answers if one.status == 200]
    lesser = [one for one in answers if one.due >= fault and not _full(one)]
    return Verdict(
        sent=len(answers),
        lost=sum(one.status not in (200, 429) for one in answers),
        refused=sum(one.status == 429 for one in answers),
        wrong=sum(_is_wrong(one.body or {}, catalogue, releases, k) for one in good),
        fell_back=sum(not _full(one) for one in good),
        slowest_ms=1000 * max((one.seconds for one in good), default=0.0),
        first_s=min((one.due - fault for one in lesser), default=None),
        last_s=max((one.due - fault for one in lesser), default=None),
    )


def _full(one: Seen) -> bool:
    return one.status == 200 and one.body is not None and one.body["level"] == "full"


def _is_wrong(body: dict[str, Any], catalogue: Collection[str], releases: Collection[str], k: int) -> bool:
    ids = [item["id"] for item in body.get("items", ())]
    values = [item["value"] for item in body.get("items", ())]
    return (
        not ids or len(ids) > k or len(set(ids)) < len(ids) or not set(ids) <= set(catalogue)
        or body["release"] not in releases or (body["level"] == "full" and values != sorted(values, reverse=True))
    )  # fmt: skip


def wait_for(what: Callable[[], Any], seconds: float = 60.0) -> float:
    """Wait until something holds; return the seconds that took."""
    began = time.monotonic()
    while not what():
        assert time.monotonic() - began < seconds, "it did not come to hold"
        time.sleep(0.1)
    return time.monotonic() - began


def record(fault: str, what: str, injected: str, figures: dict[str, Any]) -> None:
    """Put a line into the table of faults.

    Args:
        fault: its number.
        what: in a few words.
        injected: how, and how often.
        figures: name to number or words, in the order to show.
    """
    table = read_json(FIGURES) if FIGURES.exists() else {}
    table[f"{fault} {what}"] = {"fault": fault, "what": what, "injected": injected, "figures": figures}
    write_json(FIGURES, dict(sorted(table.items())))
    print(f"{fault} {what}: {figures}")


def summed(verdicts: list[Verdict]) -> dict[str, Any]:
    """Return the figures of repeats: sums of what must not be, median and worst of what took time."""
    last = [one.last_s for one in verdicts if one.last_s is not None]
    return {
        "requests": sum(one.sent for one in verdicts),
        "lost": sum(one.lost for one in verdicts),
        "wrong": sum(one.wrong for one in verdicts),
        "fell back": sum(one.fell_back for one in verdicts),
        "slowest, ms": median_and_worst([one.slowest_ms for one in verdicts], 0),
        "in full again after, s": median_and_worst(last, 1) if last else "always in full",
    }


def median_and_worst(values: list[float], digits: int) -> str:
    """Return both in words."""
    return f"{statistics.median(values):.{digits}f}, worst {max(values):.{digits}f}"
