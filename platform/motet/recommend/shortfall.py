"""Why a list is shorter than asked."""

from dataclasses import dataclass

from motet.recommend.query import Query


@dataclass(frozen=True)
class Shortfall:
    """A list of fewer than k items."""

    wanted: int
    found: int
    because: str


def shortfall(query: Query, found: int, allowed: int, removed: dict[str, int], caps: list[str]) -> Shortfall | None:
    """Return why a list is short; None if it is not.

    Args:
        query: what was asked.
        found: length of the list.
        allowed: items that pass all filters.
        removed: items that each rule stopped.
        caps: categories with a cap on this surface.
    """
    if found >= query.k:
        return None
    if allowed > found and caps:
        because = f"{allowed} items pass the filters, and the caps of {', '.join(caps)} let no more in"
    elif removed:
        stopped = ", ".join(f"{rule}: {count}" for rule, count in removed.items())
        because = f"{allowed} items pass the filters; removed by {stopped}"
    else:
        because = f"the catalogue has {allowed} items"
    return Shortfall(query.k, found, because)
