"""Entries of the tiny recommender's item log, and the release that a full rebuild with new items would give."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from safetensors.numpy import load_file, save_file

from motet.data.entities import encode_items
from motet.data.parquet import read_parquet, write_parquet
from motet.encoders.cache import hex_keys
from motet.encoders.text import encoder_key
from motet.events.segments import Segments
from motet.itemlog.entry import ITEMS, ItemEntry, TextVector
from motet.model.io import load_model
from motet.model.items import ItemInputs, pad_slots
from motet.retrieval.sharded import build_parts
from motet.storage import read_json, write_json
from motet.training.catalogue import Catalogue
from tests.builders import COLOURS, THINGS, Tiny

MOMENT = 1_700_000_000_000


def item_log(folder: Path) -> Segments[ItemEntry]:
    return Segments(folder / "items", 1 << 20, ITEMS)


def columns(number: int, **changes: Any) -> dict[str, Any]:
    """The columns of a new item; every third has a colour that the release does not know, every fifth no year."""
    colour = "pink" if number % 3 == 2 else COLOURS[number % 5]
    own = {"title": f"{colour} {THINGS[number % 4]} the {'fast' if number % 2 else 'slow'}", "colour": colour}
    own |= {"year": 1960 + number} if number % 5 != 4 else {}
    return {**own, **changes}


def added(tiny: Tiny, item: str, values: dict[str, Any], vector: bool = True, **changes: Any) -> ItemEntry:
    """The entry that adds an item, with the vector of its text."""
    text = f"title: {values['title']}"
    packed = None
    if vector:
        packed = TextVector.of(encoder_key(tiny.recipe.encoder), hex_keys([text])[0], tiny.encoder.encode([text])[0])
    known = {"entry_id": f"add-{item}-{values['title']}", "item": item, "timestamp_ms": MOMENT, "columns": values}
    return ItemEntry(**{**known, "text": packed, **changes})


def removed(item: str, number: int = 0) -> ItemEntry:
    return ItemEntry(f"remove-{item}-{number}", item, MOMENT)


def many(tiny: Tiny, count: int, prefix: str = "new") -> list[ItemEntry]:
    return [added(tiny, f"{prefix}{number:04d}", columns(number)) for number in range(count)]


def rebuilt(tiny: Tiny, draft: Path, folder: Path, items: dict[str, dict[str, Any]]) -> Path:
    """The draft with other items behind its own, all made by the functions of the stages; nobody met the new ones."""
    folder = Path(shutil.copytree(draft, folder))
    raw = {"item_id": list(items), **{n: [one.get(n) for one in items.values()] for n in ("title", "colour")}}
    raw["year"] = [float(one["year"]) if "year" in one else None for one in items.values()]
    clean = pa.concat_tables([tiny.clean_items, tiny._check(raw, tiny.recipe.data.items, text_required=True)])
    table = encode_items(clean, tiny.recipe.data.items, tiny.spec("items"), clean.column("id").combine_chunks())
    counts_I = np.append(tiny.counts_I, np.zeros(len(items), np.int64))
    texts = table.column("text").to_pylist()
    shown = table.drop_columns(["text"]).append_column("count", pa.array(counts_I))
    write_parquet(folder / "items.parquet", shown.append_column("text_key", pa.array(hex_keys(texts))))
    _write_vectors(tiny, folder, table, tiny.text(texts), counts_I)
    about = read_json(folder / "trends.json")
    write_json(folder / "trends.json", about | {"items": len(counts_I)})
    return folder


def _write_vectors(tiny: Tiny, folder: Path, table: pa.Table, text_IX: np.ndarray, counts_I: np.ndarray) -> None:
    numbers_IM = np.array(table.column("numbers").to_pylist(), np.float32).reshape(table.num_rows, -1)
    old = load_file(folder / "vectors.safetensors")
    log_count_I = np.append(old["log_count"], np.zeros(table.num_rows - len(old["log_count"]), np.float32))
    slots = table.column("slots").to_pylist()
    inputs = ItemInputs(text_IX, pad_slots(slots), numbers_IM, log_count_I)
    with torch.inference_mode():
        catalogue = Catalogue(inputs, torch.from_numpy(counts_I))
        vectors_ID = catalogue.vectors(load_model(folder)[0], torch.arange(table.num_rows)).numpy()
    content_IW = np.concatenate([text_IX, tiny.spec("items").unit_rows(slots, numbers_IM)], 1) / np.sqrt(2)
    tensors = {"items": vectors_ID, "content": content_IW.astype(np.float32), "log_count": log_count_I}
    save_file({**tensors, "text_dim": old["text_dim"]}, folder / "vectors.safetensors")
    unit_ID = vectors_ID / np.linalg.norm(vectors_ID, axis=1, keepdims=True)
    build_parts(unit_ID, tiny.recipe.index, folder / "index.faiss")
    build_parts(tensors["content"], tiny.recipe.index, folder / "content.faiss")


def places_of(folder: Path) -> dict[str, int]:
    return {item: place for place, item in enumerate(read_parquet(folder / "items.parquet").column("item").to_pylist())}
