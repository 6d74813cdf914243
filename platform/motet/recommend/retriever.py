"""Retriever: which items. Sources, filters, fusion; items near an item."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import faiss
import numpy as np
import torch

from motet.errors import RequestError
from motet.events.store import Readable
from motet.itemlog.entry import ItemEntry
from motet.itemlog.following import follow_items
from motet.itemlog.live import LiveItems
from motet.recommend.filling import FILL, Filler
from motet.recommend.query import Query, read_recipe
from motet.recommend.screening import screen
from motet.retrieval.catalogue import ItemTable
from motet.retrieval.features import Collected, RankFeatures
from motet.retrieval.filters import Screen
from motet.retrieval.fusion import Fusion, log_softmax
from motet.retrieval.library import load_sources
from motet.retrieval.sharded import AskParts
from motet.retrieval.sources import Answer, DenseAnswer
from motet.retrieval.state import Candidates, Stages, UserState
from motet.retrieval.trees import Trees
from motet.retrieval.trends import Trends
from motet.storage import read_json

_TEXT_SHARPNESS = 20.0


class Retriever:
    """Finds candidates for user states."""

    def __init__(
        self,
        folder: Path,
        fitted: Path | None = None,
        threads: int | None = None,
        ask: Callable[[str], AskParts] | None = None,
    ) -> None:
        """Load the step.

        Args:
            folder: a bundle.
            fitted: folder of the sources that were fitted as of another moment; the bundle's own if None.
            threads: of FAISS and torch in this process; None leaves them.
            ask: returns who asks the parts of an index by its name, if others hold them.
        """
        if threads is not None:
            faiss.omp_set_num_threads(threads)
            torch.set_num_threads(threads)
        self.folder, self.threads, self.recipe = folder, threads, read_recipe(folder)
        self.items = ItemTable.load(folder, mapped=self.recipe.index.shards > 1)
        self.sources = load_sources(folder, self.recipe, self.items, fitted=fitted, ask=ask)
        self.features = RankFeatures(tuple(self.sources), self.items, Trends.load(fitted or folder))
        self.fusion = load_fusion(folder)
        self.filler = Filler(self.recipe, self.items, self.features.trends)
        self._live_items: LiveItems | None = None

    def follow_items(self, store: Readable[ItemEntry]) -> None:
        """Know from now on the items that an item log adds, changes and removes."""
        self._live_items = follow_items(store, self.folder, self.recipe, self.items, threads=self.threads)

    def catch_up(self) -> None:
        """Read what the followed log has by now; `run` and `similar` do so by themselves."""
        if self._live_items is not None:
            self._live_items.catch_up()

    def run(self, user: UserState, query: Query) -> Candidates:
        """Return the fused candidates of one user, best first: at most `retrieval.candidates`, or k if that is more.

        A request with a text is answered by the contents of the items alone, if `profile` is among the sources.
        Caps of the surface keep more, if the list could not be filled otherwise.

        Raises:
            RequestError: for a surface or filter that the release does not have.
        """
        self.catch_up()
        with self.items.standstill.looking():
            user = user.within(len(self.items))
            found = self.keep(self.fuse(user, query, self.screen(user, query)), query)
            return found if self._live_items is None else replace(found, items_to=self._live_items.position)

    def keep(self, found: Candidates, query: Query) -> Candidates:
        """Return the candidates that are ranked."""
        return found.take(self.filler.kept(found.places_C, query, max(self.recipe.retrieval.candidates, query.k)))

    def fuse(self, user: UserState, query: Query, screen: Screen) -> Candidates:
        """Return all that any source found, best first."""
        allowed_I, answers = screen.allowed_I, self._answers(user, ())
        found = self._union(answers, allowed_I, query.k)
        by_text = user.level == "text" and "profile" in self.sources
        if by_text:
            column = list(self.sources).index("profile")
            found = found.take(np.flatnonzero(~np.isnan(found.ranks_CS[:, column])))
        listed = np.sum(~np.isnan(found.ranks_CS), 0)
        filling = self.filler.missing(user, found.places_C, allowed_I, query)
        if len(filling):
            found = _with_unlisted(found, answers, filling)
        if by_text:
            fused_C = log_softmax(_TEXT_SHARPNESS * np.nan_to_num(found.scores_CS[:, column]))
        else:
            fused_C = self._fused(user, found)
        allowed, removed = screen.counts
        counts = dict(zip(self.sources, listed.tolist(), strict=True))
        stages = Stages(len(self.items), allowed, removed, counts, len(found.places_C), len(filling))
        listed_CS = np.where(np.isnan(found.ranks_CS), np.nan, found.scores_CS)
        sources = tuple(self.sources)
        if len(filling):
            filled_C1 = np.where(np.isin(found.places_C, filling), 1.0, np.nan)[:, None]
            listed_CS, sources = np.concatenate([listed_CS, filled_C1], 1), (*sources, FILL)
        best = np.lexsort((found.places_C, -fused_C))
        return Candidates(found.places_C, fused_C, listed_CS, sources, stages).take(best)

    def _fused(self, user: UserState, found: Collected) -> np.ndarray:
        if isinstance(self.fusion, Trees):
            return self.fusion.log_probabilities(self.features.of(user, found))
        assert self.fusion is not None
        return self.fusion.log_probabilities(found.scores_CS, found.ranks_CS)

    def screen(self, user: UserState, query: Query) -> Screen:
        """Return which items may be shown, and what stopped the others."""
        return screen(self.items, self.recipe, query, user.seen_S)

    def allowed(self, user: UserState, query: Query) -> np.ndarray:
        """Return which items may be shown, bool [I]."""
        return self.screen(user, query).allowed_I

    def collect(
        self, user: UserState, allowed_I: np.ndarray, least: int = 1, withheld: tuple[str, ...] = ()
    ) -> Collected:
        """Return the union of the lists.

        Args:
            user: who asks.
            allowed_I: the items that may be shown.
            least: length of each list, if that is more than `retrieval.candidates`.
            withheld: sources that are not asked.
        """
        return self._union(self._answers(user, withheld), allowed_I, least)

    def _answers(self, user: UserState, withheld: tuple[str, ...]) -> list[Answer | None]:
        return [None if name in withheld else source.ask(user) for name, source in self.sources.items()]

    def _union(self, answers: Sequence[Answer | None], allowed_I: np.ndarray, least: int) -> Collected:
        length = max(self.recipe.retrieval.candidates, least)
        lists = [answer.best(length, allowed_I)[0] if answer else _nothing() for answer in answers]
        places_C = np.unique(np.concatenate(lists))
        scores_CS = np.full((len(places_C), len(answers)), np.nan)
        ranks_CS = np.full((len(places_C), len(answers)), np.nan)
        for column, (answer, listed) in enumerate(zip(answers, lists, strict=True)):
            if answer is not None:
                scores_CS[:, column] = answer.of(places_C)
                ranks_CS[np.searchsorted(places_C, listed), column] = np.arange(len(listed))
        return Collected(places_C, scores_CS, ranks_CS)

    def similar(self, item: str, k: int) -> list[tuple[str, str, float]]:
        """Return (id, title, cosine) of the k items nearest to one by the item tower.

        Raises:
            RequestError: if the item is not in the catalogue.
        """
        self.catch_up()
        with self.items.standstill.looking():
            if not self.items.has(item):
                raise RequestError("item: not in the catalogue of this release")
            return self.near(self.items.place_of[item], k)

    def near(self, place: int, k: int) -> list[tuple[str, str, float]]:
        """Return (id, title, cosine) of the k items nearest to that at a place."""
        allowed_I = self.items.standing()
        allowed_I[place] = False
        unit_ID = self.items.unit_ID
        source = self.sources.get("vectors")
        if source is None:
            found = DenseAnswer(np.asarray(unit_ID) @ unit_ID[place]).best(k, allowed_I)[0]
        else:
            found = source.index.search(unit_ID[place], k, allowed_I)[0]  # type: ignore[attr-defined]
        return [(self.items.ids[p], self.items.titles[p], float(unit_ID[p] @ unit_ID[place])) for p in found]


def _with_unlisted(found: Collected, answers: Sequence[Answer | None], filling: np.ndarray) -> Collected:
    """Return what was found with more items, which no source listed but each scores."""
    places_C = np.concatenate([found.places_C, filling])
    nothing_C = np.full(len(filling), np.nan)
    scores = [answer.of(filling) if answer is not None else nothing_C for answer in answers]
    ranks_CS = np.full((len(filling), len(answers)), np.nan)
    scores_CS = np.concatenate([found.scores_CS, np.stack(scores, 1)])
    return Collected(places_C, scores_CS, np.concatenate([found.ranks_CS, ranks_CS])).take(np.argsort(places_C))


def _nothing() -> np.ndarray:
    return np.zeros(0, np.int64)


def load_fusion(folder: Path) -> Fusion | Trees | None:
    """Return the fitted fusion of a bundle; None in a draft that has none yet."""
    if (folder / "trees.json").exists():
        return Trees.load(folder)
    return Fusion.from_dict(read_json(folder / "fusion.json")) if (folder / "fusion.json").exists() else None
