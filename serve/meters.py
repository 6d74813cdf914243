"""What the Gateway counts; Ray exports it for Prometheus with a `ray_` before the name.

    motet_request_seconds    histogram by level and release    from request to answer
    motet_step_seconds       histogram by step       embedder, retriever, reranker: a call with its retry
    motet_candidates_total   counter by stage        items that are left: allowed, found, ranked, shown
    motet_removed_total      counter by stage and reason    items that a stage removed
    motet_answers_total      counter by level and release    full, retrieval, popular
    motet_fallbacks_total    counter by level, step and because    answers below full
    motet_retries_total      counter by step         calls that were made once more
    motet_refused_total      counter by because      busy
    motet_underfilled_total  counter                 answers with fewer than k items
    motet_records_dropped_total    counter           answers that were not logged, since too many waited
    motet_in_flight          gauge                   requests that are being answered

The steps count motet_mixed_releases_total by step, requests that met two releases; the Conductor says motet_recall by
release, the share of the exact best that the index found. Stages are filters, sources, fusion and ranking.
"""

import threading
import time
from collections import defaultdict

from ray.serve.metrics import Counter, Gauge, Histogram

from motet.retrieval.state import Stages

SECONDS = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0]
_FLUSH_S = 1.0
_Tally = defaultdict[tuple[Counter, tuple[tuple[str, str], ...]], float]


class Meters:
    """The Gateway's metrics."""

    def __init__(self) -> None:
        self._request = Histogram("motet_request_seconds", "From request to answer.", SECONDS, ("level", "release"))
        self._step = Histogram("motet_step_seconds", "A call of a step with its retry.", SECONDS, ("step",))
        self._candidates = Counter("motet_candidates_total", "Items left after a stage.", ("stage",))
        self._removed = Counter("motet_removed_total", "Items that a stage removed.", ("stage", "reason"))
        self._answers = Counter("motet_answers_total", "Answers.", ("level", "release"))
        self._fallbacks = Counter("motet_fallbacks_total", "Answers below full.", ("level", "step", "because"))
        self._retries = Counter("motet_retries_total", "Calls made once more.", ("step",))
        self._refused = Counter("motet_refused_total", "Requests refused.", ("because",))
        self._underfilled = Counter("motet_underfilled_total", "Answers with fewer than k items.")
        self._dropped = Counter("motet_records_dropped_total", "Answers that were not logged.")
        self._in_flight = Gauge("motet_in_flight", "Requests that are being answered.")

        self._lock, self._tally, self._ongoing = threading.Lock(), _Tally(float), 0
        threading.Thread(target=self._flush, name="meters", daemon=True).start()

    def _count(self, counter: Counter, number: float, tags: dict[str, str]) -> None:
        """Add to a counter, within a second: one call of Ray's takes longer than all the rest of it."""
        with self._lock:
            self._tally[counter, tuple(tags.items())] += number

    def _flush(self) -> None:
        while True:
            time.sleep(_FLUSH_S)
            with self._lock:
                waiting, self._tally = self._tally, _Tally(float)
            self._in_flight.set(self._ongoing)
            for (counter, tags), number in waiting.items():
                counter.inc(number, dict(tags))

    def answer(self, level: str, release: str, seconds: float, underfilled: bool) -> None:
        """Count an answer."""
        tags = {"level": level, "release": release}
        self._request.observe(seconds, tags)
        self._count(self._answers, 1, tags)
        if underfilled:
            self._count(self._underfilled, 1, {})

    def step(self, step: str, seconds: float) -> None:
        """Time a call of a step."""
        self._step.observe(seconds, {"step": step})

    def retry(self, step: str) -> None:
        """Count a retry."""
        self._count(self._retries, 1, {"step": step})

    def fallback(self, level: str, step: str, because: str) -> None:
        """Count an answer below full."""
        self._count(self._fallbacks, 1, {"level": level, "step": step, "because": because})

    def refused(self, because: str) -> None:
        """Count a refusal."""
        self._count(self._refused, 1, {"because": because})

    def records_dropped(self, count: int) -> None:
        """Count answers that were not logged."""
        self._count(self._dropped, count, {})

    def in_flight(self, requests: int) -> None:
        """Say how many requests are being answered; it is known to others within a second."""
        self._ongoing = requests

    def stages(self, stages: Stages, ranked: int, shown: int, capped: dict[str, int]) -> None:
        """Count the items of one answer, stage by stage."""
        left = {"allowed": stages.allowed, "found": stages.found, "ranked": ranked, "shown": shown}
        for stage, count in left.items():
            if count:
                self._count(self._candidates, count, {"stage": stage})
        self._remove("filters", stages.removed)
        self._remove("sources", {"not listed": stages.allowed - stages.found})
        self._remove("fusion", {"beyond the candidates": stages.found - ranked})
        behind = ranked - shown - sum(capped.values())
        self._remove("ranking", {f"cap of {name}": count for name, count in capped.items()} | {"beyond k": behind})

    def _remove(self, stage: str, removed: dict[str, int]) -> None:
        for reason, count in removed.items():
            if count > 0:
                self._count(self._removed, count, {"stage": stage, "reason": reason})
