"""A tiny recommender made with the project's own functions: 20 items, 12 users, 3 tasks, vectors of 8 numbers.

`Tiny` holds recipe, tables and text vectors, and trains its model; `tests.drafts` writes what goes into a release.
Nothing here starts Ray.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from motet.data.contracts import check_entities
from motet.data.entities import encode_items, join_text
from motet.data.features import FeatureSpec, FitState
from motet.data.histories import (
    assign_parts,
    build_histories,
    label_columns,
    places,
)
from motet.data.split import TRAIN
from motet.encoders.text import TextEncoder
from motet.encoders.whitening import Moments, Whitening
from motet.kinds import LabelScale
from motet.model.io import ModelCard
from motet.model.items import ItemInputs, pad_slots
from motet.model.recommender import Shapes
from motet.recipe import Recipe
from motet.training.batches import Batch, collate
from motet.training.catalogue import Catalogue
from motet.training.loop import Epoch, Trainer
from motet.training.step import TrainStep
from motet.training.windows import train_rows, validation_rows

ITEMS, USERS, DAY_MS = 20, 12, 86_400_000
COLOURS, THINGS = ("red", "green", "blue", "black", "white"), ("car", "boat", "train", "plane")
TASKS = [
    {"name": "watch", "kind": "retrieval"},
    {"name": "like", "kind": "binary", "label": "rating >= 4"},
    {"name": "rating", "kind": "regression", "label": "rating"},
]


def recipe_dict(model: str) -> dict[str, Any]:
    """The recipe of the tiny recommender as plain types; `model` is the encoder's folder."""
    return {
        "name": "tiny",
        "data": {
            "interactions": {"path": "interactions.csv"},
            "items": {"path": "items.csv", "text": ["title"], "categories": ["colour"], "numbers": ["year"]},
            "users": {"path": "users.csv", "text": ["team"], "categories": ["team"], "numbers": ["age"]},
            "split": {"kind": "leave_one_out"},
        },
        "tasks": TASKS,
        "encoder": {"model": model, "max_tokens": 8, "batch_size": 4},
        "model": {"dim": 8, "history": 6, "layers": 1, "heads": 2, "dropout": 0.0, "id_dropout": 0.0,
                  "num_experts": 2, "expert_dim": 8, "estimates": "none"},
        "train": {"workers": 0, "epochs": 3, "batch_size": 8, "learning_rate": 0.01, "warmup_steps": 2},
        "retrieval": {"candidates": 20, "neighbours": 10,
                      "trees": {"rounds": 20, "rows_per_leaf": 5, "threads": 1}},
        "surfaces": {
            "home": {"weights": {"watch": 1.0, "like": 0.1}},
            "ratings": {"weights": {"rating": 1.0}},
            "reds": {"weights": {"like": 1.0}, "filters": {"colour": "red"}},
        },
        "release": {"golden_requests": 3},
    }  # fmt: skip


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with nested changes."""
    result = dict(base)
    for key, value in changes.items():
        result[key] = merged(result[key], value) if isinstance(value, dict) and key in result else value
    return result


def write_encoder(folder: Path, causal: bool = False) -> Path:
    """Save a random language model of 16 numbers with a word tokenizer: BERT, or LLaMA if it is to be causal."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, LlamaConfig, LlamaModel, PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", "[EOS]", *COLOURS, *THINGS, "title", "team", ":", "the", "a", "fast", "slow"]
    tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {"unk_token": "[UNK]", "eos_token": "[EOS]"} | ({} if causal else {"pad_token": "[PAD]"})
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    torch.manual_seed(7)
    sizes = {"vocab_size": len(words), "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
             "intermediate_size": 32, "max_position_embeddings": 32}  # fmt: skip
    model = LlamaModel(LlamaConfig(**sizes)) if causal else BertModel(BertConfig(**sizes, initializer_range=0.5))
    model.save_pretrained(folder)
    return folder


def raw_events(seed: int = 3) -> pa.Table:
    """Each user's 5 to 9 events, one a day, ordered by user and time; every seventh rating is unknown."""
    random = np.random.default_rng(seed)
    rows = []
    for user in range(USERS):
        for day, item in enumerate(random.permutation(ITEMS)[: 5 + user % 5]):
            rating = float(1 + (item + user) % 5) if len(rows) % 7 else None
            rows.append({"user": f"u{user:02d}", "item": f"i{item:02d}", "timestamp": day * DAY_MS, "rating": rating})
    return pa.Table.from_pylist(rows)


@dataclass(frozen=True)
class Tiny:
    """Recipe, tables and text vectors of the tiny recommender."""

    recipe: Recipe

    @classmethod
    def of(cls, encoder: Path, /, **changes: Any) -> "Tiny":
        """The tiny recommender with changes to its recipe."""
        return cls(Recipe.model_validate(merged(recipe_dict(str(encoder)), changes)))

    @cached_property
    def clean_items(self) -> pa.Table:
        titles = [f"{COLOURS[i % 5]} {THINGS[i % 4]}" for i in range(ITEMS)]
        years = [1950.0 + 3 * i if i != 4 else None for i in range(ITEMS)]
        raw = {"item_id": [f"i{i:02d}" for i in range(ITEMS)], "title": titles, "year": years}
        raw["colour"] = [COLOURS[i % 5] for i in range(ITEMS)]
        return self._check(raw, self.recipe.data.items, text_required=True)

    @cached_property
    def clean_users(self) -> pa.Table:
        raw = {"user_id": [f"u{u:02d}" for u in range(USERS)], "team": [COLOURS[u % 3] for u in range(USERS)]}
        return self._check(raw | {"age": [20.0 + u for u in range(USERS)]}, self.recipe.data.users, text_required=False)

    def _check(self, raw: dict[str, Any], entity: Any, text_required: bool) -> pa.Table:
        rows = len(next(iter(raw.values())))
        place = {"_file": ["f"] * rows, "_row": list(range(rows)), "_problem": pa.nulls(rows, pa.string())}
        return check_entities(pa.table(raw | place), entity, self.recipe.data.clean, text_required)

    def spec(self, name: str) -> FeatureSpec:
        entity, table = (
            (self.recipe.data.items, self.clean_items)
            if name == "items"
            else (self.recipe.data.users, self.clean_users)
        )
        state = FitState(entity)
        state.add(table)
        return state.fit(self.recipe.data.clean)

    @cached_property
    def items(self) -> pa.Table:
        ids = self.clean_items.column("id").combine_chunks()
        return encode_items(self.clean_items, self.recipe.data.items, self.spec("items"), ids)

    @cached_property
    def users(self) -> pa.Table:
        features = self.spec("users").apply(self.clean_users)
        text = join_text(self.clean_users, self.recipe.data.users.text)
        columns = {name: features.column(name) for name in ("slots", "numbers")}
        return pa.table({"user": self.clean_users.column("id"), "text": text, **columns})

    @cached_property
    def histories(self) -> pa.Table:
        parted = assign_parts(raw_events(), self.recipe.data.split, None, self.recipe.seed)
        labelled = label_columns(parted, self.recipe.tasks, max(parted.column("timestamp").to_pylist()))
        return build_histories(labelled, places(labelled.column("item"), self.items.column("item").combine_chunks()))

    def before(self, part: int) -> list[np.ndarray]:
        """Each user's items in the parts before one."""
        return [np.array(r["items"])[np.array(r["parts"]) < part] for r in self.histories.to_pylist()]

    @cached_property
    def counts_I(self) -> np.ndarray:
        return np.bincount(np.concatenate(self.before(TRAIN + 1)), minlength=ITEMS)

    @cached_property
    def encoder(self) -> TextEncoder:
        return TextEncoder(self.recipe.encoder, 1)

    @cached_property
    def raw_text_IX(self) -> np.ndarray:
        return self.encoder.encode(self.items.column("text").to_pylist())

    @cached_property
    def whitening(self) -> Whitening:
        if not self.recipe.encoder.whitening:
            return Whitening.identity(self.encoder.dim)
        return Whitening.fit(Moments.of(self.raw_text_IX), self.recipe.encoder.whitening_shrinkage)

    def text(self, texts: list[str]) -> np.ndarray:
        return self.whitening.apply(self.encoder.encode(texts))

    @cached_property
    def inputs(self) -> ItemInputs:
        numbers = np.array(self.items.column("numbers").to_pylist(), np.float32).reshape(ITEMS, -1)
        logs_I = np.log1p(self.counts_I)
        log_count_I = (logs_I / max(1.0, logs_I.max())).astype(np.float32)
        slots_IL = pad_slots(self.items.column("slots").to_pylist())
        return ItemInputs(self.whitening.apply(self.raw_text_IX), slots_IL, numbers, log_count_I)

    @cached_property
    def card(self) -> ModelCard:
        scales = {name: self._scale(f"label:{name}") for name in self.names}
        user, item = self.spec("users"), self.spec("items")
        text = self.inputs.text_IX.shape[1]
        shapes = Shapes(ITEMS, text, item.slots, len(item.numbers), text, user.slots, len(user.numbers))
        return ModelCard(shapes, self.recipe.tasks, self.recipe.model, scales)

    def _scale(self, name: str) -> LabelScale:
        rows = [zip(row[name], row["parts"], strict=True) for row in self.histories.to_pylist()]
        labels = [label for row in rows for label, part in row if part == TRAIN and label is not None]
        return LabelScale(float(np.mean(labels)), float(np.std(labels)), min(labels), max(labels), True)

    @property
    def names(self) -> list[str]:
        return [task.name for task in self.recipe.scored_tasks]

    @cached_property
    def windows(self) -> pa.Table:
        history = self.recipe.model.history
        return train_rows(self.histories, self.users, history, self.text)

    @cached_property
    def held(self) -> pa.Table:
        history = self.recipe.model.history
        return validation_rows(self.histories, self.users, history, self.text)

    def batches(self, size: int, rank: int = 0, workers: int = 1) -> list[Batch]:
        """The training windows in order as batches; of several workers, each takes every so-manieth row."""
        mine = self.windows.take(pa.array(range(rank, self.windows.num_rows, workers)))
        parts = [mine.slice(start, size) for start in range(0, mine.num_rows, size)]
        return [collate(part, self.names, self.recipe.model.history) for part in parts]

    def validation(self) -> list[Batch]:
        return [collate(self.held, self.names, self.recipe.model.history)]

    def trainer(self, steps_per_epoch: int = 4) -> Trainer:
        """A trainer over a fresh model with seeded weights."""
        torch.manual_seed(self.recipe.seed)
        catalogue = Catalogue(self.inputs, torch.from_numpy(self.counts_I))
        step = TrainStep(self.card.build(), catalogue, self.recipe.tasks, self.card.scales, self.recipe.train)
        return Trainer(step, self.recipe, torch.device("cpu"), steps_per_epoch)

    def train(self) -> tuple[Trainer, list[Epoch]]:
        """Train for the recipe's epochs."""
        trainer, epochs = self.trainer(), []
        trainer.run(lambda _: self.batches(self.recipe.train.batch_size), self.validation, epochs.append)
        return trainer, epochs
