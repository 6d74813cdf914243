"""One trial of a search, in a process of Ray Tune: the training loop on what prepare and embed left.

What a trial came to stands in `<key>.json`; one that stands there is told again from it, and trains nothing.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ray.tune

from jobs.cluster import quiet_ray_data
from jobs.fit import Fit, Labels, network_trainer
from jobs.stages import Result, Run
from jobs.train import read_metrics
from motet.data.moments import BEFORE_VALIDATION
from motet.errors import DivergedError
from motet.evaluation.tuning import Outcome
from motet.mirror import at_hand, remove
from motet.search import Trial
from motet.storage import read_json, write_json

EPOCH, SCORE = "epoch", "score"


@dataclass(frozen=True)
class Planned:
    """A trial to be made, or made before.

    Attributes:
        settings: its values by dotted setting.
        run: with the recipe that it trains by.
        labels: what its heads read; None if it was made before.
        record: the file of its outcome.
    """

    settings: Trial
    run: Run
    labels: Labels | None
    record: Path

    @property
    def checkpoints(self) -> Path:
        """Where its epochs stand while it trains."""
        return self.record.with_suffix(".checkpoints")

    @property
    def done(self) -> bool:
        """Whether its outcome is known."""
        return at_hand(self.record).is_file()

    def outcome(self) -> Outcome:
        """Return its outcome."""
        return Outcome(**read_json(self.record))

    def keep(self, state: Any, said: str = "") -> Outcome:
        """Write the outcome from the epochs that there are, and delete the checkpoints."""
        epochs = read_metrics(self.checkpoints) if at_hand(self.checkpoints / "metrics.jsonl").exists() else []
        outcome = Outcome(self.settings, state, epochs, said)
        write_json(self.record, outcome.to_dict())
        remove(self.checkpoints, ignore_errors=True)
        return outcome


def run_trial(config: dict[str, Any], plans: list[Planned], prepared: Result, embedded: Result) -> None:
    """Train the network of `config["number"]`, telling Ray Tune each epoch, at which it may end the process."""
    plan = plans[config["number"]]
    metric = plan.run.recipe.selection
    if plan.done:
        for row in plan.outcome().epochs:
            _tell(row, metric)
        return
    assert plan.labels is not None
    quiet_ray_data()
    remove(plan.checkpoints, ignore_errors=True)
    fit = Fit(BEFORE_VALIDATION, plan.checkpoints, tell=partial(_tell, metric=metric))
    try:
        network_trainer(plan.run, prepared, embedded, plan.labels, fit).fit()
    except DivergedError as error:
        plan.keep("diverged", str(error))
        return
    plan.keep("finished")


def _tell(row: dict[str, Any], metric: str) -> None:
    ray.tune.report({EPOCH: row["epoch"], SCORE: row["validation"][metric]})
