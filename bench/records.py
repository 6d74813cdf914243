"""What the log of answers costs: `python bench/records.py WORKSPACE`, in one process, over the current release.

With and without a record are timed in turn, request by request, so that both see the same machine. Writes
bench/results/records.json.
"""

import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

ROOT = Path(__file__).resolve().parent.parent
for folder in (str(ROOT / "platform"), str(ROOT)):
    if folder not in sys.path:
        sys.path.insert(0, folder)

from motet.recommend import Query, Recommender  # noqa: E402
from motet.record_settings import RecordSettings  # noqa: E402
from motet.records.record import Record, candidate_arrays  # noqa: E402
from motet.records.table import to_table  # noqa: E402
from motet.records.writer import RecordWriter  # noqa: E402
from motet.release.publish import Releases  # noqa: E402

REQUESTS, ROWS = 1000, 1000


def measure(workspace: Path) -> list[dict[str, Any]]:
    """Return the rows of the table."""
    recommender = Recommender(Releases(workspace).current(), threads=1)
    users = list(recommender.embedder.people.rows)
    ids = pa.array(recommender.embedder.items.ids)
    seconds: dict[str, list[float]] = {"plain": [], "recorded": [], "put": []}
    records, sizes = [], []
    with tempfile.TemporaryDirectory() as folder:
        settings = RecordSettings(rows=100_000, flush_s=3600, waiting=100_000)
        writer = RecordWriter(Path(folder), settings, lambda release: ids)
        for number in range(REQUESTS):
            query = Query(user=users[number % len(users)], k=10, request=f"r{number}")
            user = recommender.embedder.run([query])[0]
            candidates = recommender.retriever.run(user, query)
            asked = {"plain": query, "recorded": replace(query, recorded=True)}
            found = {}
            for name in sorted(asked, reverse=bool(number % 2)):
                start = time.perf_counter()
                found[name] = recommender.reranker.rank(user, candidates, asked[name])
                seconds[name].append(time.perf_counter() - start)
            numbers = found["recorded"].numbers
            assert numbers is not None
            start = time.perf_counter()
            arrays = candidate_arrays(candidates, numbers)
            record = Record(
                f"r{number}", "r", 0, asked["recorded"], "home", "full", user.level, user.known_to, **arrays
            )
            writer.put(record)
            seconds["put"].append(time.perf_counter() - start)
            records.append(record)
            sizes.append(sum(one.nbytes for one in vars(numbers).values() if isinstance(one, np.ndarray)))
        start = time.process_time()
        to_table(records, lambda release: ids)
        making = time.process_time() - start
        start = time.process_time()
        writer.close(60)
        written = time.process_time() - start
        size = sum(path.stat().st_size for path in Path(folder).glob("*.parquet"))
    median = {name: float(np.median(one)) * 1e6 for name, one in seconds.items()}
    more = float(np.median(np.array(seconds["recorded"]) - np.array(seconds["plain"]))) * 1e6
    return [
        {"what": "the Reranker, microseconds a request", "ours": median["recorded"], "against": median["plain"]},
        {"what": "the Reranker, microseconds more for its numbers", "ours": more},
        {"what": "the Gateway, microseconds to make a record and put it", "ours": median["put"]},
        {"what": "from Reranker to Gateway, bytes more", "ours": float(np.mean(sizes))},
        {"what": "the writing thread, CPU microseconds a record", "ours": written / REQUESTS * 1e6},
        {"what": "of these to make the table", "ours": making / REQUESTS * 1e6},
        {"what": "on the disk, bytes a record", "ours": size / REQUESTS},
        {"what": "candidates a record", "ours": float(np.mean([len(one.places_C) for one in records]))},
    ]


def main() -> None:
    """Measure, print, write."""
    if len(sys.argv) != 2:
        sys.exit("usage: python bench/records.py WORKSPACE")
    rows = measure(Path(sys.argv[1]))
    for row in rows:
        against = f"   without {row['against']:,.0f}" if "against" in row else ""
        print(f"{row['what']:<58} {row['ours']:>9,.0f}{against}")
    target = ROOT / "bench" / "results" / "records.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
