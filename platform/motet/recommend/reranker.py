"""Reranker: in which order, and why. Task scores, calibration, value, diversity, reasons."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from motet.errors import ReleaseError, RequestError
from motet.estimates import ESTIMATES, Estimates
from motet.events.store import Readable
from motet.itemlog.entry import ItemEntry
from motet.itemlog.following import follow_items
from motet.itemlog.live import LiveItems
from motet.kinds.calibration import Calibrator
from motet.model.gates import gate_weights
from motet.model.io import load_model
from motet.ranking.caps import Caps
from motet.ranking.diversity import select
from motet.ranking.exploration import EXPLORE, Explored, explore
from motet.ranking.reasons import Reason, explain
from motet.ranking.value import values
from motet.recommend.query import Item, Query, find_surface, find_weights, read_recipe
from motet.recommend.trace import Numbers, Ranked, Weighed, trace_candidates
from motet.retrieval.catalogue import ItemTable
from motet.retrieval.library import load_sources
from motet.retrieval.sources import NeighbourSource, Source
from motet.retrieval.state import Candidates, UserState
from motet.storage import read_json

Asked = tuple[UserState, Candidates, Query, bool]
"""Who asks, what the Retriever found for them, what they ask, and whether they want to know how the list came about."""


class Reranker:
    """Orders candidates by the value of their task scores and says why."""

    def __init__(self, folder: Path, threads: int | None = None) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self.folder, self.threads, self.recipe = folder, threads, read_recipe(folder)
        self.items = ItemTable.load(folder, mapped=self.recipe.index.shards > 1)
        self.model, self.card = load_model(folder)
        scales = [self.card.scales[name] for name in self.model.scored]
        self.estimates = Estimates.load(folder / ESTIMATES, scales) if self.card.shapes.estimates else None
        path = folder / "calibrators.json"
        stored: dict[str, Any] = read_json(path) if path.exists() else {}
        self.calibrators = {name: Calibrator.from_dict(one) for name, one in stored.items()}
        sources: dict[str, Source] = load_sources(folder, self.recipe, self.items, only=("item_knn",))
        knn = sources.get("item_knn")
        self.item_knn = knn if isinstance(knn, NeighbourSource) else None
        self._live_items: LiveItems | None = None

    def follow_items(self, store: Readable[ItemEntry]) -> None:
        """Know from now on the items that an item log adds, changes and removes."""
        self.estimates = self.estimates and self.estimates.with_unmet()
        self._live_items = follow_items(store, self.folder, self.recipe, self.items, threads=self.threads)

    def catch_up(self) -> None:
        """Read what the followed log has by now; `rank` does so by itself."""
        if self._live_items is not None:
            self._live_items.catch_up()

    def raw_scores(self, user: UserState, places_N: np.ndarray) -> np.ndarray:
        """Return the raw scores of items for a user by `Recipe.scores`, float32 [N, C]."""
        return self.raw_scores_of_all([(user, places_N)])[0]

    @torch.inference_mode()
    def raw_scores_of_all(self, asked: Sequence[tuple[UserState, np.ndarray]]) -> list[np.ndarray]:
        """Return the raw scores [N, C] of several users' items, by one call of the task layers."""
        lengths = [len(places_N) for _, places_N in asked]
        if not self.model.scored:
            return [np.zeros((length, 0), np.float32) for length in lengths]
        pairs = zip(*(self._pairs(*one) for one in asked), strict=True)
        scores_NC = np.asarray(self.model.task_scores(*map(torch.cat, pairs)).numpy())
        return np.split(scores_NC, np.cumsum(lengths)[:-1])

    def gates(self, user: UserState, places_N: np.ndarray) -> np.ndarray | None:
        """Return the weights of the experts [N, T, E] for items; None if there is no gate, or no item."""
        found = gate_weights(self.model, *self._pairs(user, places_N)) if len(places_N) else None
        return None if found is None else np.asarray(found.numpy())

    def _pairs(self, user: UserState, places_N: np.ndarray) -> tuple[torch.Tensor, ...]:
        """Return what the task layers read of a user with each item, as `Recommender.task_outputs` takes it."""
        users_ND = torch.from_numpy(np.asarray(user.raw_D, np.float32)).expand(len(places_N), -1)
        log_count_N = self.items.log_count_I[places_N]
        estimates_NF = np.zeros((len(places_N), 0), np.float32)
        if self.estimates is not None:
            unmet = self.items.of_release  # the place of all items that came since the release
            asked = (np.minimum(user.items_S, unmet), user.labels_ST, np.minimum(places_N, unmet))
            estimates_NF = self.estimates.of(*asked, user.later)
        ids_N = np.where(log_count_N > 0, places_N + 1, 0)
        items_ND = self.items.vectors_ID[places_N]
        return (users_ND, *(torch.from_numpy(one) for one in (items_ND, log_count_N, ids_N, estimates_NF)))

    def weigh(self, user: UserState, candidates: Candidates, query: Query) -> Weighed:
        """Return every candidate's scores before and after calibration, and its value.

        Raises:
            RequestError: for a surface or weight that the release does not have.
            ReleaseError: for scores that are no numbers.
        """
        return self._weigh(self.raw_scores(user, candidates.places_C), candidates, query)

    def _weigh(self, raw_CT: np.ndarray, candidates: Candidates, query: Query) -> Weighed:
        weights = find_weights(self.recipe, query)
        first = self.recipe.retrieval_task.name
        raw = {first: candidates.fused_C} | {name: raw_CT[:, column] for column, name in enumerate(self.model.scores)}
        scores = {name: np.exp(one_C) if name == first else self.calibrated(name, one_C) for name, one_C in raw.items()}
        scores = {name: one_C.astype(np.float32) for name, one_C in scores.items()}
        value_C = values(scores, weights)
        if not all(np.isfinite(one_C).all() for one_C in (*scores.values(), value_C)):
            raise ReleaseError(f"release {self.folder.name} gives scores that are no numbers; roll back to another one")
        return Weighed(raw, scores, weights, value_C)

    def calibrated(self, name: str, raw_N: np.ndarray) -> np.ndarray:
        """Return calibrated scores of one of `Recipe.scores`."""
        if name in self.calibrators:
            return self.calibrators[name].apply(raw_N)
        task = next(score.task for score in self.recipe.scores if score.name == name)
        return task.rules.uncalibrated(self.card.scales[task.name]).apply(raw_N)

    def pick(self, candidates: Candidates, values_C: np.ndarray, query: Query) -> tuple[np.ndarray, dict[int, str]]:
        """Return (rows in the order to show, the rows that a cap refused with its category)."""
        caps = self._caps(candidates, query)
        unit_CD = self.items.unit_ID[candidates.places_C]
        rows = select(values_C, unit_CD, query.k, self.recipe.ranking.diversity, caps)
        return rows, caps.stopped

    def _caps(self, candidates: Candidates, query: Query) -> Caps:
        most = self.recipe.surfaces[find_surface(self.recipe, query.surface)].caps
        return Caps(most, {name: self.items.values_of(name, candidates.places_C) for name in most})

    def explore(self, rows_K: np.ndarray, candidates: Candidates, values_C: np.ndarray, query: Query) -> Explored:
        """Return the list with what is drawn into it, if the surface explores and the query has a request's id."""
        settings = self.recipe.surfaces[find_surface(self.recipe, query.surface)].exploration
        if query.request is None or not settings.share:
            return Explored.nothing(rows_K)
        return explore(rows_K, values_C, settings, query.request, self._caps(candidates, query))

    def order(
        self, user: UserState, candidates: Candidates, query: Query
    ) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
        """Return (rows in the order to show, values [C], scores by task)."""
        weighed = self.weigh(user, candidates, query)
        return self.pick(candidates, weighed.values_C, query)[0], weighed.values_C, weighed.scores

    def run(self, user: UserState, candidates: Candidates, query: Query) -> list[Item]:
        """Return the k best items with scores, value, sources and reason."""
        return self.rank(user, candidates, query).items

    def rank(self, user: UserState, candidates: Candidates, query: Query, trace: bool = False) -> Ranked:
        """Return the k best items, and how they were chosen.

        Raises:
            RequestError: for a surface or weight that the release does not have.
        """
        (found,) = self.answers([(user, candidates, query, trace)])
        if isinstance(found, RequestError):
            raise found
        return found

    def answers(self, asked: Sequence[Asked]) -> list[Ranked | RequestError]:
        """Return for each request what `rank` returns, or why it cannot be; the task layers run once for all."""
        self.catch_up()
        with self.items.standstill.looking():
            known = len(self.items)
            within = [(user.within(known), found.within(known), query, trace) for user, found, query, trace in asked]
            raws = self.raw_scores_of_all([(user, found.places_C) for user, found, _, _ in within])
            return [self._rank_or_error(raw_CT, *one) for raw_CT, one in zip(raws, within, strict=True)]

    def _rank_or_error(
        self, raw_CT: np.ndarray, user: UserState, candidates: Candidates, query: Query, trace: bool
    ) -> Ranked | RequestError:
        try:
            return self._rank(self._weigh(raw_CT, candidates, query), user, candidates, query, trace)
        except RequestError as error:
            return error

    def _rank(self, weighed: Weighed, user: UserState, candidates: Candidates, query: Query, trace: bool) -> Ranked:
        rows, stopped = self.pick(candidates, weighed.values_C, query)
        shown = self.explore(rows, candidates, weighed.values_C, query)
        items = [
            self._item(int(row), user, candidates, weighed, bool(drawn))
            for row, drawn in zip(shown.rows_K, shown.drawn_K, strict=True)
        ]
        pushed = frozenset(rows.tolist()) - frozenset(shown.rows_K.tolist())
        way = (self.items.ids, candidates, weighed, shown.rows_K, stopped, pushed)
        traced = trace_candidates(*way) if trace else None
        return Ranked(items, dict(Counter(stopped.values())), traced, self._numbers(weighed, shown, query))

    def _numbers(self, weighed: Weighed, shown: Explored, query: Query) -> Numbers | None:
        return Numbers.of(weighed, shown) if query.recorded else None

    def _item(self, row: int, user: UserState, candidates: Candidates, weighed: Weighed, drawn: bool) -> Item:
        place = int(candidates.places_C[row])
        found_by = candidates.found_by(row)
        if drawn:
            found_by, reason = [*found_by, EXPLORE], Reason("shown to learn whether you like it", EXPLORE)
        else:
            table = (self.items.unit_ID, self.item_knn, self.items.ids, self.items.titles)
            reason = explain(place, found_by, user, *table)
        rounded = {name: round(float(score[row]), 6) for name, score in weighed.scores.items()}
        value = round(float(weighed.values_C[row]), 6)
        return Item(self.items.ids[place], self.items.titles[place], value, rounded, found_by, reason)
