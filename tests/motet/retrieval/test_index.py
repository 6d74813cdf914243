"""The contract of the vector index, for all kinds; exact for flat, nearly so for the others."""

import contextlib
import resource
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from motet.errors import RetrievalError
from motet.retrieval import index_kinds
from motet.retrieval.index import VectorIndex, measure_recall, widened
from motet.retrieval.index_kinds import LEAST_FOR_PQ, choose_kind
from motet.settings import IndexSettings

KINDS = ("flat", "ivf", "hnsw", "sq8")


def _unit(count: int, dim: int = 8, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _build(kind: str, vectors: np.ndarray) -> VectorIndex:
    return VectorIndex.build(vectors, IndexSettings(kind=kind))


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_gpu_that_faiss_does_not_have_is_refused(kind: str) -> None:
    if hasattr(index_kinds.faiss, "StandardGpuResources") and index_kinds.faiss.get_num_gpus():
        pytest.skip("FAISS has a GPU")
    with pytest.raises(RetrievalError, match=r"index.gpu = true and faiss .* GPU.*or set index.gpu to false"):
        VectorIndex.build(_unit(100), IndexSettings(kind=kind), gpu=True)


@pytest.mark.parametrize("kind", ["flat", "ivf"])
def test_an_index_built_on_a_gpu_comes_back_to_the_cpu(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """FAISS's calls are stood in for: an empty index is sent, a full one comes back and is used."""
    calls: list[tuple[str, int]] = []

    def copy(name: str, index: Any) -> Any:
        calls.append((name, index.ntotal))
        return index_kinds.faiss.clone_index(index)

    stand_ins = {
        "StandardGpuResources": object,
        "get_num_gpus": lambda: 1,
        "index_cpu_to_gpu": lambda _resources, _device, index: copy("to", index),
        "index_gpu_to_cpu": lambda index: copy("back", index),
    }
    for name, stand_in in stand_ins.items():
        monkeypatch.setattr(index_kinds.faiss, name, stand_in, raising=False)
    vectors = _unit(200)
    index = VectorIndex.build(vectors, IndexSettings(kind=kind), gpu=True)
    assert calls == [("to", 0), ("back", 200)]
    places, _ = index.search(vectors[7], 1)
    assert places.tolist() == [7]


def test_the_nearest_come_first_with_their_inner_products(kind: str) -> None:
    # Axes, and queries between them: 0.8 along the second, 0.6 along the first.
    index = _build(kind, np.eye(8, dtype=np.float32))
    places, scores = index.search(np.array([0.6, 0.8] + [0.0] * 6, np.float32), 2)
    assert places.tolist() == [1, 0]
    np.testing.assert_allclose(scores, [0.8, 0.6], atol=1e-6)
    assert len(index) == 8
    assert index.is_exact == (kind == "flat")


def test_more_than_there_are_gives_all_of_them_and_never_a_place_of_minus_one(kind: str) -> None:
    index = _build(kind, _unit(5))
    places, scores = index.search(_unit(1, seed=1)[0], 50)
    assert sorted(places.tolist()) == [0, 1, 2, 3, 4]
    assert np.isfinite(scores).all()
    assert (np.diff(scores) <= 0).all()


@pytest.mark.parametrize("share", [0.02, 0.5, 1.0])
def test_only_allowed_items_are_found(kind: str, share: float) -> None:
    vectors = _unit(300)
    index = _build(kind, vectors)
    allowed = np.random.default_rng(2).random(300) < share
    query = _unit(1, seed=3)[0]
    places, scores = index.search(query, 10, allowed)
    assert allowed[places].all()
    np.testing.assert_allclose(scores, vectors[places] @ query, atol=1e-5)
    best = np.flatnonzero(allowed)[np.argsort(-(vectors[allowed] @ query))[:10]]
    assert places.tolist() == best.tolist()  # so few lists, so wide a search: exact for all kinds here


def test_nothing_allowed_finds_nothing(kind: str) -> None:
    places, scores = _build(kind, _unit(20)).search(_unit(1)[0], 5, np.zeros(20, bool))
    assert (places.tolist(), scores.tolist()) == ([], [])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_query_that_is_not_finite_finds_nothing(kind: str, bad: float) -> None:
    query = _unit(1)[0].copy()
    query[3] = bad
    assert len(_build(kind, _unit(20)).search(query, 5)[0]) == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_vectors_that_are_not_finite_are_refused_with_their_place(kind: str, bad: float) -> None:
    vectors = _unit(20).copy()
    vectors[[4, 9], 2] = bad
    with pytest.raises(RetrievalError, match="2 vectors are not finite, the first at place 4; train again"):
        _build(kind, vectors)


def test_no_item_is_refused(kind: str) -> None:
    with pytest.raises(RetrievalError, match="there is no item"):
        _build(kind, np.zeros((0, 8), np.float32))


def test_save_and_load_give_the_same_answers(kind: str, tmp_path: Path) -> None:
    vectors = _unit(200)
    index = VectorIndex.build(vectors, IndexSettings(kind=kind, nprobe=3, ef_search=40))
    index.save(tmp_path / "index.faiss")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index.faiss", "index.json"]
    loaded = VectorIndex.load(tmp_path / "index.faiss", vectors)
    assert (loaded.kind, loaded.settings, len(loaded)) == (kind, index.settings, 200)
    for query in _unit(5, seed=4):
        for mine, other in zip(index.search(query, 7), loaded.search(query, 7), strict=True):
            np.testing.assert_array_equal(mine, other)


@pytest.mark.parametrize("kind", ["flat", "ivf", "hnsw"])
def test_a_file_that_claims_to_hold_more_than_it_does_is_refused_without_the_memory(kind: str, tmp_path: Path) -> None:
    """Every 8 bytes of the file in turn become a count of 2^36, which an allocation would be made for."""
    vectors = _unit(200)
    index = VectorIndex.build(vectors, IndexSettings(kind=kind))
    path = tmp_path / "index.faiss"
    index.save(path)
    whole, refused = path.read_bytes(), 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for place in range(0, 400, 4):
        path.write_bytes(whole[:place] + (2**36).to_bytes(8, "little") + whole[place + 8 :])
        with contextlib.suppress(RetrievalError):
            VectorIndex.load(path, vectors)
            continue
        refused += 1
    assert refused > 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 600_000  # in KiB


@pytest.mark.parametrize(("settings", "least"), [({"nprobe": 32}, 0.9), ({"nprobe": 1000}, 1.0)])
def test_ivf_recall_against_exact_search(settings: dict[str, int], least: float) -> None:
    vectors = _unit(4000, 16)
    index = VectorIndex.build(vectors, IndexSettings(kind="ivf", **settings))
    recall = measure_recall(index, vectors, vectors[:40], 100)
    assert least <= recall <= 1
    few = VectorIndex.build(vectors, IndexSettings(kind="ivf", nprobe=1))
    assert measure_recall(few, vectors, vectors[:40], 100) < recall


def test_hnsw_recall_against_exact_search() -> None:
    vectors = _unit(3000, 16)
    index = VectorIndex.build(vectors, IndexSettings(kind="hnsw", ef_search=128))
    assert measure_recall(index, vectors, vectors[:40], 100) > 0.95


def test_recall_by_hand() -> None:
    vectors = np.eye(4, dtype=np.float32)
    assert measure_recall(_build("flat", vectors), vectors, vectors, 2) == 1.0
    # An index over the wrong way round: of the two best places of each query it finds what it finds.
    wrong = VectorIndex.build(vectors[::-1].copy(), IndexSettings(kind="hnsw"))
    # The best of query 0 is place 0 and, among equals, place 1; the index finds place 3 and one of the others.
    assert measure_recall(wrong, vectors, vectors[:1], 1) == 0.0


@pytest.mark.parametrize(
    ("kind", "items", "chosen"),
    [("auto", 100, "flat"), ("auto", 101, "ivf"), ("hnsw", 5, "hnsw"), ("flat", 10**7, "flat"), ("ivf", 1, "ivf"),
     ("sq8", 3, "sq8"), ("ivfpq", LEAST_FOR_PQ, "ivfpq"), ("ivfpq", LEAST_FOR_PQ - 1, "flat")],
)  # fmt: skip
def test_auto_goes_by_the_size_of_the_catalogue(kind: str, items: int, chosen: str) -> None:
    found, why = choose_kind(IndexSettings(kind=kind, flat_limit=100), items)
    assert found == chosen
    assert (why == "the recipe says so") == (kind == chosen)


@pytest.mark.parametrize("floor", [0.0, 0.9, 0.99, 1.0])
def test_lists_are_searched_until_the_floor_is_reached(floor: float) -> None:
    vectors, queries = _unit(4000, 16), _unit(30, 16, seed=9)
    index = VectorIndex.build(vectors, IndexSettings(flat_limit=100, nprobe=2))
    wider, recall = widened(index, vectors, queries, floor)
    assert wider.kind == "ivf"
    assert recall == measure_recall(wider, vectors, queries) >= floor
    if floor == 0:
        assert wider is index
    else:  # half as many would not do
        half = wider.settings.model_copy(update={"nprobe": wider.settings.nprobe // 2})
        assert measure_recall(replace(index, settings=half), vectors, queries) < floor


@pytest.mark.parametrize("keeps", [1.0, 0.5, 0.02, 0.0005])
@pytest.mark.parametrize("dim", [16, 18])
def test_short_codes_are_compared_again_by_the_vectors(keeps: float, dim: int, tmp_path: Path) -> None:
    """18 numbers are no whole number of codes; what the filter leaves is all, many, some or 6 of 12,000."""
    vectors, k = _unit(12_000, dim), 10
    index = VectorIndex.build(vectors, IndexSettings(kind="ivfpq", nprobe=100, refine=10, exact_below=300))
    assert index.kind == "ivfpq"
    index.save(tmp_path / "index.faiss")
    loaded = VectorIndex.load(tmp_path / "index.faiss", vectors)
    assert (tmp_path / "index.faiss").stat().st_size < vectors.nbytes / 2
    random, recalls = np.random.default_rng(5), []
    for query in _unit(20, dim, seed=6):
        allowed = None if keeps == 1 else random.random(len(vectors)) < keeps
        places, scores = loaded.search(query, k, allowed)
        passing = np.arange(len(vectors)) if allowed is None else np.flatnonzero(allowed)
        best = passing[np.argsort(-(vectors[passing] @ query), kind="stable")[:k]]
        assert len(places) == min(k, len(passing))
        assert np.isin(places, passing).all()
        np.testing.assert_allclose(scores, vectors[places] @ query, atol=1e-5)
        recalls.append(len(np.intersect1d(places, best)) / max(len(best), 1))
    assert np.mean(recalls) == 1.0 if keeps <= 0.02 else np.mean(recalls) > 0.8


@pytest.mark.parametrize("exact_below", [0, 20_000])
@pytest.mark.parametrize("keeps", [0.5, 0.05, 0.005, 3])
def test_k_answers_come_whenever_k_items_pass_the_filter(kind: str, keeps: float, exact_below: int) -> None:
    """Against brute force over what the filter keeps: 50 %, 5 %, 0.5 % or 3 of 6,000 items."""
    vectors, k = _unit(6000, 16), 25
    # So few lists and so narrow a search that only widening finds k.
    index = VectorIndex.build(vectors, IndexSettings(kind=kind, nprobe=8, ef_search=32, exact_below=exact_below))
    random = np.random.default_rng(5)
    count = int(keeps if keeps >= 1 else keeps * len(vectors))
    recalls = []
    for query in _unit(20, 16, seed=6):
        allowed = np.zeros(len(vectors), bool)
        allowed[random.choice(len(vectors), count, replace=False)] = True
        places, scores = index.search(query, k, allowed)
        best = np.flatnonzero(allowed)[np.argsort(-(vectors[allowed] @ query))[:k]]
        assert len(set(places.tolist())) == len(places) == min(k, count)
        assert allowed[places].all()
        np.testing.assert_allclose(scores, vectors[places] @ query, atol=1e-5)
        assert (np.diff(scores) <= 0).all()
        recalls.append(len(np.intersect1d(places, best)) / len(best))
    exact = kind == "flat" or exact_below > 0
    unfiltered = measure_recall(index, vectors, _unit(20, 16, seed=6), k)
    assert np.mean(recalls) == 1.0 if exact else np.mean(recalls) > unfiltered - 0.02  # a filter costs no recall


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_a_filter_whose_items_lie_far_from_the_query_still_gives_k(kind: str) -> None:
    # The allowed items all point away from the query: no list near it, and no edge walked towards it, leads to them.
    vectors = _unit(6000, 16)
    index = VectorIndex.build(vectors, IndexSettings(kind=kind, nprobe=1, ef_search=16, exact_below=0))
    query = _unit(1, 16, seed=8)[0]
    allowed = np.zeros(len(vectors), bool)
    allowed[np.argsort(vectors @ query)[:300]] = True
    places, _ = index.search(query, 50, allowed)
    assert len(places) == 50
    assert allowed[places].all()
