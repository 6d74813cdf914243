"""The sections of a recipe that say where the data stand and what they must be like."""

import re
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from motet.errors import RecipeError
from motet.expressions import Expression, parse
from motet.privacy.scrub import Scrub


class Section(BaseModel):
    """Base of all sections: frozen, no unknown keys, no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class Table(Section):
    """Where a table stands and how it is read."""

    path: str = Field(min_length=1)
    """File, folder or pattern; local or s3://. `${NAME:-default}` and `~` are expanded."""
    format: Literal["auto", "parquet", "csv", "jsonl"] = "auto"
    """auto goes by the file's ending (.parquet, .csv/.tsv, .jsonl/.ndjson/.json)."""
    separator: str = Field(default="", max_length=1, pattern=r'^[^"\r\n\x00\x80-\U0010ffff]?$')
    """Separator of a csv file, one ASCII character; if not set, a tab for .tsv and a comma for others."""
    multiline: bool = False
    """Values of a csv file may hold line breaks inside quotes; if not, a stray quote costs its own line only."""

    @property
    def sources(self) -> "tuple[Table, ...]":
        """The tables that are read one after another."""
        return (self,)

    @property
    def csv_separator(self) -> str:
        """The separator that is used."""
        return self.separator or ("\t" if self.path.lower().endswith(".tsv") else ",")


class ValueRange(Section):
    """The range that a number must lie in; a row outside goes to quarantine."""

    min: float | None = None
    """Smallest value allowed."""
    max: float | None = None
    """Largest value allowed."""

    @model_validator(mode="after")
    def _ordered(self) -> "ValueRange":
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min = {self.min} is above max = {self.max}; swap them")
        return self


class Interactions(Table):
    """The event log: who met which item, when, and how it went."""

    user: str = "user_id"
    """Column of the user's id."""
    item: str = "item_id"
    """Column of the item's id."""
    timestamp: str = "timestamp"
    """Column of the time."""
    timestamp_unit: Literal["s", "ms", "us", "ns", "iso"] = "s"
    """Unit since 1970-01-01 UTC, or ISO 8601 text."""
    ranges: dict[str, ValueRange] = {}
    """Allowed range by value column."""
    signals: dict[str, str] = {}
    """What the user tower reads of each event of a history beside the tasks' labels, by a name: an expression as those
    of labels, such as {cart: "kind == 'cart'"} for a type of action that no task predicts, or {seconds: watch_time}."""
    repeats: Literal["last", "keep"] = "last"
    """Several events of one user with one item: keep the last only, or all."""
    propensity: str | None = None
    """Column of the probability with which whoever logged the event had chosen to show its item, above 0 and at most 1,
    null if unknown; the evaluation then estimates what the release's own choice is worth. The log should hold every
    event that was shown, liked or not."""
    records: str | None = Field(default=None, min_length=1)
    """File of `motet records export`, or a folder of them: what was shown and what came of it, read beside `path`. A
    column that only one of the two has is unknown in the other."""

    @field_validator("signals")
    @classmethod
    def _parse(cls, signals: dict[str, str]) -> dict[str, str]:
        for name, source in signals.items():
            if not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", name):
                raise ValueError(f"signals: {name!r} is no name; use small letters, digits and _, a letter first")
            try:
                found = parse(source)
            except RecipeError as error:
                raise ValueError(f"signals: {error}") from error
            if found.gives == "text":
                raise ValueError(f"signals: {source!r} gives a text; compare it, as in `{source} == 'a'`")
        return signals

    @property
    def signal_expressions(self) -> dict[str, Expression]:
        """The parsed signals."""
        return {name: parse(source) for name, source in self.signals.items()}

    @property
    def sources(self) -> tuple[Table, ...]:
        """The log, and beside it the records."""
        return (self,) if self.records is None else (self, Table(path=self.records, format="parquet"))

    @model_validator(mode="after")
    def _columns_differ(self) -> "Interactions":
        if len({self.user, self.item, self.timestamp}) < 3:
            names = f"{self.user!r}, {self.item!r}, {self.timestamp!r}"
            raise ValueError(f"user, item and timestamp are {names}; give three different columns")
        if self.propensity in (self.user, self.item, self.timestamp):
            raise ValueError(f"propensity is {self.propensity!r}, which is another column's; give its own column")
        return self


class Entity(Table):
    """A table of items or users and what is known about them."""

    id: str
    """Column of the id."""
    text: tuple[str, ...] = ()
    """Columns that are joined as `column: value` for the language model."""
    categories: tuple[str, ...] = ()
    """Columns of categories; a list, or text that `multi` has a separator for, holds several."""
    numbers: tuple[str, ...] = ()
    """Columns of numbers."""
    multi: dict[str, str] = {}
    """Separator by category column whose text holds several values, such as {genres: "|"}."""

    @model_validator(mode="after")
    def _multi_are_categories(self) -> "Entity":
        unknown = sorted(self.multi.keys() - set(self.categories))
        if unknown:
            raise ValueError(f"multi: {unknown[0]!r} is not in categories {list(self.categories)}; add it there")
        empty = [name for name, separator in self.multi.items() if not separator]
        if empty:
            raise ValueError(f"multi: {empty[0]!r} has the separator ''; give the text between two values, such as '|'")
        return self

    @model_validator(mode="after")
    def _one_kind_each(self) -> "Entity":
        both = [name for name in self.numbers if name in self.categories]
        if both:
            raise ValueError(f"numbers: {both[0]!r} is in categories too; a column is one of them")
        if "id" in (*self.categories, *self.numbers):
            key = "categories" if "id" in self.categories else "numbers"
            raise ValueError(f"{key}: 'id' is the name of the id in prepared data; rename the column")
        return self

    @property
    def shown(self) -> tuple[str, ...]:
        """The columns that are kept as text."""
        others = (name for name in self.columns if name not in (self.id, *self.categories, *self.numbers))
        return tuple(dict.fromkeys((*self.text, *others)))

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns that are read, each once."""
        return tuple(dict.fromkeys((self.id, *self.text, *self.categories, *self.numbers)))


class Items(Entity):
    """The catalogue."""

    id: str = "item_id"
    """Column of the item's id."""
    title: str | None = None
    """Column shown in answers; the first text column if not set."""
    text: tuple[str, ...] = Field(min_length=1)
    """Columns that are joined as `column: value` for the language model."""

    @property
    def title_column(self) -> str:
        """The column shown in answers."""
        return self.title or self.text[0]

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns that are read, each once."""
        return tuple(dict.fromkeys((self.id, self.title_column, *self.text, *self.categories, *self.numbers)))

    @property
    def shown(self) -> tuple[str, ...]:
        """The columns that are kept as text."""
        return tuple(dict.fromkeys((*self.text, self.title_column)))


class Users(Entity):
    """What is known about users; may be left out."""

    id: str = "user_id"
    """Column of the user's id."""


class Missing(Section):
    """What stands in for a missing attribute (a missing label stays unknown)."""

    numbers: Literal["mean", "median"] | float = "median"
    """mean, median or a constant."""
    categories: Literal["unknown", "most_frequent"] = "unknown"
    """The unknown slot, or the most frequent category."""


class DuplicateProfiles(Section):
    """What makes two users so alike that only the earlier one's rows are kept."""

    least_items: int = Field(default=20, ge=2)
    """Different items of the catalogue that a user must have met to be compared."""
    similarity: float = Field(default=0.8, ge=0.7, le=1)
    """Least Jaccard similarity of the two sets of items, as 64 MinHash values estimate it (a deviation of 0.05)."""


class Clean(Section):
    """The contract that each row must keep."""

    max_text_chars: int = Field(default=10_000, ge=1)
    """A longer text field sends its row to quarantine."""
    max_id_chars: int = Field(default=128, ge=1)
    """A longer id sends its row to quarantine."""
    future_seconds: int = Field(default=86_400, ge=0)
    """How far after the start of the run a timestamp may lie."""
    max_vocabulary: int = Field(default=100_000, ge=1)
    """Categories kept per column, most frequent first; the rest are unknown."""
    scrub: Scrub = "patterns"
    """What leaves e-mail addresses, phone and card numbers out of texts and titles before a model reads them, those of
    requests and of posted items too: patterns, presidio (the package's extra `presidio`), or none."""
    duplicate_profiles: DuplicateProfiles | None = None
    """If set, the rows of users who met nearly the same items as an earlier one go to quarantine: made-up profiles that
    push an item come in numbers. Takes a pass of its own over the log."""
    unreadable_numbers: Literal["quarantine", "missing"] = "quarantine"
    """What becomes of an item or user whose number cannot be read: quarantine, or the number is missing."""
    missing: Missing = Missing()
    """Missing attributes."""
    outliers: tuple[float, float] = (0.0, 1.0)
    """Quantiles at which numbers are clipped; (0, 1) clips nothing."""

    @model_validator(mode="after")
    def _quantiles_ordered(self) -> "Clean":
        low, high = self.outliers
        if not 0 <= low < high <= 1:
            raise ValueError(f"outliers = {list(self.outliers)}; give two quantiles with 0 <= low < high <= 1")
        return self


class Split(Section):
    """How interactions are divided into train, validation and test."""

    kind: Literal["time", "leave_one_out", "random", "column"] = "time"
    """By two moments in time, each user's last two events, at random by row, or as a column says."""
    validation: float = Field(default=0.1, gt=0, lt=0.5)
    """Share of events for validation (time, random)."""
    test: float = Field(default=0.1, gt=0, lt=0.5)
    """Share of events for the test (time, random)."""
    until: float = Field(default=1.0, gt=0, le=1)
    """Share of the log, by time, that is used; what is later counts as never seen (time)."""
    column: str | None = None
    """Column of the interactions that holds train, validation or test (column)."""
    unseen_items: float = Field(default=0.0, ge=0, lt=1)
    """Share of the items, chosen by a hash, whose events before the test are left out: how do new items fare?"""

    @model_validator(mode="after")
    def _fits_kind(self) -> "Split":
        if (self.kind == "column") != (self.column is not None):
            wrong = "names no column; set data.split.column" if self.column is None else f"has column {self.column!r}"
            raise ValueError(f"kind = {self.kind} {wrong}" + ("" if self.column is None else "; set kind to column"))
        if self.until < 1 and self.kind != "time":
            raise ValueError(f"until = {self.until} is for kind = time, not {self.kind}; leave it out")
        if self.until - self.validation - self.test <= 0:
            raise ValueError(
                f"until = {self.until} leaves no train before validation = {self.validation} and test = {self.test}"
            )
        return self


class Profile(Section):
    """How a user's past is condensed into one profile vector."""

    half_life_days: float = Field(default=180.0, gt=0)
    """Age at which an event counts half."""
    unknown_weight: float = Field(default=0.5, ge=0, le=1)
    """Weight of an event whose liking is unknown (liked: 1, disliked: 0)."""


class DataSettings(Section):
    """Tables, contract, split, histories."""

    interactions: Interactions
    """The event log."""
    items: Items
    """The catalogue."""
    users: Users | None = None
    """The user table."""
    clean: Clean = Clean()
    """The contract."""
    split: Split = Split()
    """The split."""
    profile: Profile = Profile()
    """The profile vector."""
    rows_per_shard: int = Field(default=500_000, ge=1)
    """Interactions per user shard; a shard is one task's work, which holds 2 KB a row, and one output file."""
    batch_rows: int = Field(default=50_000, ge=1)
    """Rows per batch while reading."""
