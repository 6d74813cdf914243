"""Embedder: who is asking. Queries to user states, by the user tower and the language model."""

import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from motet.data.histories import profile_vector, profile_weights
from motet.encoders.cache import hex_keys
from motet.encoders.text import TextEncoder
from motet.errors import RequestError
from motet.events.event import Event
from motet.events.live import LiveUsers
from motet.events.store import Readable
from motet.itemlog.entry import ItemEntry, TextVector
from motet.itemlog.following import follow_items, load_encoder
from motet.itemlog.live import LiveItems
from motet.model.io import load_model
from motet.model.users import Events
from motet.people import People, Person
from motet.privacy.privacy import Privacy
from motet.privacy.scrub import scrub_one
from motet.privacy.watch import Watch
from motet.recommend.attributes import with_attributes
from motet.recommend.memo import Memo, content_key
from motet.recommend.query import Query, read_recipe
from motet.retrieval.catalogue import ItemTable
from motet.retrieval.state import Level, UserState
from motet.storage import read_json
from motet.training.validation import last_output
from motet.training.windows import LIKING_UNKNOWN

_MOST_KNOWN = 10_000
"""Vectors of users that are kept, such as 2.5 MB of 64 numbers each."""


class Embedder:
    """Turns queries into user states.

    Args:
        folder: a bundle.
        threads: torch threads of this process; None leaves them.
        encoders: language models of this process by key, to be shared by embedders of several bundles.
    """

    def __init__(
        self, folder: Path, threads: int | None = None, encoders: dict[str, TextEncoder] | None = None
    ) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self.folder, self.recipe = folder, read_recipe(folder)
        self.items = ItemTable.load(folder, mapped=self.recipe.index.shards > 1)
        self.people = People.load(folder)
        self.model, _ = load_model(folder)
        self.threads = threads
        self._encoders = {} if encoders is None else encoders
        self._memo = Memo(_MOST_KNOWN)
        self._live: LiveUsers | None = None
        self._live_items: LiveItems | None = None
        self._watch, self._privacy, self._forgetting = Watch(None), Privacy(None), threading.Lock()

    def follow_items(self, store: Readable[ItemEntry]) -> None:
        """Know from now on the items that an item log adds, changes and removes; before `follow`."""
        self._live_items = follow_items(store, self.folder, self.recipe, self.items, lambda: self.encoder)

    def follow(self, store: Readable[Event]) -> None:
        """Know from now on what users do, as an event log says."""
        self._live = LiveUsers(store, self.recipe, self.items, self.people)
        self._live.catch_up()

    def watch(self, watch: Watch) -> None:
        """Leave out from now on whoever was forgotten in a workspace."""
        self._watch = watch
        self._forget()

    def _forget(self) -> None:
        """Let go of those who were forgotten since the last look."""
        if self._watch.now is self._privacy:
            return
        with self._forgetting:
            privacy = self._watch.now
            if privacy.tombstones != self._privacy.tombstones:
                self.people = self.people.without(privacy.forgets)
                if self._live is not None:
                    self._live.forget(privacy.forgets, self.people)
            self._privacy = privacy

    def catch_up(self) -> None:
        """Read what the followed logs have by now, and who was forgotten; answers do so by themselves."""
        self._forget()
        self._catch_up_with_items()
        if self._live is not None:
            self._live.catch_up()

    def _catch_up_with_items(self) -> None:
        if self._live_items is None:
            return
        before = self.items.version
        self._live_items.catch_up()
        if self._live is not None and self.items.version != before:
            self._live.items_came()

    @property
    def encoder(self) -> TextEncoder:
        """The language model, loaded at the first text.

        Raises:
            EncoderError: if its folder is not that of the release, whose vectors it would not fit.
        """
        key = self._encoder_key
        if key not in self._encoders:
            self._encoders[key] = load_encoder(self.folder, self.recipe, self.threads)
        return self._encoders[key]

    @cached_property
    def _encoder_key(self) -> str:
        return str(read_json(self.folder / "encoder.json")["key"])

    def encode(self, texts: Sequence[str]) -> list[TextVector]:
        """Return what the language model makes of texts of items, for the item log."""
        key = read_json(self.folder / "encoder.json")["key"]
        vectors_ND = self._raw_texts(texts)
        return [TextVector.of(key, *one) for one in zip(hex_keys(texts), vectors_ND, strict=True)]

    def _raw_texts(self, texts: Sequence[str]) -> np.ndarray:
        return self.encoder.encode(texts)

    def require_encoder(self) -> None:
        """Load the language model now."""
        assert self.encoder is not None

    def run(self, queries: Sequence[Query]) -> list[UserState]:
        """Return one state per query.

        Raises:
            RequestError: for the first query that cannot be answered.
        """
        found = []
        for one in self.answers(queries):
            if isinstance(one, RequestError):
                raise one
            found.append(one)
        return found

    def answers(self, queries: Sequence[Query]) -> list[UserState | RequestError]:
        """Return for each query its state, or why it cannot be answered; the tower runs once for all."""
        self.catch_up()
        with self.items.standstill.looking():
            people = [self._person_or_error(query) for query in queries]
            states = iter(self.states([one for one in people if not isinstance(one, RequestError)]))
            return [one if isinstance(one, RequestError) else next(states) for one in people]

    def _person_or_error(self, query: Query) -> Person | RequestError:
        try:
            return self.person(query)
        except RequestError as error:
            return error

    def person(self, query: Query) -> Person:
        """Return who asks: what is known of the user, with the query's attributes, history and text in its place.

        The logs count as of the last `catch_up`.

        Raises:
            RequestError: if nothing of the given history is in the catalogue.
        """
        person = self.people.find(query.user)
        if self._live is not None and query.user is not None and query.history is None:
            person = self._live.as_known(query.user, person)
        if query.attributes is not None:
            person = with_attributes(person, query.attributes, self.recipe, self.people, self._raw_texts)
        if query.history is not None:
            places_S = self.items.places(list(query.history))
            if len(query.history) and not len(places_S):
                raise RequestError("history: none of these items is in the catalogue")
            nothing: Level = "popular" if query.attributes is None else "attributes"
            level: Level = "history" if len(places_S) else nothing
            person = person.with_history(places_S, level)
        if query.text:
            text = scrub_one(query.text, self.recipe.data.clean.scrub)
            person = person.with_text(self.people.whitening.apply(self._raw_texts([text]))[0])
        return person

    def states(self, people: Sequence[Person]) -> list[UserState]:
        """Run the user tower over people, in batches of 256."""
        done: list[UserState] = []
        for start in range(0, len(people), 256):
            batch = people[start : start + 256]
            raw_BD = self._tower(batch)
            done += [self._state(person, raw_D) for person, raw_D in zip(batch, raw_BD, strict=True)]
        return done

    def _tower(self, people: Sequence[Person]) -> np.ndarray:
        """Return what the tower makes of people [B, D], of those of whom it has not just been asked."""
        inputs = self.people.inputs(people, self.recipe.model.history)
        inputs["events"] = self.items.vectors_ID[inputs.pop("items")]
        keys = [content_key(array[row] for array in inputs.values()) for row in range(len(people))]
        known = self._memo.find(keys)
        new = [row for row, one in enumerate(known) if one is None]
        if new:
            made = self._run_tower({name: array[new] for name, array in inputs.items()})
            self._memo.keep([keys[row] for row in new], made)
            for row, raw_D in zip(new, made, strict=True):
                known[row] = raw_D
        return np.stack([one for one in known if one is not None])

    @torch.inference_mode()
    def _run_tower(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        users, of = self.model.users, {name: torch.from_numpy(array) for name, array in inputs.items()}
        prefix_BD = users.prefix(of["text"], of["slots"], of["numbers"])
        outputs_BPD = users(prefix_BD, Events(of["events"], of["labels"], of["gaps"], of["valid"], of["away"]))
        return np.asarray(last_output(outputs_BPD, of["valid"]).numpy())

    def _state(self, person: Person, raw_D: np.ndarray) -> UserState:
        dated = person.asked_ms is not None and len(person.timestamps_S) > 0
        unit_D = raw_D / max(float(np.linalg.norm(raw_D)), 1e-12)
        return UserState(
            vector_D=unit_D.astype(np.float32),
            content_W=self.content(person),
            items_S=person.items_S,
            liking_S=person.liking_S,
            level=person.level,
            raw_D=raw_D,
            asked_ms=person.asked_ms,
            first_ms=int(person.timestamps_S[0]) if dated else None,
            last_ms=int(person.timestamps_S[-1]) if dated else None,
            moments_S=person.timestamps_S if dated else None,
            slots=person.slots,
            labels_ST=person.labels_ST,
            known_to=person.known_to,
            later=person.later,
            older_S=person.older_S,
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
            liked_S = np.where(person.liking_S == LIKING_UNKNOWN, np.nan, person.liking_S)
            weights_S = profile_weights(person.timestamps_S, liked_S, self.recipe.data.profile)
            content_W = profile_vector(weights_S, self.items.content_IW[person.items_S])
        norm = float(np.linalg.norm(content_W))
        return content_W / norm if norm > 0 else content_W
