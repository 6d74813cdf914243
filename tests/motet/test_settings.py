"""Values that the sections of a recipe refuse, and the defaults that are relied on."""

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from motet import data_settings, settings
from motet.data_settings import Clean, Entity, Interactions, Items, Section, Split, Table, Users, ValueRange
from motet.recipe import Recipe
from motet.record_settings import RecordSettings
from motet.serve_settings import Deployment, ServeSettings
from motet.settings import (
    EncoderSettings,
    IndexSettings,
    ModelSettings,
    ResourceSettings,
    RetrievalSettings,
)
from motet.surface_settings import Exploration, Surface
from motet.train_settings import TrainSettings

_ITEMS = {"path": "x", "text": ["title"]}


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        (Table, {"path": ""}, "at least 1 character"),
        (Table, {"path": "x", "format": "xml"}, "'auto', 'parquet', 'csv' or 'jsonl'"),
        (Table, {"path": "x", "separator": "||"}, "at most 1 character"),
        (Table, {"path": "x", "separator": "é"}, "should match pattern"),
        (Table, {"path": "x", "separator": '"'}, "should match pattern"),
        (Table, {"path": "x", "separator": "\n"}, "should match pattern"),
        (ValueRange, {"min": 2, "max": 1}, "min = 2.0 is above max = 1.0; swap them"),
        (ValueRange, {"min": float("nan")}, "finite number"),
        (Interactions, {"path": "x", "user": "a", "item": "a"}, "user, item and timestamp are 'a', 'a', 'timestamp'"),
        (Interactions, {"path": "x", "timestamp_unit": "min"}, "'s', 'ms', 'us', 'ns' or 'iso'"),
        (Interactions, {"path": "x", "repeats": "first"}, "'last' or 'keep'"),
        (Interactions, {"path": "x", "records": ""}, "at least 1 character"),
        (RecordSettings, {"store": "csv"}, "'parquet' or 'none'"),
        (RecordSettings, {"share": 0}, "greater than 0"),
        (RecordSettings, {"flush_s": 0}, "greater than 0"),
        (RecordSettings, {"rows": 0}, "greater than or equal to 1"),
        (RecordSettings, {"waiting": 0}, "greater than or equal to 1"),
        (Exploration, {"share": 1.5}, "less than or equal to 1"),
        (Exploration, {"slots": 0}, "greater than or equal to 1"),
        (Exploration, {"temperature": 0}, "greater than 0"),
        (Exploration, {"places": "first"}, "'last' or 'spread'"),
        (Items, {"path": "x", "text": []}, "at least 1 item"),
        (Items, {**_ITEMS, "multi": {"g": "|"}}, "multi: 'g' is not in categories []; add it there"),
        (Items, {**_ITEMS, "categories": ["g"], "multi": {"g": ""}}, "multi: 'g' has the separator ''; give the text"),
        (Items, {**_ITEMS, "categories": ["g"], "numbers": ["g"]}, "numbers: 'g' is in categories too"),
        (Users, {"path": "x", "categories": ["id"]}, "categories: 'id' is the name of the id in prepared data"),
        (Users, {"path": "x", "numbers": ["id"]}, "numbers: 'id' is the name of the id in prepared data"),
        (Clean, {"outliers": [0.9, 0.1]}, "outliers = [0.9, 0.1]; give two quantiles with 0 <= low < high <= 1"),
        (Clean, {"outliers": [0.5]}, "Field required"),
        (Clean, {"missing": {"numbers": "meen"}}, "'mean' or 'median'"),
        (Clean, {"max_id_chars": 0}, "greater than or equal to 1"),
        (Split, {"test": 0.5}, "less than 0.5"),
        (Split, {"validation": 0}, "greater than 0"),
        (EncoderSettings, {"model": ""}, "at least 1 character"),
        (EncoderSettings, {"model": "m", "pooling": "max"}, "'mean', 'cls' or 'last'"),
        (ModelSettings, {"dim": 64, "heads": 7}, "heads = 7 does not divide dim = 64; choose a divisor"),
        (ModelSettings, {"dropout": 1}, "less than 1"),
        (TrainSettings, {"learning_rate": float("inf")}, "finite number"),
        (TrainSettings, {"epochs": 1.5}, "valid integer"),
        (TrainSettings, {"workers": 2, "min_workers": 3}, "min_workers = 3 is above workers = 2; lower it"),
        (TrainSettings, {"held_back": 2}, "held_back = 2 leaves the latest training events out; set refit: true"),
        (ModelSettings, {"estimates": "some"}, "'auto', 'factors', 'items', 'priors' or 'none'"),
        (IndexSettings, {"kind": "lsh"}, "'auto', 'flat', 'sq8', 'ivf', 'ivfpq' or 'hnsw'"),
        (RetrievalSettings, {"sources": []}, "at least 1 item"),
        (RetrievalSettings, {"sources": ["vector"]}, "'vectors'"),
        (
            RetrievalSettings,
            {"sources": "auto", "fusion": "logit"},
            "sources = auto is judged by trees, and fusion = logit; set fusion to trees, or leave it out",
        ),
        (RetrievalSettings, {"ablate": True, "fusion": "logit"}, "ablate = true is judged by trees"),
        (Surface, {"weights": {}}, "at least 1 item"),
        (Surface, {"weights": {"a": float("nan")}}, "finite number"),
        (Deployment, {"min_replicas": 3}, "min_replicas = 3 is above max_replicas = 2"),
        (ServeSettings, {"port": 70_000}, "less than or equal to 65535"),
        (ResourceSettings, {"object_store_mb": 10}, "greater than or equal to 80"),
    ],
)
def test_values_that_are_refused(section: type[BaseModel], values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as error:
        section.model_validate(values)
    assert message in str(error.value)


def _sections(model: type[BaseModel], seen: set[type[BaseModel]]) -> set[type[BaseModel]]:
    for module in (settings, data_settings):
        seen |= {one for one in vars(module).values() if isinstance(one, type) and issubclass(one, Section)}
    return seen | {model}


@pytest.mark.parametrize("section", sorted(_sections(Recipe, set()), key=lambda one: one.__name__))
def test_every_setting_says_what_it_does(section: type[BaseModel]) -> None:
    silent = [
        name
        for name, field in section.model_fields.items()
        if not field.description and not (isinstance(field.annotation, type) and field.annotation.__doc__)
    ]
    allowed = {"model"} if section is EncoderSettings else set()
    inherited = {"data", "encoder"} if section is Recipe else set()
    assert set(silent) <= allowed | inherited
    assert section.model_config.get("extra") == "forbid"
    assert section.model_config.get("frozen") is True


@pytest.mark.parametrize(
    ("path", "given", "used"),
    [("a.csv", "", ","), ("a.tsv", "", "\t"), ("a.TSV", "", "\t"), ("a.tsv", ";", ";"), ("a.csv", "\t", "\t")],
)
def test_separator(path: str, given: str, used: str) -> None:
    assert Table(path=path, separator=given).csv_separator == used


def test_columns_come_once_in_order() -> None:
    items = Items(path="x", id="i", text=("title", "year"), categories=("g", "title"), numbers=("year",))
    assert items.columns == ("i", "title", "year", "g")
    assert items.title_column == "title"
    assert items.shown == ("title", "year")


def test_a_title_of_any_kind_is_kept_as_text() -> None:
    assert Items(path="x", text=("about",), title="year", numbers=("year",)).shown == ("about", "year")
    assert Items(path="x", text=("about",), title="item_id").shown == ("about", "item_id")


def test_of_users_only_text_is_kept_as_text() -> None:
    users = Users(path="x", text=("bio",), categories=("job",), numbers=("age",))
    assert users.shown == ("bio",)
    assert Entity(path="x", id="i").shown == ()
