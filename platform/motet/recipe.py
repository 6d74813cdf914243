"""The recipe: the typed, frozen configuration of one recommender.

Each section stands in `motet.settings`; this module puts them together and checks what concerns
several of them: task names in surfaces and metrics, columns in labels.
"""

from typing import Any

from pydantic import Field, model_validator

from motet.data_settings import DataSettings, Section
from motet.settings import (
    EncoderSettings,
    EvaluateSettings,
    IndexSettings,
    ModelSettings,
    RankingSettings,
    ReleaseSettings,
    ResourceSettings,
    RetrievalSettings,
    ServeSettings,
    Surface,
    TrainSettings,
)
from motet.task import LARGER_IS_BETTER, SELECTION_METRICS, Task


class Recipe(Section):
    """One recommender: data, tasks, encoder, model, training, retrieval, ranking, surfaces, serving."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$", description="Name of the recommender.")
    workspace: str = Field(default="workspace", description="Folder of all artifacts; all nodes must see it.")
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
    resources: ResourceSettings = ResourceSettings()

    @model_validator(mode="after")
    def _tasks_fit_together(self) -> "Recipe":
        names = [task.name for task in self.tasks]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"tasks: {repeated[0]!r} is there twice; give each task its own name")
        if sum(task.kind == "retrieval" for task in self.tasks) != 1:
            raise ValueError("tasks: exactly one task has `kind: retrieval`; it trains the vectors that are searched")
        for surface_name, surface in self.surfaces.items():
            unknown = sorted(surface.weights.keys() - set(names))
            if unknown:
                raise ValueError(f"surfaces.{surface_name}: {unknown[0]!r} is not a task; tasks: {names}")
        self._selection()
        return self

    def _selection(self) -> tuple[Task, str]:
        name, _, metric = self.train.select_by.partition(".")
        tasks = {task.name: task for task in self.tasks}
        if name not in tasks or metric not in SELECTION_METRICS[tasks[name].kind]:
            valid = [f"{t.name}.{m}" for t in self.tasks for m in SELECTION_METRICS[t.kind]]
            raise ValueError(f"train.select_by = {self.train.select_by!r} is not a metric of a task; valid: {valid}")
        return tasks[name], metric

    @property
    def retrieval_task(self) -> Task:
        """The task that trains the vectors."""
        return next(task for task in self.tasks if task.kind == "retrieval")

    @property
    def scored_tasks(self) -> tuple[Task, ...]:
        """The tasks with a head in the ranker, in the recipe's order."""
        return tuple(task for task in self.tasks if task.scored)

    @property
    def liked_label(self) -> str | None:
        """Column of histories that says whether an event was liked: the first binary task's label."""
        binary = [task.name for task in self.tasks if task.kind == "binary"]
        return f"label:{binary[0]}" if binary else None

    @property
    def selection_larger_is_better(self) -> bool:
        """Whether the metric that selects the best epoch is to be maximised."""
        return LARGER_IS_BETTER[self._selection()[1]]

    @property
    def label_columns(self) -> dict[str, str]:
        """{interaction column: number or category} for all columns that labels read."""
        kinds: dict[str, str] = {}
        for task in self.scored_tasks:
            for column in task.expression.columns:
                is_text = column in task.expression.text_columns
                kinds[column] = "category" if is_text else kinds.get(column, "number")
        return dict(sorted(kinds.items()))

    def resolved(self) -> dict[str, Any]:
        """The whole recipe with all defaults, as plain JSON types."""
        return self.model_dump(mode="json")
