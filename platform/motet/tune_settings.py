"""The recipe's `tune` section: what `jobs/tune.py` searches, how long, and what it looks at."""

from typing import Any

from pydantic import Field, model_validator

from motet.data_settings import Section

Value = str | bool | int | float
_Int = int


class Distribution(Section):
    """The values that a setting may take; exactly one of these."""

    choice: tuple[Value, ...] | None = Field(default=None, min_length=1)
    """Any of a list, each as likely."""
    uniform: tuple[float, float] | None = None
    """Any number of [low, high], each as likely."""
    log_uniform: tuple[float, float] | None = None
    """Any number of [low, high], each factor as likely; low is above 0."""
    int: tuple[_Int, _Int] | None = None
    """Any whole number of [low, high], both ends included."""

    @model_validator(mode="after")
    def _one_that_holds_something(self) -> "Distribution":
        said = {name: value for name, value in self if value is not None}
        if len(said) != 1:
            found = " and ".join(said) or "none"
            raise ValueError(f"{found} given; give exactly one of choice, uniform, log_uniform and int")
        name, values = next(iter(said.items()))
        if name != "choice" and values[0] >= values[1]:
            raise ValueError(f"{name} = {list(values)} is an empty range; give [low, high] with low below high")
        if name == "log_uniform" and values[0] <= 0:
            raise ValueError(f"log_uniform = {list(values)} has no logarithm at its low end; begin above 0")
        return self

    @property
    def tried(self) -> tuple[Value, ...]:
        """Values that stand for all: the choices, or both ends and a number between that is not whole."""
        if self.choice is not None:
            return self.choice
        if self.int is not None:
            return self.int
        low, high = self.uniform or self.log_uniform or (0.0, 0.0)
        return (low, high, low + (high - low) * 0.3819)

    def draw(self, random: Any) -> Value:
        """Return a value; numbers have four significant digits.

        Args:
            random: numpy's Generator.
        """
        import numpy as np

        if self.choice is not None:
            return self.choice[int(random.integers(len(self.choice)))]
        if self.int is not None:
            return int(random.integers(self.int[0], self.int[1] + 1))
        if self.uniform is not None:
            low, high = self.uniform
            drawn = random.uniform(low, high)
        else:
            low, high = self.log_uniform or (1.0, 1.0)
            drawn = np.exp(random.uniform(np.log(low), np.log(high)))
        return min(max(float(f"{drawn:.4g}"), low), high)


class TuneSettings(Section):
    """The search for better settings (jobs/tune.py)."""

    space: dict[str, Distribution] = Field(min_length=1)
    """Settings to search, such as `train.learning_rate: {log_uniform: [1.0e-4, 1.0e-2]}`: of train and model, and
    `tasks.<name>.weight`, `.negatives` or `.loss`."""
    trials: int = Field(default=10, ge=1, le=10_000)
    """Draws from the space; the recipe as it stands is tried before them."""
    metrics: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Validation metrics that are shown and traded off: <task>.<metric>; the first of each task's kind if not set."""
    select_by: str | None = None
    """Validation metric that is searched for; the one of `train.select_by` if not set."""
    grace_epochs: int = Field(default=1, ge=1)
    """Epochs before a trial may be stopped; the recipe as it stands never is."""
    reduction: int = Field(default=3, ge=2)
    """At each look one in so many goes on; the next look comes after so many times the epochs."""
    seed: int | None = Field(default=None, ge=0)
    """Seed of the draws; the recipe's if not set. All trials start from the recipe's seed."""
    concurrent: int = Field(default=1, ge=1)
    """Trials at once, each in one process with `train.cpus_per_worker` CPUs (and one GPU under `train.use_gpu`)."""
