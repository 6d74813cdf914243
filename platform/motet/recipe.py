"""The recipe: the typed, frozen configuration of one recommender.

Each section stands in `motet.settings`; this module puts them together and checks what concerns
several of them: task names in surfaces and metrics, columns in labels.
"""

import difflib
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import Field, ValidationError, model_validator

from motet.data_settings import DataSettings, Section
from motet.expressions import Expression
from motet.guard_settings import PrivacySettings
from motet.kinds import KINDS, LARGER_IS_BETTER
from motet.search import wrong_space
from motet.serve_settings import ServeSettings
from motet.settings import (
    EncoderSettings,
    EvaluateSettings,
    IndexSettings,
    ModelSettings,
    RankingSettings,
    ReleaseSettings,
    ResourceSettings,
    RetrievalSettings,
)
from motet.surface_settings import AttributeFilter, Rule, Surface
from motet.task import DERIVED_COLUMNS, Score, Task, scores_of
from motet.train_settings import TrainSettings
from motet.tune_settings import TuneSettings

Problem = tuple[tuple[str | int, ...], str]
OWN_COLUMNS = ("user", "item", "timestamp", "part")


class Misfits(ValueError):
    """Settings that don't fit each other: for each the path of the setting and what is wrong with it."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = list(problems)
        super().__init__("; ".join(f"{'.'.join(map(str, path))}: {what}" for path, what in self.problems))


def near(word: str, options: Sequence[str]) -> str:
    """Return a hint with the option that is spelled most like `word`, or with all options."""
    found = difflib.get_close_matches(word, options, 1, 0.5)
    return f"; did you mean {found[0]!r}?" if found else f"; valid: {', '.join(options) or 'none'}"


class Recipe(Section):
    """One recommender: data, tasks, encoder, model, training, retrieval, ranking, surfaces, serving."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$", description="Name of the recommender.")
    workspace: str = Field(
        default="workspace", description="Folder of all artifacts, which all nodes see, or s3://bucket/key."
    )
    seed: int = Field(default=42, ge=0, description="Seed of shuffles, initial weights and drop-out.")
    data: DataSettings
    tasks: tuple[Task, ...] = Field(min_length=1, description="The Task table.")
    encoder: EncoderSettings
    model: ModelSettings = ModelSettings()
    train: TrainSettings = TrainSettings()
    index: IndexSettings = IndexSettings()
    retrieval: RetrievalSettings = RetrievalSettings()
    ranking: RankingSettings = RankingSettings()
    surfaces: dict[str, Surface] = Field(min_length=1, description="One value function per place of display.")
    evaluate: EvaluateSettings = EvaluateSettings()
    release: ReleaseSettings = ReleaseSettings()
    serve: ServeSettings = ServeSettings()
    privacy: PrivacySettings = PrivacySettings()
    resources: ResourceSettings = ResourceSettings()
    tune: TuneSettings | None = Field(default=None, description="What jobs/tune.py searches.")

    @model_validator(mode="after")
    def _fits_together(self) -> "Recipe":
        problems = [
            *self._wrong_tasks(), *self._wrong_model(), *self._wrong_surfaces(), *self._wrong_metrics(),
            *self._wrong_columns(),
        ]  # fmt: skip
        if problems or (problems := list(self._wrong_tune())):
            raise Misfits(problems)
        return self

    def _wrong_tasks(self) -> Iterator[Problem]:
        names = [task.name for task in self.tasks]
        for place, name in enumerate(names):
            if name in names[:place]:
                yield ("tasks", place, "name"), f"{name!r} is there twice; give each task its own name"
        if sum(task.kind == "retrieval" for task in self.tasks) != 1:
            yield ("tasks",), "exactly one task has `kind: retrieval`; it trains the vectors that are searched"
        for place, task in enumerate(self.tasks):
            if task.given is not None and (wrong := self._wrong_chain(task)):
                yield ("tasks", place, "given"), wrong
            if task.conditional in names:
                yield ("tasks", place, "given"), f"{task.conditional!r} is a task's name and that of this score; rename"

    def _wrong_model(self) -> Iterator[Problem]:
        drawn = [task.name for task in self.tasks if task.negatives]
        if self.model.estimates in ("factors", "items", "priors") and drawn:
            what = f"{self.model.estimates!r} has nothing to say of the negatives that task {drawn[0]!r} draws"
            yield ("model", "estimates"), f"{what}; set it to none, or leave it out"
        if self.train.private is not None and self.model.balance != "static":
            what = (
                f"{self.model.balance!r} lets the losses of some users weigh those of others, and train.private is set"
            )
            yield ("model", "balance"), f"{what}; set it to static"
        if self.train.private is not None and self.model.sequence != "transformer":
            yield (
                ("model", "sequence"),
                f"{self.model.sequence!r} can't be trained under train.private; use transformer",
            )
        if self.evaluate.history == "around" and (wrong := self._wrong_around()):
            yield ("evaluate", "history"), f"'around' {wrong}; set it to before"

    def _wrong_around(self) -> str | None:
        """Return why no label may be told by those that came after it, or None."""
        kind, slates = self.data.split.kind, [task.name for task in self.tasks if task.slate is not None]
        if kind in ("time", "leave_one_out"):
            return f"trains on labels that come later, of which data.split.kind = {kind} knows none in the test"
        return f"reads the labels of the slate that task {slates[0]!r} orders" if slates else None

    @property
    def reads_estimates(self) -> bool:
        """Whether the heads read `motet.estimates`."""
        drawn = any(task.negatives for task in self.tasks)
        return bool(self.scored_tasks) and not drawn and self.model.estimates != "none"

    def estimates_near(self, items: int) -> bool:
        """Return whether the estimates of so many items say which are near: items x items numbers."""
        small = items <= self.model.estimates_limit
        return self.model.estimates == "items" or (self.model.estimates in ("auto", "factors") and small)

    def _wrong_chain(self, task: Task) -> str | None:
        """Return what is wrong with the chain of `given` that starts at a task."""
        binary = {other.name: other for other in self.tasks if other.kind == "binary"}
        met, name = [task.name], task.given
        while name is not None:
            if name in met:
                return f"{' given '.join([*met, name])} goes in a circle; leave one `given` out"
            if name not in binary:
                others = [other for other in binary if other != task.name]
                return f"{name!r} is not a binary task{near(name, others)}" if len(met) == 1 else None
            met.append(name)
            name = binary[name].given
        return None

    def _wrong_surfaces(self) -> Iterator[Problem]:
        names = self.weighable
        attributes = [*self.data.items.categories, *self.data.items.numbers]
        for surface, settings in self.surfaces.items():
            for name in settings.weights:
                if name not in names:
                    yield ("surfaces", surface, "weights", name), f"{name!r} is not a task{near(name, names)}"
            for name in settings.filters:
                if name not in attributes:
                    what = f"{name!r} is not a category or number of data.items{near(name, attributes)}"
                    yield ("surfaces", surface, "filters", name), what
                elif wrong := self._wrong_filter(name, settings.filters[name]):
                    yield ("surfaces", surface, "filters", name), wrong
            for name in settings.caps:
                if name not in self.data.items.categories:
                    what = f"{name!r} is not a category of data.items{near(name, self.data.items.categories)}"
                    yield ("surfaces", surface, "caps", name), what
            if settings.exploration.share and self.serve.records.store == "none":
                what = "what is explored must be logged to be learned of; set serve.records.store to parquet"
                yield ("surfaces", surface, "exploration", "share"), f"{settings.exploration.share:g}: {what}"

    @property
    def weighable(self) -> list[str]:
        """The scores that a surface, or a request, may give a weight."""
        return [task.name for task in self.tasks] + [score.name for score in self.scores if score.among]

    def _wrong_filter(self, name: str, values: AttributeFilter) -> str | None:
        """Return what is wrong with a filter: a range belongs to a number, values to a category."""
        match values:
            case Rule() as rule:
                if rule.of_number and name not in self.data.items.numbers:
                    return f"{name!r} is a category; give any_of or none_of, not min and max"
                if rule.of_category and name not in self.data.items.categories:
                    return f"{name!r} is a number; give min or max, not any_of and none_of"
            case (int() | float() as low, int() | float() as high):
                if name not in self.data.items.numbers:
                    return f"{name!r} is a category; give its values as text, such as '{low:g}'"
                if low > high:
                    return f"[{low:g}, {high:g}] is an empty range; swap the two"
            case _ if name in self.data.items.numbers:
                shown = values if isinstance(values, str) else list(values)
                return f"{name!r} is a number and {shown!r} is no range; give two numbers [low, high]"
        return None

    def _wrong_metrics(self) -> Iterator[Problem]:
        valid = self.metrics
        chosen, surface, target = self.train.select_by, self.evaluate.surface, self.evaluate.target
        if chosen is not None and chosen not in valid:
            yield ("train", "select_by"), f"{chosen!r} is not a metric of a task{near(chosen, valid)}"
        if surface is not None and surface not in self.surfaces:
            yield ("evaluate", "surface"), f"{surface!r} is not a surface{near(surface, list(self.surfaces))}"
        if self.train.held_back > (most := self.retrieval.moments if self.retrieval.fusion == "trees" else 0):
            what = f"{self.train.held_back} is more than the {most} moments of retrieval.moments that trees learn from"
            yield ("train", "held_back"), f"{what}; set it to {most}"
        binary = [task.name for task in self.tasks if task.kind == "binary"]
        if target is not None and target not in binary:
            yield ("evaluate", "target"), f"{target!r} is not a binary task{near(target, binary)}"

    def _wrong_tune(self) -> Iterator[Problem]:
        if self.tune is None:
            return
        plain = self.without_search.resolved()
        for setting, what in wrong_space(self.tune, plain, self.tasks, refusal):
            yield ("tune", "space", setting), f"{setting} {what}"
        asked = [(("metrics", place), name) for place, name in enumerate(self.tune.metrics or ())]
        for path, name in [*asked, *([(("select_by",), self.tune.select_by)] if self.tune.select_by else [])]:
            if name not in self.metrics:
                yield ("tune", *path), f"{name!r} is not a metric of a task{near(name, self.metrics)}"

    def _wrong_columns(self) -> Iterator[Problem]:
        texts = {n for _, expression in self._expressions() for n in expression.text_columns}
        for path, expression in self._expressions():
            for name in sorted(expression.columns):
                if name in OWN_COLUMNS:
                    yield path, f"column {name!r} has a name that is used for prepared data; rename the column"
                elif name in texts - expression.text_columns:
                    what = f"column {name!r} is a number here and a text in another expression; it can be one of them"
                    yield path, what
        for name, expression in self.data.interactions.signal_expressions.items():
            for column in sorted(expression.columns & set(DERIVED_COLUMNS)):
                what = f"{column!r} is known only later, and a signal is read at once; drop it"
                yield ("data", "interactions", "signals", name), what
        for place, task in enumerate(self.tasks):
            if task.slate in OWN_COLUMNS:
                what = f"column {task.slate!r} has a name that is used for prepared data; rename the column"
                yield ("tasks", place, "slate"), what
        if self.data.split.column in OWN_COLUMNS:
            what = f"column {self.data.split.column!r} has a name that is used for prepared data; rename the column"
            yield ("data", "split", "column"), what
        propensity = self.data.interactions.propensity
        if propensity in (*OWN_COLUMNS, *DERIVED_COLUMNS, *texts):
            reason = "is a text in a label" if propensity in texts else "has a name that is used for prepared data"
            yield ("data", "interactions", "propensity"), f"column {propensity!r} {reason}; rename the column"
        numbers = [name for name, kind in self.label_columns.items() if kind == "number"]
        for name in self.data.interactions.ranges:
            if name not in numbers:
                what = f"{name!r} is not a number that a label reads{near(name, numbers)}"
                yield ("data", "interactions", "ranges", name), what

    def _expressions(self) -> Iterator[tuple[tuple[str | int, ...], Expression]]:
        """Yield (where it stands, expression) of all labels, sample weights and signals."""
        for place, task in enumerate(self.tasks):
            for setting, expression in task.expressions.items():
                yield ("tasks", place, setting), expression
        for name, expression in self.data.interactions.signal_expressions.items():
            yield ("data", "interactions", "signals", name), expression

    @property
    def retrieval_task(self) -> Task:
        """The task that trains the vectors."""
        return next(task for task in self.tasks if task.kind == "retrieval")

    @property
    def scored_tasks(self) -> tuple[Task, ...]:
        """The tasks with a head in the ranker, in the recipe's order."""
        return tuple(task for task in self.tasks if task.scored)

    @property
    def scores(self) -> tuple[Score, ...]:
        """The columns of the ranker: the scored tasks, then P(task | given)."""
        return scores_of(self.tasks)

    @property
    def excludes_seen(self) -> bool:
        """Whether what a user has met is left out: in validation, evaluation, and by default online."""
        return self.data.interactions.repeats == "last"

    @property
    def liked_label(self) -> str | None:
        """Column of histories that says whether an event was liked: the first binary task's label."""
        binary = [task.name for task in self.tasks if task.kind == "binary"]
        return f"label:{binary[0]}" if binary else None

    @property
    def selection(self) -> str:
        """The validation metric that selects the best epoch: <task>.<metric>."""
        return self.train.select_by or f"{self.retrieval_task.name}.ndcg"

    @property
    def metrics(self) -> list[str]:
        """The validation metrics that can select an epoch or a trial."""
        found = [f"{task.name}.{metric}" for task in self.tasks for metric in KINDS[task.kind].selection]
        return found + [f"{one.name}.{m}" for one in self.scores if one.among for m in KINDS[one.task.kind].selection]

    @property
    def selection_larger_is_better(self) -> bool:
        """Whether the metric that selects the best epoch is to be maximised."""
        return LARGER_IS_BETTER[self.selection.rpartition(".")[2]]

    @property
    def label_columns(self) -> dict[str, str]:
        """{interaction column: number or category}: what labels, weights, signals, slates, split, propensities read."""
        kinds: dict[str, str] = {}
        for _, expression in self._expressions():
            kinds |= {column: kinds.get(column, "number") for column in expression.columns}
            kinds |= dict.fromkeys(expression.text_columns, "category")
        for read in (*(task.slate for task in self.scored_tasks), self.data.split.column):
            if read is not None:
                kinds.setdefault(read, "category")
        if self.data.interactions.propensity is not None:
            kinds[self.data.interactions.propensity] = "number"
        return {name: kind for name, kind in sorted(kinds.items()) if name not in DERIVED_COLUMNS}

    @property
    def without_search(self) -> "Recipe":
        """The recipe as it is released: what may be searched is nothing of it."""
        return self.model_copy(update={"tune": None})

    def resolved(self) -> dict[str, Any]:
        """The whole recipe with all defaults, as plain JSON types."""
        return self.model_dump(mode="json")


def refusal(plain: dict[str, Any]) -> str | None:
    """Return the first thing that is wrong with a recipe of plain types, or None."""
    try:
        Recipe.model_validate(plain)
    except ValidationError as error:
        first = error.errors()[0]
        cause = first.get("ctx", {}).get("error")
        return str(cause) if isinstance(cause, ValueError) else first["msg"][0].lower() + first["msg"][1:]
    return None
