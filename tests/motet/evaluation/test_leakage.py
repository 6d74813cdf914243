"""No future in features, sources and examples: a changed future changes nothing, but for a call that leaks on purpose.

The planted signal: after the moment of asking everybody takes one item, and each user's held-out event is another one
than before.
"""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from motet.data.moments import LATER, NOW, Moment
from motet.data.split import TRAIN
from motet.evaluation.fitting import Example, gather_examples
from motet.evaluation.held_out import held_out
from motet.recommend import Recommender
from motet.retrieval.trends import Trends, bin_length, count_bins
from tests.builders import DAY_MS, ITEMS, Tiny
from tests.drafts import percentiles, write_crowd

AT = Moment(at_ms=3 * DAY_MS, until_ms=4 * DAY_MS)
HIT = 11


def _histories(tiny: Tiny, changed: bool) -> pa.Table:
    """The histories as of a moment; in the changed future everybody then takes HIT, all of it liked, twice a day."""
    shifted = AT.parts(tiny.histories)
    if not changed:
        return shifted
    rows = shifted.to_pylist()
    for row in rows:
        for place, part in enumerate(row["parts"]):
            if part != TRAIN:
                row["items"][place], row["label:like"][place] = HIT, 1.0
    return pa.Table.from_pylist(rows, shifted.schema)


def _fitted(tiny: Tiny, histories: pa.Table, before: int, draft: Path, folder: Path) -> Recommender:
    """The recommender of the draft over sources that are fitted on the parts before one."""
    folder.mkdir()
    write_crowd(tiny, folder, histories, before)
    shutil.copy(draft / "items.parquet", folder)
    return Recommender(draft, threads=1, fitted=folder)


def _examples(
    tiny: Tiny, draft: Path, folder: Path, changed: bool, before: int = NOW, asked_ms: int | None = AT.at_ms
) -> list[Example]:
    histories = _histories(tiny, changed)
    recommender = _fitted(tiny, histories, before, draft, folder)
    users = held_out(_histories(tiny, False), NOW, "label:like", asked_ms=asked_ms)
    return gather_examples(recommender, users, withheld=("vectors",))


def _differ(one: list[Example], other: list[Example]) -> bool:
    assert len(one) == len(other) > 5
    return any(
        left.features_CF.shape != right.features_CF.shape
        or not np.array_equal(left.features_CF, right.features_CF, equal_nan=True)
        or not np.array_equal(left.scores_CS, right.scores_CS, equal_nan=True)
        or not np.array_equal(left.ranks_CS, right.ranks_CS, equal_nan=True)
        for left, right in zip(one, other, strict=True)
    )


def test_the_future_does_not_change_what_the_trees_read(tiny: Tiny, draft: Path, tmp_path: Path) -> None:
    as_it_was = _examples(tiny, draft, tmp_path / "a", changed=False)
    otherwise = _examples(tiny, draft, tmp_path / "b", changed=True)
    assert not _differ(as_it_was, otherwise)


def test_sources_that_are_fitted_on_the_future_do(tiny: Tiny, draft: Path, tmp_path: Path) -> None:
    """The test above can fail: this call leaks on purpose."""
    as_it_was = _examples(tiny, draft, tmp_path / "a", changed=False, before=LATER + 1, asked_ms=99 * DAY_MS)
    leaky = _examples(tiny, draft, tmp_path / "b", changed=True, before=LATER + 1, asked_ms=99 * DAY_MS)
    assert _differ(as_it_was, leaky)


def test_a_users_own_later_events_are_no_input_but_only_targets(tiny: Tiny, draft: Path, tmp_path: Path) -> None:
    recommender = _fitted(tiny, _histories(tiny, False), NOW, draft, tmp_path / "a")
    users, others = (held_out(_histories(tiny, one), NOW, "label:like", asked_ms=AT.at_ms) for one in (False, True))
    assert not _differ(gather_examples(recommender, users), gather_examples(recommender, others))
    assert any((one.targets_N != other.targets_N).any() for one, other in zip(users, others, strict=True))
    for user in users:
        assert (user.timestamps_S <= AT.at_ms).all()
        assert not set(user.targets_N.tolist()) & set(user.items_S.tolist())
    # Asked after the fact, their history holds the planted events.
    late, leaky = (held_out(_histories(tiny, one), LATER, "label:like") for one in (False, True))
    assert _differ(gather_examples(recommender, late), gather_examples(recommender, leaky))


@pytest.mark.parametrize("leaks", [False, True])
def test_counts_of_the_whole_log_say_nothing_of_the_future_unless_asked_then(tiny: Tiny, leaks: bool) -> None:
    """An item that becomes hugely popular only after the moment of asking."""
    ends, asked = percentiles(tiny), 3 * DAY_MS
    length = bin_length(ends[0], ends[-1])
    moments = np.concatenate([np.array(one) for one in tiny.histories.column("timestamps").to_pylist()])
    items = np.concatenate([np.array(one) for one in tiny.histories.column("items").to_pylist()])

    def trends(more: int) -> Trends:
        places, when = np.append(items, np.full(more, HIT)), np.append(moments, np.full(more, asked + DAY_MS))
        table = count_bins(places, when, np.ones(len(places)), ITEMS, ends[0], length)
        return Trends([table], ITEMS, ends[0], length, int(when.max()))

    at = asked + 2 * DAY_MS if leaks else asked
    same = [
        np.array_equal(*(getattr(trends(more), name)(*arguments) for more in (0, 1000)))
        for name, arguments in {"at": (at,), "decayed": (at, 7.0, False), "since": (DAY_MS, at)}.items()
    ]
    assert same == [not leaks] * 3
