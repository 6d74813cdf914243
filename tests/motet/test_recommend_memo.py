"""What the tower made of a user is known the next time, and only as long as nothing that it read has changed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from motet.recommend import Embedder, Query
from motet.recommend.memo import Memo, content_key


@pytest.fixture
def embedder(draft: Path, monkeypatch: pytest.MonkeyPatch) -> Embedder:
    """A step that counts in `asked` of how many people its tower is asked."""
    step = Embedder(draft, threads=1)
    asked: list[int] = []
    run = step._run_tower
    monkeypatch.setattr(step, "_run_tower", lambda inputs: asked.append(len(inputs["valid"])) or run(inputs))
    step.asked = asked  # type: ignore[attr-defined]
    return step


def test_the_tower_is_asked_once_of_the_same(embedder: Embedder, draft: Path) -> None:
    first = embedder.run([Query(user="u01"), Query(user="u02")])
    second = embedder.run([Query(user="u02"), Query(user="u03"), Query(user="u01")])
    assert embedder.asked == [2, 1]  # type: ignore[attr-defined]
    fresh = Embedder(draft, threads=1).run([Query(user="u01"), Query(user="u02"), Query(user="u03")])
    for one, other in ((second[2], first[0]), (second[0], first[1])):
        np.testing.assert_array_equal(one.raw_D, other.raw_D)
    for one, other in ((second[2], fresh[0]), (second[0], fresh[1]), (second[1], fresh[2])):
        np.testing.assert_allclose(one.raw_D, other.raw_D, atol=1e-5)


def test_another_history_order_or_vector_is_another_content(embedder: Embedder) -> None:
    ids = embedder.items.ids[:3]
    first = embedder.run([Query(history=tuple(ids))])[0]
    embedder.run([Query(history=tuple(ids))])
    other = embedder.run([Query(history=tuple(reversed(ids)))])[0]
    place = np.array([embedder.items.place_of[ids[0]]])
    embedder.items.vectors_ID.put(place, -embedder.items.vectors_ID[place])
    moved = embedder.run([Query(history=tuple(ids))])[0]
    assert embedder.asked == [1, 1, 1]  # type: ignore[attr-defined]
    assert not np.allclose(first.raw_D, other.raw_D)
    assert not np.allclose(first.raw_D, moved.raw_D)


def test_a_person_whose_attributes_changed_is_another(embedder: Embedder) -> None:
    person = embedder.person(Query(user="u01"))
    embedder.states([person, replace(person, numbers_M=person.numbers_M + 1)])
    embedder.states([person])
    assert embedder.asked == [2]  # type: ignore[attr-defined]


def test_those_asked_for_longest_ago_are_let_go() -> None:
    memo = Memo(2)
    keys = [content_key([np.array([number])]) for number in range(3)]
    memo.keep(keys[:2], [np.zeros(1), np.ones(1)])
    assert memo.find(keys[:1])[0] is not None
    memo.keep(keys[2:], [np.ones(1)])
    assert [one is None for one in memo.find(keys)] == [False, True, False]
    assert len(memo) == 2
