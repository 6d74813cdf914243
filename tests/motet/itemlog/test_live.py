"""A catalogue that follows the log: whoever reads it in whatever steps, with whatever language model."""

import logging
import threading

import numpy as np
import pytest

from motet.encoders.text import encoder_key
from motet.errors import EncoderError
from motet.events.event import Event
from motet.events.segments import Segments
from motet.itemlog.following import follow_items, follow_names
from motet.recommend import Query, Recommender
from motet.retrieval.catalogue import ItemTable
from tests.builders import Tiny, write_encoder
from tests.drafts import write_draft
from tests.motet.itemlog.makers import added, columns, item_log, many, rebuilt, removed


def follow(log, tiny, draft, **more):
    items = ItemTable.load(draft)
    return follow_items(log, draft, tiny.recipe, items, **more), items


def test_places_are_the_same_however_the_log_was_read(tiny, draft, tmp_path) -> None:
    """One reader takes entry by entry, one all at once, one the names alone; bad and removed entries included.

    Vectors are the same to the last bit, by which items that are alike are ordered.
    """
    log = item_log(tmp_path)
    live, step = follow(log, tiny, draft)
    bad = added(tiny, "b", columns(1, colour="x" * 10_001), entry_id="bad")
    entries = [added(tiny, "a", columns(0)), removed("c"), bad, added(tiny, "c", columns(2)), removed("a"),
               added(tiny, "b", columns(3), entry_id="good"), removed("b"), added(tiny, "a", columns(4)),
               added(tiny, "i03", columns(5)), removed("i04")]  # fmt: skip
    for entry in entries:
        log.append([entry])
        live.catch_up()
    _, whole = follow(log, tiny, draft)
    names = ItemTable.load_names(draft)
    follow_names(log, draft, tiny.recipe, names)
    for items in (step, whole, names):
        assert items.ids[20:] == ["a", "c", "b"]
        assert items.removed == {4, 22}
        assert [items.titles[place] for place in (20, 21, 3)] == [columns(n)["title"] for n in (4, 2, 5)]
        assert items.matches("colour", (columns(4)["colour"],))[20]
    for name in ("vectors_ID", "unit_ID", "content_IW", "attributes_IW", "numbers_IM", "log_count_I"):
        one, other = (np.asarray(getattr(items, name)) for items in (step, whole))
        np.testing.assert_array_equal(one, other, err_msg=name)


def test_an_entry_of_another_language_model_is_encoded_anew(tiny, draft, tmp_path) -> None:
    """The vector in the log is of a model with other weights; the release's own is loaded only then."""
    other = Tiny.of(write_encoder(tmp_path / "other", causal=True))
    assert encoder_key(other.recipe.encoder) != encoder_key(tiny.recipe.encoder)
    loaded = []

    def load():
        loaded.append(1)
        return tiny.encoder

    log = item_log(tmp_path)
    log.append([added(tiny, "own", columns(1))])
    live, items = follow(log, tiny, draft, encoder=load)
    assert loaded == []
    log.append([added(other, "foreign", columns(1)), added(tiny, "none", columns(1), vector=False)])
    live.catch_up()
    assert loaded == [1]
    for place in (21, 22):
        assert items.vectors_ID[place] == pytest.approx(items.vectors_ID[20], abs=1e-5)
        assert items.content_IW[place] == pytest.approx(items.content_IW[20], abs=1e-5)


def test_a_vector_of_another_text_is_not_taken(tiny, draft, tmp_path) -> None:
    """A recipe that joins other columns reads another text of the same item."""
    log = item_log(tmp_path)
    one = added(tiny, "a", columns(1))
    log.append([one, added(tiny, "b", columns(2), text=one.text), added(tiny, "c", columns(2))])
    _, items = follow(log, tiny, draft)
    assert items.vectors_ID[21] == pytest.approx(items.vectors_ID[22], abs=1e-5)


def test_a_language_model_that_is_gone_leaves_the_catalogue_as_it_was(tiny, draft, tmp_path, caplog) -> None:
    def load():
        raise EncoderError("no such folder")

    log = item_log(tmp_path)
    log.append([added(tiny, "none", columns(1), vector=False)])
    with caplog.at_level(logging.WARNING):
        _, items = follow(log, tiny, draft, encoder=load)
    assert len(items) == 20
    assert "the item log cannot be read, answers go without its latest: no such folder" in caplog.text


def test_a_release_that_was_made_from_the_log_adds_nothing_again(tiny, draft, tmp_path) -> None:
    log = item_log(tmp_path)
    log.append([added(tiny, "new0000", columns(9), entry_id="old"), *many(tiny, 3), removed("gone")])
    folder = rebuilt(tiny, draft, tmp_path / "next", {f"new{n:04d}": columns(n) for n in range(3)})
    _, items = follow(log, tiny, folder)
    assert len(items) == 23
    assert len(items.late) == 0
    assert not items.removed


def test_a_bad_entry_is_left_out_and_said(tiny, draft, tmp_path, caplog) -> None:
    log = item_log(tmp_path)
    log.append([added(tiny, "a", columns(1, title=" "), entry_id="blank"), added(tiny, "b", columns(1))])
    with caplog.at_level(logging.WARNING):
        _, items = follow(log, tiny, draft)
    assert items.ids[20:] == ["b"]
    assert "entry blank of the item log is left out: no text" in caplog.text


def test_an_event_before_its_item_counts_once_the_item_is_there(draft, tiny, tmp_path) -> None:
    log, events, recommender = item_log(tmp_path), Segments(tmp_path / "events"), Recommender(draft, threads=1)
    recommender.embedder.follow_items(log)
    recommender.embedder.follow(events)
    events.append([Event("e1", "someone", "a", 1_700_000_000_000), Event("e2", "someone", "i03", 1_700_000_000_001)])
    state = recommender.embedder.run([Query(user="someone")])[0]
    assert state.items_S.tolist() == [3]
    log.append([added(tiny, "a", columns(1))])
    for _ in range(2):
        assert recommender.embedder.run([Query(user="someone")])[0].items_S.tolist() == [20, 3]


def test_a_step_that_cannot_read_the_log_leaves_out_what_others_know(draft, tiny, tmp_path) -> None:
    """The Embedder and the Retriever know new items, the Reranker's log has gone: it ranks what it knows."""
    log, recommender = item_log(tmp_path), Recommender(draft, threads=1)
    log.append(many(tiny, 3))
    recommender.embedder.follow_items(log)
    recommender.retriever.follow_items(log)
    recommender.reranker.follow_items(item_log(tmp_path / "elsewhere"))
    query = Query(history=("new0001", "i05"), k=30)
    user, items = recommender.recommend(query)
    assert user.items_S.tolist() == [21, 5]
    assert sorted(one.item for one in items) == sorted(f"i{n:02d}" for n in range(20) if n != 5)


def test_questions_while_items_come_in_the_same_process(draft, tiny, tmp_path) -> None:
    """Six threads ask one recommender while a seventh writes: every answer is whole."""
    log, recommender = item_log(tmp_path), Recommender(draft, threads=1)
    recommender.follow_items(log)
    entries, done, failed = many(tiny, 60), threading.Event(), []

    def ask(number: int) -> None:
        queries = [Query(user=f"u{number:02d}", k=90), Query(text="the fast pink boat", k=90), Query(k=90)]
        try:
            while not done.is_set():
                for query in queries:
                    before = len(recommender.reranker.items)
                    user, items = recommender.recommend(query)
                    assert len(items) >= before - len(user.items_S)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for entry in entries:
        log.append([entry])
        recommender.retriever.catch_up()
    done.set()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(recommender.recommend(Query(k=200))[1]) == 80


def test_a_release_without_numbers_takes_items(encoder_folder, tmp_path) -> None:
    """The tower then reads a column of zeros."""
    bare = Tiny.of(encoder_folder, data={"items": {"numbers": []}})
    draft = write_draft(bare, tmp_path / "draft")
    log, recommender = item_log(tmp_path), Recommender(draft, threads=1)
    log.append([added(bare, "a", {"title": "the fast car"})])
    recommender.follow_items(log)
    assert recommender.recommend(Query(allow=("a",)))[1][0].title == "the fast car"
