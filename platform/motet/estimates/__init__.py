"""What labels alone say of a user and an item, before any network; the task heads read it.

    residual   an event's label minus its item's prior, in deviations of the label
    offset     the user's shrunk mean of residuals; spread: their deviation; mood: a mean that favours the last few
    prior      the item's shrunk mean of labels; count: the log of how many
    near       mean over the user's events of residual - offset, weighed by how near the event's item is to the item
    factors    what `motet.estimates.latent` makes of the user's residuals - offset for the item

Offsets and priors are the classic baseline of collaborative filtering, near is its neighbourhood model of items
(Koren, KDD 2008, sections 2.1 and 2.2): cosine of two items' residuals, shrunk by how many people have labelled both.

An event's own label is in none of its estimates: they read the events before it (`along`), or all others of the user
(`around`; the mood still reads those before it), and in training prior, nearness and factors come from other people
(`fold_of`).

Letters: S events of a user, N items asked for, T scored tasks, F = T x len(NAMES) columns, I items.
"""

from motet.estimates.counting import FOLDS, LabelSums, fold_of, nearness, residual_matrix, standardised
from motet.estimates.estimates import ESTIMATES, NAMES, Estimates, Later
from motet.estimates.latent import Latent, contents_of, fit_latent

__all__ = [
    "ESTIMATES",
    "FOLDS",
    "NAMES",
    "Estimates",
    "LabelSums",
    "Latent",
    "Later",
    "contents_of",
    "fit_latent",
    "fold_of",
    "nearness",
    "residual_matrix",
    "standardised",
]  # fmt: skip
