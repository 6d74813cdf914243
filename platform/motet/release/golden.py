"""Golden requests: a few queries with their answers, that travel in the bundle and are replayed before it goes live.

python -m motet.release.golden FOLDER     replay in this process; exit 0 if all answers are the same
"""

import sys
from pathlib import Path
from typing import Any

from motet.errors import MotetError, ReleaseError
from motet.recommend import Query, Recommender, read_recipe
from motet.storage import read_json

_TOLERANCE = 1e-3


def record_golden(folder: Path) -> list[dict[str, Any]]:
    """Return golden requests with their answers: known users, bare histories, and someone unknown."""
    recipe = read_recipe(folder)
    recommender = Recommender(folder)
    count = recipe.release.golden_requests
    users = list(recommender.embedder.people.rows)
    chosen = users[:: max(1, len(users) // count)][:count]
    queries = [Query(user=user) for user in chosen]
    queries += [Query(history=tuple(_latest(recommender, user))) for user in chosen[:2]]
    queries += [Query(surface=surface) for surface in recipe.surfaces]
    return [{"query": _to_json(query), "answer": _answer(recommender, query)} for query in queries]


def golden_users(folder: Path) -> list[str]:
    """Return the known users of a bundle's golden requests."""
    return [one["query"]["user"] for one in read_json(folder / "golden.json") if one["query"]["user"] is not None]


def _latest(recommender: Recommender, user: str) -> list[str]:
    places = recommender.embedder.people.find(user).items_S[-5:]
    return [recommender.embedder.items.ids[place] for place in places]


def _to_json(query: Query) -> dict[str, Any]:
    return {
        "user": query.user,
        "history": query.history and list(query.history),
        "surface": query.surface,
        "k": query.k,
    }


def _from_json(value: dict[str, Any]) -> Query:
    return Query(**{**value, "history": tuple(value["history"]) if value["history"] is not None else None})


def _answer(recommender: Recommender, query: Query) -> list[dict[str, Any]]:
    return [{"item": item.item, "value": item.value} for item in recommender.recommend(query)[1]]


def replay(folder: Path) -> int:
    """Ask the bundle its golden requests and compare; return how many there were.

    Items must be the same in the same order, values within 0.001 of the recorded ones (relative); neighbours whose
    values are that close may change places.

    Raises:
        ReleaseError: for the first answer that differs.
    """
    golden = read_json(folder / "golden.json")
    recommender = Recommender(folder)
    for number, one in enumerate(golden):
        found = _answer(recommender, _from_json(one["query"]))
        if not _same(found, one["answer"]):
            raise ReleaseError(f"golden request {number} of {folder.name} is answered otherwise than when it was built")
    return len(golden)


def _same(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> bool:
    if len(found) != len(expected):
        return False
    known = {one["item"]: one["value"] for one in expected}
    by_place = all(_close(one["value"], other["value"]) for one, other in zip(found, expected, strict=True))
    by_item = all(_close(one["value"], known[one["item"]]) for one in found if one["item"] in known)
    return by_place and by_item and {one["item"] for one in found[:-1]} <= known.keys()


def _close(value: float, other: float) -> bool:
    return abs(value - other) <= _TOLERANCE * max(1e-3, abs(other))


def main() -> None:
    """Replay the bundle named on the command line."""
    try:
        count = replay(Path(sys.argv[1]))
    except MotetError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.exit(2)
    sys.stdout.write(f"{count} golden requests answered as recorded\n")


if __name__ == "__main__":
    main()
