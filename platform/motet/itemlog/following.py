"""What each step of a recommendation does to follow the item log."""

from collections.abc import Callable
from pathlib import Path

from motet.data.features import FeatureSpec
from motet.encoders.text import TextEncoder, encoder_key
from motet.errors import EncoderError
from motet.events.store import Readable
from motet.itemlog.entry import ItemEntry
from motet.itemlog.live import ItemVectors, LiveItems
from motet.recipe import Recipe
from motet.retrieval.catalogue import ItemTable
from motet.storage import read_json


def follow_items(
    store: Readable[ItemEntry],
    folder: Path,
    recipe: Recipe,
    items: ItemTable,
    encoder: Callable[[], TextEncoder] | None = None,
    threads: int | None = None,
) -> LiveItems:
    """Make a catalogue with vectors follow a log, and take in what it has.

    Args:
        store: the log.
        folder: a bundle.
        recipe: its recipe.
        items: its catalogue.
        encoder: returns its language model; if None, it is loaded when an entry has no vector of it.
        threads: torch threads of a model that is loaded.
    """
    vectors = ItemVectors(folder, encoder or (lambda: load_encoder(folder, recipe, threads)))
    live = LiveItems(store, recipe, vectors.spec, items, vectors)
    live.catch_up()
    return live


def follow_names(store: Readable[ItemEntry], folder: Path, recipe: Recipe, items: ItemTable) -> LiveItems:
    """Make a catalogue of names and attributes follow a log, and take in what it has."""
    spec = FeatureSpec.model_validate(read_json(folder / "features.json")["items"])
    live = LiveItems(store, recipe, spec, items, None)
    live.catch_up()
    return live


def load_encoder(folder: Path, recipe: Recipe, threads: int | None) -> TextEncoder:
    """Return the language model of a release.

    Raises:
        EncoderError: if its folder is not that of the release, whose vectors it would not fit.
    """
    key = read_json(folder / "encoder.json")["key"]
    if encoder_key(recipe.encoder) != key:
        raise EncoderError(
            f"encoder.model = {recipe.encoder.model!r} is not the model of this release (key {key}); "
            "restore that folder or run the pipeline again"
        )
    return TextEncoder(recipe.encoder, threads)
