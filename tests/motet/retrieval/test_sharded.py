"""An index in parts gives what one gives, under any mask, from files, with vectors that are mapped."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from motet.errors import RetrievalError
from motet.recommend import Query, Recommender
from motet.retrieval.catalogue import ItemTable, unit_rows
from motet.retrieval.index import VectorIndex
from motet.retrieval.mapped import Derived, mapped_tensors
from motet.retrieval.sharded import build_parts, load_part, load_parts, open_index, part_bounds, part_paths
from motet.settings import IndexSettings
from tests.builders import Tiny
from tests.drafts import write_draft

CHANCE = np.random.default_rng(5)
VECTORS = unit_rows(CHANCE.normal(size=(300, 8)).astype(np.float32))
QUERIES = CHANCE.normal(size=(20, 8)).astype(np.float32)


@pytest.fixture(scope="module", params=[2, 3, 7])
def parted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """(index in parts, the same in one)."""
    settings, path = IndexSettings(shards=request.param), tmp_path_factory.mktemp("parts") / "index.faiss"
    build_parts(VECTORS, settings, path)
    return open_index(path, VECTORS, len(VECTORS), settings), VectorIndex.build(VECTORS, IndexSettings())


@pytest.mark.parametrize("k", [1, 10, 299, 300, 1000])
@pytest.mark.parametrize("share", [None, 1.0, 0.5, 0.05, 0.01, 0.0])
def test_what_parts_find_is_what_one_finds(parted, k: int, share: float | None) -> None:
    index, whole = parted
    mask = None if share is None else CHANCE.random(len(VECTORS)) < share
    for query in QUERIES:
        (places, scores), (expected, of_them) = index.search(query, k, mask), whole.search(query, k, mask)
        np.testing.assert_array_equal(places, expected)
        np.testing.assert_allclose(scores, of_them, atol=1e-6)
    assert index.is_exact


def test_a_query_that_is_no_number_finds_nothing(parted) -> None:
    places, scores = parted[0].search(np.full(8, np.nan, np.float32), 5)
    assert (len(places), len(scores)) == (0, 0)


@pytest.mark.parametrize("kind", ["ivf", "hnsw", "sq8"])
def test_parts_of_other_kinds_find_as_much(tmp_path: Path, kind: str) -> None:
    settings = IndexSettings(kind=kind, shards=3, nprobe=4, ef_search=64, exact_below=0)  # type: ignore[arg-type]
    build_parts(VECTORS, settings, tmp_path / "index.faiss")
    index = open_index(tmp_path / "index.faiss", VECTORS, len(VECTORS), settings)
    exact = np.argsort(-(QUERIES @ VECTORS.T), axis=1)[:, :10]
    found = [len(np.intersect1d(best, index.search(query, 10)[0])) for query, best in zip(QUERIES, exact, strict=True)]
    assert np.mean(found) > 9
    assert not index.is_exact


@given(st.integers(1, 500), st.integers(1, 64))
def test_parts_cover_all_and_are_alike(items: int, shards: int) -> None:
    if shards > items:
        with pytest.raises(RetrievalError, match=f"index.shards = {shards} is above the {items} items"):
            part_bounds(items, shards)
        return
    bounds = part_bounds(items, shards)
    lengths = np.diff(bounds)
    assert (bounds[0], bounds[-1], len(lengths)) == (0, items, shards)
    assert lengths.max() - lengths.min() <= 1


def test_the_files_have_names_of_their_own() -> None:
    path = Path("x") / "index.faiss"
    assert part_paths(path, 1) == [path]
    assert [one.name for one in part_paths(path, 2)] == ["index-0.faiss", "index-1.faiss"]


def test_mapped_rows_are_those_of_the_file_and_made_of_them(tmp_path: Path) -> None:
    rows, path = CHANCE.normal(size=(50, 4)).astype(np.float32), tmp_path / "t.safetensors"
    save_file({"rows": rows, "none": np.zeros((0, 3), np.float32), "ids": np.arange(5)}, path)
    found = mapped_tensors(path)
    np.testing.assert_array_equal(found["rows"], rows)
    np.testing.assert_array_equal(found["ids"], np.arange(5))
    assert found["none"].shape == (0, 3)
    made, whole = Derived(found["rows"], unit_rows), unit_rows(rows)
    np.testing.assert_array_equal(np.asarray(made), whole)
    for places in (3, np.array([3, 1]), np.array([[0, 1], [2, 3]]), slice(4, 9)):
        np.testing.assert_allclose(made[places], whole[places], atol=1e-7)
    assert (made.shape, made.dtype, len(made)) == ((50, 4), np.float32, 50)
    found["rows"][3] = 1.0  # stays here
    np.testing.assert_allclose(made[3], np.full(4, 0.5))
    np.testing.assert_array_equal(mapped_tensors(path)["rows"], rows)
    save_file({"x": np.zeros(2, np.float16)}, path)
    with pytest.raises(RetrievalError, match="tensor 'x' is F16; it can't be mapped"):
        mapped_tensors(path)


@pytest.fixture(scope="module")
def drafts(encoder_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same draft with its indexes in one part and in three."""
    folder = tmp_path_factory.mktemp("drafts")
    kinds = [Tiny.of(encoder_folder, index={"shards": shards}) for shards in (1, 3)]
    one, three = (write_draft(tiny, folder / str(number)) for number, tiny in enumerate(kinds))
    return one, three


def test_a_draft_in_parts_answers_as_one_in_one(drafts: tuple[Path, Path]) -> None:
    """Asked of parts in this process, and of parts that others hold."""
    whole, parted = (Recommender(folder, threads=1) for folder in drafts)
    assert parted.retriever.items.mapped
    settings = parted.retriever.recipe.index
    held = [load_part(drafts[1], settings, number) for number in range(3)]

    def asker(name: str):
        return lambda query, k, masks: [
            part[name].search(query, k, mask) for part, mask in zip(held, masks, strict=True)
        ]

    far = Recommender(drafts[1], threads=1)
    far.retriever = type(far.retriever)(drafts[1], threads=1, ask=asker)
    queries = [Query(user="u03", k=6), Query(history=("i02", "i07"), k=4), Query(text="red car", k=5), Query(k=3)]
    for query in queries:
        expected = [(item.item, item.value) for item in whole.recommend(query)[1]]
        for other in (parted, far):
            found = other.recommend(query)[1]
            assert [item.item for item in found] == [item for item, _ in expected]
            np.testing.assert_allclose([item.value for item in found], [value for _, value in expected], atol=2e-6)
    near = [[one[:2] for one in step.retriever.similar("i02", 5)] for step in (whole, parted, far)]
    assert near[0] == near[1] == near[2]


def test_shortened_parts_compare_with_their_own_vectors(tmp_path: Path) -> None:
    settings = IndexSettings(kind="sq8", shards=3)
    build_parts(VECTORS, settings, tmp_path / "index.faiss")
    parts = load_parts(tmp_path / "index.faiss", VECTORS, len(VECTORS), settings)
    places, scores = parts[2].search(VECTORS[250], 1)
    assert places.tolist() == [50]
    assert scores[0] == pytest.approx(1.0, abs=1e-6)


def test_items_that_come_later_are_found_beside_mapped_ones(drafts: tuple[Path, Path]) -> None:
    whole, mapped = ItemTable.load(drafts[0]), ItemTable.load(drafts[1], mapped=True)
    rows = whole.table.slice(0, 2).set_column(0, "item", [["new", whole.ids[5]]])
    vectors, contents = whole.vectors_ID[np.array([7, 8])], whole.content_IW[np.array([7, 8])]
    for table in (whole, mapped):
        assert table.unit_ID[0] is not None  # made before
        table.add(rows, vectors, contents)
    for name in ("vectors_ID", "unit_ID", "attributes_IW", "content_IW"):
        np.testing.assert_allclose(np.asarray(getattr(mapped, name)), np.asarray(getattr(whole, name)), atol=1e-6)
