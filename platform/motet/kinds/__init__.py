"""The kinds of task, one file each: what a label must be, the head, the loss, the metrics, what is served.

    kind        label             head                loss of one row             metrics              served as
    retrieval   the next item     the user vector     softmax cross-entropy       ndcg, recall         probability
    binary      truth             1 logit             cross-entropy               auc, logloss         probability
    regression  number            1 standard value    squared error               rmse, mae            value in range
    count       number, 0 or more 1 log of the count  Poisson log-likelihood      deviance, mae        expected count
    ordinal     whole number      1 logit a threshold cumulative cross-entropy    rmse, mae, kappa     expected level
    ranking     truth or number   1 score             softmax or pairs in a slate ndcg within slates   score, or share

A further kind is one class in a file of its own, here with its name in `OWN`, or in any installed package that names
it as an entry point of the group `motet.kinds`, such as `quantile = "shop.quantile:Quantile"`. Nothing else changes.

Nothing here imports torch or scikit-learn at the top: a recipe is read and checked without them.
"""

from importlib.metadata import entry_points
from typing import Any, cast

from motet.errors import RecipeError
from motet.kinds.binary import Binary
from motet.kinds.count import Count
from motet.kinds.kind import Kind, LabelScale, ScoredKind
from motet.kinds.ordinal import Ordinal
from motet.kinds.ranking import Ranking
from motet.kinds.regression import Regression
from motet.kinds.retrieval import Retrieval

__all__ = ["KINDS", "LARGER_IS_BETTER", "Kind", "LabelScale", "ScoredKind", "scored_kind"]

OWN: tuple[Kind, ...] = (Retrieval(), Binary(), Regression(), Count(), Ordinal(), Ranking())
_GROUP = "motet.kinds"


def _brought() -> list[Kind]:
    """Return the kinds of other installed packages, by name.

    Raises:
        RecipeError: if one has the name of a kind that is here already.
    """
    taken, found = {kind.name for kind in OWN}, []
    for entry in sorted(entry_points(group=_GROUP), key=lambda one: one.name):
        kind: Kind = entry.load()()
        if kind.name in taken:
            raise RecipeError(f"{entry.value} brings the kind {kind.name!r}, which is there already; name it otherwise")
        taken.add(kind.name)
        found.append(kind)
    return found


KINDS: dict[str, Kind] = {kind.name: kind for kind in (*OWN, *_brought())}
LARGER_IS_BETTER = {metric: larger for kind in KINDS.values() for metric, larger in kind.selection.items()}


def scored_kind(name: str, **options: Any) -> ScoredKind:
    """Return a kind that the ranker has a head for.

    Args:
        name: any kind but retrieval.
        options: those of the kind, such as `loss` of ranking.
    """
    return cast(ScoredKind, type(KINDS[name])(**options))
