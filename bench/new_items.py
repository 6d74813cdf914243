"""What new items cost: adding one to a million, a request beside a thousand, and the time from POST to an answer.

    python bench/new_items.py --workspace workspace                                in this process
    python bench/new_items.py --workspace workspace --endpoint http://127.0.0.1:8000   beside a running endpoint

The second form posts items named `bench-...` to the endpoint and removes them.
"""

import json
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

ROOT = Path(__file__).resolve().parent.parent
for folder in (str(ROOT / "platform"), str(ROOT)):
    if folder not in sys.path:
        sys.path.insert(0, folder)

import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402
import typer  # noqa: E402

from motet.events.segments import Segments  # noqa: E402
from motet.itemlog.entry import ITEMS, ItemEntry  # noqa: E402
from motet.recommend import Query, Recommender  # noqa: E402
from motet.release.publish import Releases  # noqa: E402
from motet.retrieval.catalogue import ItemTable  # noqa: E402
from motet.retrieval.sources import VectorAnswer  # noqa: E402

LARGE, NEW, ASKED = 1_000_000, 1_000, 300


def timed(work: Callable[[int], Any], times: int) -> np.ndarray:
    """Return the milliseconds of each call."""
    spent = []
    for number in range(times):
        began = time.perf_counter()
        work(number)
        spent.append(1000 * (time.perf_counter() - began))
    return np.array(spent)


def said(what: str, spent_N: np.ndarray) -> None:
    """Print a line: median, p99 and largest."""
    p50, p99 = np.percentile(spent_N, [50, 99])
    typer.echo(f"{what:<62} {p50:9.2f} {p99:9.2f} {spent_N.max():9.2f}")


def large_table() -> ItemTable:
    """A million items of 64 and 416 numbers."""
    random = np.random.default_rng(0)
    names = pa.array([f"i{number}" for number in range(LARGE)])
    genre = pa.array([["a"]] * LARGE)
    table = pa.table({"item": names, "title": names, "attr:genre": genre, "count": np.zeros(LARGE)})
    vectors_ID = random.random((LARGE, 64), np.float32)
    return ItemTable(table, vectors_ID, np.zeros((LARGE, 416), np.float32), np.zeros(LARGE, np.float32), 384)


def bench_adding() -> None:
    """Add items one by one to a million."""
    items = large_table()
    derived = (items.unit_ID, items.attributes_IW, items.ids, items.titles, items.place_of)
    assert len(derived) == 5  # made before, as in a replica that has answered
    row = {"attr:genre": [["b"]]}

    def add(number: int) -> None:
        rows = pa.table({"item": [f"n{number}"], "title": ["new"], **row})
        with items.standstill.changing():
            items.add(rows, np.ones((1, 64), np.float32), np.ones((1, 416), np.float32))

    said(f"add one item to {LARGE:,}", timed(add, NEW))
    said(f"a filter over {LARGE:,} and {NEW:,}", timed(lambda _: items.matches("genre", ("a", "b")), 20))
    answer = VectorAnswer(None, items.unit_ID, np.ones(64, np.float32))  # type: ignore[arg-type]
    places = np.arange(LARGE - 200, LARGE + NEW, 4)
    said(f"look {len(places)} vectors up, old and new", timed(lambda _: answer.of(places), 200))


def entries(recommender: Recommender, count: int) -> list[ItemEntry]:
    """Return entries of new items with the texts of the release's, encoded as a POST does."""
    items, embedder = recommender.embedder.items, recommender.embedder
    column = embedder.recipe.data.items.text[0]
    titles = [f"{items.titles[number % len(items)]} {number}" for number in range(count)]
    vectors = embedder.encode([f"{column}: {title}" for title in titles])
    return [
        ItemEntry(uuid.uuid4().hex, f"bench-{number}", 0, {column: title}, vector)
        for number, (title, vector) in enumerate(zip(titles, vectors, strict=True))
    ]


def bench_asking(folder: Path) -> None:
    """Ask a release before it follows a log, with an empty one, and with a thousand items; and add one at a time."""
    with tempfile.TemporaryDirectory() as place:
        log, recommender = Segments(Path(place), codec=ITEMS), Recommender(folder, threads=1)
        users = list(recommender.embedder.people.rows)

        def ask(number: int) -> None:
            recommender.recommend(Query(user=users[number % len(users)], k=10))

        timed(ask, ASKED)
        said("a recommendation, no item log", timed(ask, ASKED))
        recommender.follow_items(log)
        said("a recommendation, an empty item log", timed(ask, ASKED))
        new = entries(recommender, NEW + 50)
        log.append(new[:NEW])
        recommender.retriever.catch_up()
        timed(ask, 20)
        said(f"a recommendation, {NEW:,} new items", timed(ask, ASKED))

        def add(number: int) -> None:
            log.append([new[NEW + number]])
            recommender.retriever.catch_up()

        said("write one entry, and the Retriever knows it", timed(add, 50))


def call(address: str, method: str, path: str, body: Any = None) -> Any:
    """Return the decoded answer of an endpoint."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address + path, data, {"content-type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


def bench_endpoint(address: str, times: int = 100) -> None:
    """Post items one by one, and ask for each until it is recommended."""
    posted: list[float] = []

    def post_and_find(number: int) -> None:
        name = f"bench-{number}"
        began = time.perf_counter()
        call(address, "POST", "/v1/items", {"id": name, "text": f"bench film number {number}"})
        posted.append(1000 * (time.perf_counter() - began))
        while True:
            answer = call(address, "POST", "/v1/recommend", {"allow": [name], "k": 1})
            if [one["id"] for one in answer["items"]] == [name]:
                return

    found = timed(post_and_find, times)
    said("POST of one item", np.array(posted))
    said("from POST to an answer with the item", found)
    gone = timed(lambda number: call(address, "DELETE", f"/v1/items/bench-{number}"), times)
    said("DELETE of one item", gone)


def main(
    workspace: Annotated[Path, typer.Option(help="The folder that the pipeline wrote.")] = Path("workspace"),
    endpoint: Annotated[str | None, typer.Option(help="Address of an endpoint over it, to post items to.")] = None,
) -> None:
    """Measure."""
    typer.echo(f"{'milliseconds':<62} {'p50':>9} {'p99':>9} {'largest':>9}")
    if endpoint is not None:
        bench_endpoint(endpoint)
        return
    bench_adding()
    bench_asking(Releases(workspace.absolute()).current())


if __name__ == "__main__":
    typer.run(main)
