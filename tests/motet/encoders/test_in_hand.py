"""What dead processes had in hand: divided until it is one text, which is left out at the second death."""

import multiprocessing
import os
from pathlib import Path

import pytest

from motet.encoders.in_hand import MOST_KILLED, InHand

KEYS = [f"{number:032x}" for number in range(1000)]


def _die(folder: Path, keys: list[str]) -> None:
    InHand(folder).take(keys)
    os._exit(1)


def die(folder: Path, keys: list[str]) -> None:
    process = multiprocessing.get_context("fork").Process(target=_die, args=(folder, keys))
    process.start()
    process.join()


def test_one_that_lives_is_not_suspected(tmp_path: Path) -> None:
    other, hand = InHand(tmp_path), InHand(tmp_path)
    other.take(KEYS[:3])
    hand.look()
    assert (hand.groups(KEYS[:5]), hand.killers()) == (([0, 1, 2, 3, 4], []), set())
    assert len(list(tmp_path.glob("hand-*"))) == 2


@pytest.mark.parametrize("killer", [0, 500, 999])
def test_the_text_that_kills_is_found(tmp_path: Path, killer: int) -> None:
    """A pool as the stage's: it dies with what it has in hand whenever the killer is in it."""
    hand, deaths, done = InHand(tmp_path), 0, set[int]()
    while KEYS[killer] not in hand.killers():
        rows = [row for row in range(1000) if row not in done]
        free, groups = hand.groups([KEYS[row] for row in rows])
        for group in (free, *groups):
            tried = [rows[place] for place in group]
            if killer in tried:
                die(tmp_path, [KEYS[row] for row in tried])
                deaths += 1
                break
            done |= set(tried)
        hand.look()
    assert hand.killers() == {KEYS[killer]}
    assert deaths == 2 + MOST_KILLED  # all, a thirty-second of them, alone twice
    assert hand.groups([KEYS[killer - 1]])[0] == []  # its neighbour stays suspected, and is tried alone


def test_a_death_with_nothing_in_hand_says_nothing(tmp_path: Path) -> None:
    hand = InHand(tmp_path)
    die(tmp_path, [])
    hand.look()
    assert (hand.groups(KEYS[:2]), hand.killers()) == (([0, 1], []), set())
    assert [path.name for path in tmp_path.glob("*") if path.name != hand._name] == []


def test_what_was_found_out_stays(tmp_path: Path) -> None:
    for _ in range(MOST_KILLED):
        die(tmp_path, KEYS[:1])
        InHand(tmp_path).look()
    assert InHand(tmp_path).killers() == {KEYS[0]}
