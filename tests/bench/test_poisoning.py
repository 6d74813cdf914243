"""Made-up profiles are what the page says of them."""

import numpy as np
import pytest

from bench.poisoning import ATTACKS, FILLERS, profiles, target_of

CHANCE = np.random.default_rng(0)
ROWS = [
    {"user_id": f"u{user}", "item_id": f"i{item}", "rating": str(1 + (user + item) % 5), "timestamp": str(1000 + user)}
    for user in range(60)
    for item in range(300)
    if CHANCE.random() < 1 / (1 + item / 20)
]


@pytest.mark.parametrize("attack", ATTACKS)
def test_profiles(attack: str) -> None:
    target = target_of(ROWS, 1)
    assert sum(row["item_id"] == target for row in ROWS) <= 3
    made = profiles(ROWS, attack, target, 4, 2)
    assert all(list(row) == list(ROWS[0]) for row in made)
    for user in {row["user_id"] for row in made}:
        own = [row for row in made if row["user_id"] == user]
        items = [row["item_id"] for row in own]
        assert FILLERS <= len(own) <= FILLERS + 1
        assert len(set(items)) == len(items)
        assert (own[0]["item_id"], own[0]["rating"]) == (target, "5")
        assert items.count(target) == 1
        moments = [int(row["timestamp"]) for row in own]
        assert moments == sorted(moments)
    stars = np.mean([float(row["rating"]) for row in made if row["item_id"] != target])
    assert stars == 5 if attack == "bandwagon" else 2 < stars < 4


def test_the_same_seed_is_the_same_attack() -> None:
    assert profiles(ROWS, "random", "i299", 2, 5) == profiles(ROWS, "random", "i299", 2, 5)
    assert profiles(ROWS, "random", "i299", 2, 5) != profiles(ROWS, "random", "i299", 2, 6)
