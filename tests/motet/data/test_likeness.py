"""Who has nearly the same items as an earlier one: estimates beside the truth, however the rows are divided."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from motet.data.likeness import BANDS, PLACES, by_band, later_ones, signatures


def rows_of(people: dict[str, list[int]], starts: dict[str, int] | None = None) -> pa.Table:
    """A row per person and item, a second apart from the person's start."""
    starts = starts or {}
    rows = [{"user": name, "item": f"i{item}", "timestamp": starts.get(name, 0) + 1000 * step}
            for name, items in people.items() for step, item in enumerate(items)]  # fmt: skip
    return pa.Table.from_pylist(rows)


def found(people: dict[str, list[int]], starts: dict[str, int] | None = None, similarity: float = 0.8) -> list[str]:
    return later_ones(by_band(signatures(rows_of(people, starts), 2)), similarity)


def test_agreement_estimates_the_similarity_of_the_sets() -> None:
    """40 pairs of a known similarity: the mean of the estimates is it, and each is within 4 deviations."""
    chance = np.random.default_rng(0)
    for shared in (20, 60, 90):
        truth, estimates = shared / (200 - shared), []
        for _ in range(40):
            items = chance.choice(10_000, 200 - shared, replace=False).tolist()
            table = signatures(rows_of({"a": items[:100], "b": items[100 - shared :]}), 2)
            one, other = (np.array(row) for row in table.column("signature").to_pylist())
            estimates.append((one == other).mean())
        spread = (truth * (1 - truth) / PLACES) ** 0.5
        assert np.mean(estimates) == pytest.approx(truth, abs=3 * spread / 40**0.5)
        assert np.abs(np.array(estimates) - truth).max() < 4 * spread


def test_the_earliest_stays_and_those_like_it_are_found() -> None:
    same = list(range(100))
    people = {"copied": same, "late": same, "nearly": [*same[:96], 200, 201, 202, 203], "other": list(range(300, 400))}
    assert found(people, {"copied": 5, "late": 9, "nearly": 7}) == ["late", "nearly"]
    assert found(people, {"copied": 9, "late": 5, "nearly": 9}) == ["copied", "nearly"]
    assert found({name: people[name] for name in ("copied", "other")}) == []


def test_half_of_the_items_in_common_is_not_alike() -> None:
    chance = np.random.default_rng(1)
    known = chance.choice(5_000, 75, replace=False).tolist()
    people = {f"u{n}": known[:50] + chance.choice(5_000, 25, replace=False).tolist() for n in range(30)}
    assert found(people) == []


def test_who_has_few_items_is_not_compared() -> None:
    table = rows_of({"few": [1, 2, 2, 2, 1], "same": [1, 2], "three": [1, 2, 3]})
    assert signatures(table, 3).column("user").to_pylist() == ["three"]
    assert signatures(table.slice(0, 0), 3).num_rows == 0


@given(st.permutations(range(12)), st.integers(1, 11))
def test_neither_the_order_of_rows_nor_their_shards_matter(order: list[int], cut: int) -> None:
    table = rows_of({"a": [1, 2, 3, 4], "b": [4, 3, 2, 1], "c": [7, 8, 9, 10]}, {"b": 9})
    mixed = table.take(pa.array(order))
    whole = signatures(table, 2)
    assert signatures(mixed, 2).sort_by("user").equals(whole)
    bands = by_band(whole)
    assert bands.num_rows == 3 * BANDS
    parts = pa.concat_tables([bands.slice(cut), bands.slice(0, cut)])
    assert later_ones(parts, 0.8) == later_ones(bands, 0.8) == ["b"]


def test_what_is_the_same_at_all_places_has_all_bands_in_common() -> None:
    bands = by_band(signatures(rows_of({"a": [1, 2, 3], "b": [3, 2, 1], "c": [50, 51]}), 2))
    of = {name: {row["band"] for row in bands.to_pylist() if row["user"] == name} for name in "abc"}
    assert of["a"] == of["b"]
    assert len(of["a"]) == BANDS
    assert not of["a"] & of["c"]
