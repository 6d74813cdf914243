"""The three steps of a recommendation, as the offline evaluation AND the Serve graph call them.

    query -> Embedder   who is asking: history, profile, user vector
          -> Retriever  which items: sources, filters, fusion
          -> Reranker   in which order and why: task scores, calibration, value, diversity, reasons

Each step loads its part of a bundle's folder and can stand in a process of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError

from motet.data.histories import profile_vector, profile_weights
from motet.encoders.text import TextEncoder, encoder_key
from motet.errors import DataError, EncoderError, RequestError
from motet.model.io import load_model
from motet.people import People, Person
from motet.ranking.calibration import Calibrator, sigmoid
from motet.ranking.diversity import select
from motet.ranking.reasons import Reason, explain
from motet.ranking.value import values
from motet.recipe import Recipe
from motet.retrieval.catalogue import ItemTable
from motet.retrieval.fusion import Fusion, log_softmax
from motet.retrieval.library import load_sources
from motet.retrieval.sources import NeighbourSource, Source
from motet.retrieval.state import Candidates, Level, UserState
from motet.storage import read_json

UNKNOWN = 2
_TEXT_SHARPNESS = 20.0


@dataclass(frozen=True)
class Query:
    """One request for recommendations."""

    user: str | None = None
    history: tuple[str, ...] | None = None
    text: str | None = None
    surface: str | None = None
    k: int = 10
    exclude_seen: bool | None = None
    """Leave out what the user has met; None does as the recipe: unless repeats are kept."""
    filters: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Item:
    """One recommended item."""

    item: str
    title: str
    value: float
    scores: dict[str, float]
    sources: list[str]
    reason: Reason


def read_recipe(folder: Path) -> Recipe:
    """Return the recipe of a bundle.

    Raises:
        DataError: if this version of Motet does not know its settings.
    """
    path = folder / "recipe.json"
    try:
        return Recipe.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise DataError(
            f"{path}: {where}: {first['msg']}; another version of Motet wrote it: use that one, or publish anew"
        ) from error


class Embedder:
    """Turns queries into user states.

    Args:
        folder: a bundle.
        threads: torch threads of this process; None leaves them.
    """

    def __init__(self, folder: Path, threads: int | None = None) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self.folder, self.recipe = folder, read_recipe(folder)
        self.items = ItemTable.load(folder)
        self.people = People.load(folder)
        self.model, _ = load_model(folder)
        self.catalogue_ID = torch.from_numpy(self.items.vectors_ID)
        self.threads = threads
        self._encoder: TextEncoder | None = None

    @property
    def encoder(self) -> TextEncoder:
        """The language model, loaded at the first text.

        Raises:
            EncoderError: if its folder is not that of the release, whose vectors it would not fit.
        """
        if self._encoder is None:
            key = read_json(self.folder / "encoder.json")["key"]
            if encoder_key(self.recipe.encoder) != key:
                raise EncoderError(
                    f"encoder.model = {self.recipe.encoder.model!r} is not the model of this release (key {key}); "
                    "restore that folder or run the pipeline again"
                )
            self._encoder = TextEncoder(self.recipe.encoder, self.threads)
        return self._encoder

    def require_encoder(self) -> None:
        """Load the language model now."""
        assert self.encoder is not None

    def run(self, queries: Sequence[Query]) -> list[UserState]:
        """Return one state per query."""
        return self.states([self.person(query) for query in queries])

    def person(self, query: Query) -> Person:
        """Return who asks: what is stored of the user, with the query's history and text put in its place.

        Raises:
            RequestError: if nothing of the given history is in the catalogue.
        """
        person = self.people.find(query.user)
        if query.history is not None:
            places_S = self.items.places(list(query.history))
            if len(query.history) and not len(places_S):
                raise RequestError("history: none of these items is in the catalogue")
            level: Level = "history" if len(places_S) else "popular"
            person = person.with_history(places_S, level)
        if query.text:
            person = person.with_text(self.people.whitening.apply(self.encoder.encode([query.text]))[0])
        return person

    def states(self, people: Sequence[Person]) -> list[UserState]:
        """Run the user tower over people, in batches of 256."""
        done: list[UserState] = []
        for start in range(0, len(people), 256):
            batch = people[start : start + 256]
            raw_BD = self._tower(batch)
            done += [self._state(person, raw_D) for person, raw_D in zip(batch, raw_BD, strict=True)]
        return done

    @torch.inference_mode()
    def _tower(self, people: Sequence[Person]) -> np.ndarray:
        from motet.training.validation import last_output

        length = self.recipe.model.history
        inputs = self.people.inputs(people, length)
        users = self.model.users
        prefix_BD = users.prefix(*(torch.from_numpy(inputs[name]) for name in ("text", "slots", "numbers")))
        valid_BS = torch.from_numpy(inputs["valid"])
        events_BSD = self.catalogue_ID[torch.from_numpy(inputs["items"])]
        outputs_BPD = users(prefix_BD, events_BSD, torch.from_numpy(inputs["liking"]), valid_BS)
        return np.asarray(last_output(outputs_BPD, valid_BS).numpy())

    def _state(self, person: Person, raw_D: np.ndarray) -> UserState:
        unit_D = raw_D / max(float(np.linalg.norm(raw_D)), 1e-12)
        return UserState(
            vector_D=unit_D.astype(np.float32),
            content_W=self.content(person),
            items_S=person.items_S,
            liking_S=person.liking_S,
            level=person.level,
            raw_D=raw_D,
        )

    def content(self, person: Person) -> np.ndarray:
        """Return the query over item contents: the request's text if given, else the profile of the history."""
        width, text_dim = self.items.content_IW.shape[1], self.people.text_dim
        content_W = np.zeros(width, np.float32)
        if person.level == "text":
            content_W[:text_dim] = person.query_X
        elif len(person.profile_W):
            content_W = person.profile_W
        elif len(person.items_S):
            liked_S = np.where(person.liking_S == UNKNOWN, np.nan, person.liking_S)
            weights_S = profile_weights(person.timestamps_S, liked_S, self.recipe.data.profile)
            content_W = profile_vector(weights_S, self.items.content_IW[person.items_S])
        norm = float(np.linalg.norm(content_W))
        return content_W / norm if norm > 0 else content_W


class Retriever:
    """Finds candidates for user states."""

    def __init__(self, folder: Path) -> None:
        self.recipe = read_recipe(folder)
        self.items = ItemTable.load(folder)
        self.sources = load_sources(folder, self.recipe, self.items)
        path = folder / "fusion.json"
        self.fusion = Fusion.from_dict(read_json(path)) if path.exists() else None

    def run(self, user: UserState, query: Query) -> Candidates:
        """Return the fused candidates of one user, best first: at most `retrieval.candidates`, or k if that is more.

        A request with a text is answered by the contents of the items alone, if `profile` is among the sources.

        Raises:
            RequestError: for a surface or filter that the release does not have.
        """
        places_C, scores_CS, ranks_CS = self.collect(user, self.allowed(user, query), query.k)
        if user.level == "text" and "profile" in self.sources:
            column = list(self.sources).index("profile")
            listed = ~np.isnan(ranks_CS[:, column])
            places_C, scores_CS, ranks_CS = places_C[listed], scores_CS[listed], ranks_CS[listed]
            fused_C = log_softmax(_TEXT_SHARPNESS * scores_CS[:, column])
        else:
            assert self.fusion is not None
            fused_C = self.fusion.log_probabilities(scores_CS, ranks_CS)
        listed_CS = np.where(np.isnan(ranks_CS), np.nan, scores_CS)
        best = np.lexsort((places_C, -fused_C))[: max(self.recipe.retrieval.candidates, query.k)]
        return Candidates(places_C, fused_C, listed_CS, tuple(self.sources)).take(best)

    def allowed(self, user: UserState, query: Query) -> np.ndarray:
        """Return which items may be shown, bool [I]."""
        surface = find_surface(self.recipe, query.surface)
        fixed = self.recipe.surfaces[surface].fixed_filters()
        excludes = self.recipe.excludes_seen if query.exclude_seen is None else query.exclude_seen
        seen = user.items_S if excludes else np.zeros(0, np.int64)
        allowed_I = self.items.allowed(query.filters, seen)
        return allowed_I & self.items.allowed(fixed, np.zeros(0, np.int64)) if fixed else allowed_I

    def collect(
        self, user: UserState, allowed_I: np.ndarray, least: int = 1
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the union of the lists: places [C], scores [C, S] (0: none), ranks [C, S] (NaN: not listed).

        Args:
            user: who asks.
            allowed_I: the items that may be shown.
            least: length of each list, if that is more than `retrieval.candidates`.
        """
        answers = [source.ask(user) for source in self.sources.values()]
        length = max(self.recipe.retrieval.candidates, least)
        lists = [answer.best(length, allowed_I)[0] if answer else _nothing() for answer in answers]
        places_C = np.unique(np.concatenate(lists))
        scores_CS = np.zeros((len(places_C), len(answers)), np.float64)
        ranks_CS = np.full((len(places_C), len(answers)), np.nan)
        for column, (answer, listed) in enumerate(zip(answers, lists, strict=True)):
            if answer is not None:
                scores_CS[:, column] = answer.of(places_C)
                ranks_CS[np.searchsorted(places_C, listed), column] = np.arange(len(listed))
        return places_C, scores_CS, ranks_CS

    def similar(self, item: str, k: int) -> list[tuple[str, str, float]]:
        """Return (id, title, cosine) of the k items nearest to one by the item tower.

        Raises:
            RequestError: if the item is not in the catalogue.
        """
        if item not in self.items.place_of:
            raise RequestError("item: not in the catalogue of this release")
        place = self.items.place_of[item]
        allowed_I = np.ones(len(self.items), bool)
        allowed_I[place] = False
        unit_ID = self.items.unit_ID
        source = self.sources.get("vectors")
        if source is None:
            order = np.argsort(-(unit_ID @ unit_ID[place]), kind="stable")
            found = order[order != place][:k]
        else:
            found = source.index.search(unit_ID[place], k, allowed_I)[0]  # type: ignore[attr-defined]
        return [(self.items.ids[p], self.items.titles[p], float(unit_ID[p] @ unit_ID[place])) for p in found]


def _nothing() -> np.ndarray:
    return np.zeros(0, np.int64)


def find_surface(recipe: Recipe, name: str | None) -> str:
    """Return the surface's name; the first of the recipe if none is given.

    Raises:
        RequestError: if the recipe has no such surface.
    """
    if name is None:
        return next(iter(recipe.surfaces))
    if name not in recipe.surfaces:
        raise RequestError(f"surface: unknown; this release has {sorted(recipe.surfaces)}")
    return name


class Reranker:
    """Orders candidates by the value of their task scores and says why."""

    def __init__(self, folder: Path, threads: int | None = None) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self.recipe = read_recipe(folder)
        self.items = ItemTable.load(folder)
        self.model, self.card = load_model(folder)
        path = folder / "calibrators.json"
        stored: dict[str, Any] = read_json(path) if path.exists() else {}
        self.calibrators = {name: Calibrator.from_dict(one) for name, one in stored.items()}
        sources: dict[str, Source] = load_sources(folder, self.recipe, self.items, only=("item_knn",))
        knn = sources.get("item_knn")
        self.item_knn = knn if isinstance(knn, NeighbourSource) else None

    @torch.inference_mode()
    def raw_scores(self, user_ND: np.ndarray, places_N: np.ndarray) -> np.ndarray:
        """Return the heads' raw scores of pairs, float32 [N, T]."""
        if not self.model.scored:
            return np.zeros((len(places_N), 0), np.float32)
        items_ND = torch.from_numpy(self.items.vectors_ID[places_N])
        log_count_N = torch.from_numpy(self.items.log_count_I[places_N])
        users_ND = torch.from_numpy(np.array(user_ND, np.float32, order="C"))
        return np.asarray(self.model.task_scores(users_ND, items_ND, log_count_N).numpy())

    def task_scores(self, user: UserState, candidates: Candidates) -> dict[str, np.ndarray]:
        """Return calibrated scores by task, [C] each."""
        count = len(candidates.places_C)
        raw_CT = self.raw_scores(np.broadcast_to(user.raw_D, (count, len(user.raw_D))), candidates.places_C)
        scores = {self.recipe.retrieval_task.name: np.exp(candidates.fused_C)}
        for column, name in enumerate(self.model.scored):
            scores[name] = self.calibrated(name, raw_CT[:, column])
        return scores

    def calibrated(self, task: str, raw_N: np.ndarray) -> np.ndarray:
        """Return calibrated scores of one task."""
        if task in self.calibrators:
            return self.calibrators[task].apply(raw_N)
        if task in self.card.scales:
            return np.asarray(raw_N * self.card.scales[task].std + self.card.scales[task].mean, np.float32)
        return sigmoid(raw_N)

    def order(
        self, user: UserState, candidates: Candidates, query: Query
    ) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
        """Return (rows in the order to show, values [C], scores by task)."""
        scores = self.task_scores(user, candidates)
        surface = self.recipe.surfaces[find_surface(self.recipe, query.surface)]
        values_C = values(scores, surface.weights)
        unit_CD = self.items.unit_ID[candidates.places_C]
        return select(values_C, unit_CD, query.k, self.recipe.ranking.diversity), values_C, scores

    def run(self, user: UserState, candidates: Candidates, query: Query) -> list[Item]:
        """Return the k best items with scores, value, sources and reason."""
        rows, values_C, scores = self.order(user, candidates, query)
        return [self._item(int(row), user, candidates, values_C, scores) for row in rows]

    def _item(
        self,
        row: int,
        user: UserState,
        candidates: Candidates,
        values_C: np.ndarray,
        scores: dict[str, np.ndarray],
    ) -> Item:
        place = int(candidates.places_C[row])
        found_by = candidates.found_by(row)
        reason = explain(place, found_by, user, self.items.unit_ID, self.item_knn, self.items.ids, self.items.titles)
        rounded = {name: round(float(score[row]), 6) for name, score in scores.items()}
        return Item(
            self.items.ids[place],
            self.items.titles[place],
            round(float(values_C[row]), 6),
            rounded,
            found_by,
            reason,
        )


class Recommender:
    """The three steps in one process.

    Args:
        folder: a bundle.
        threads: torch threads; None leaves them.
    """

    def __init__(self, folder: Path, threads: int | None = None) -> None:
        self.embedder, self.retriever = Embedder(folder, threads), Retriever(folder)
        self.reranker = Reranker(folder, threads)

    def recommend(self, query: Query) -> tuple[UserState, list[Item]]:
        """Answer one query."""
        user = self.embedder.run([query])[0]
        return user, self.reranker.run(user, self.retriever.run(user, query), query)
