"""Releases that verify and are no good: they cannot be loaded, fail, are late, or give no numbers."""

import shutil

import numpy as np
from safetensors.numpy import load_file, save_file

from motet.data.parquet import read_parquet, write_parquet
from motet.release.bundle import release_id
from motet.release.publish import Releases
from motet.storage import read_json, read_manifest, write_json, write_manifest


def with_many_neighbours(one: Releases, name: str) -> str:
    """A release that answers as another does, and later: each neighbour stands in its table 30,000 times."""

    def slow_down(folder):
        table = read_parquet(folder / "neighbours.parquet")
        rows = np.repeat(np.arange(table.num_rows), 30_000)
        write_parquet(folder / "neighbours.parquet", table.take(rows))
        recipe = read_json(folder / "recipe.json")
        recipe["serve"]["canary"]["max_slowdown"] = 3.0
        write_json(folder / "recipe.json", recipe)

    return made_from(one, name, slow_down)


def without_titles(one: Releases, name: str) -> str:
    """A release that verifies and loads, and fails at each answer: its items have no titles."""

    def spoil(folder):
        write_parquet(folder / "items.parquet", read_parquet(folder / "items.parquet").drop_columns(["title"]))

    return made_from(one, name, spoil)


def made_from(one: Releases, name: str, change) -> str:
    """A release that verifies, made of a changed copy of another."""
    folder = shutil.copytree(one.folder / name, one.folder / "aside")
    manifest = read_manifest(folder)
    change(folder)
    (folder / "manifest.json").unlink()
    about = {key: value for key, value in manifest.items() if key not in ("files", "id")}
    made = release_id(write_manifest(folder, about))
    folder.rename(one.folder / made)
    return made


def without_a_model(one: Releases, name: str) -> str:
    """A release that cannot be loaded: what says how its network is built says nothing."""
    return made_from(one, name, lambda folder: write_json(folder / "model.json", {}))


def without_numbers(one: Releases, name: str) -> str:
    """A release whose network gives no numbers."""

    def spoil(folder):
        tensors = load_file(folder / "model.safetensors")
        spoilt = {key: np.full_like(one, np.nan) if one.dtype == np.float32 else one for key, one in tensors.items()}
        save_file(spoilt, folder / "model.safetensors")

    return made_from(one, name, spoil)
