"""The exceptions of Motet.

    MotetError
    ├── RecipeError        the recipe is wrong: key, value, expression or column
    ├── DataError          the input is wrong: no such file, truncated, empty, ledger out of balance
    ├── EncoderError       the language model cannot be loaded or used
    ├── TrainingError      training cannot start or went wrong
    │   └── DivergedError  a loss is not finite
    ├── RetrievalError     an index cannot be built or is below its floor of recall
    ├── EvaluationError    a metric is undefined for what it was given
    ├── EventLogError      events cannot be written, or another process writes them
    ├── ReleaseError       a bundle is damaged, incomplete or refused by the gate
    └── RequestError       a request asks for what this release does not have

Every message says the value, where it stands and what would be right. A command line program
prints the message on one line and exits with 2.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


class MotetError(Exception):
    """Base of all errors that a user can cause and mend."""


@contextmanager
def said_in_a_line() -> Iterator[None]:
    """Print a user's mistake on the error stream, a line each, and end with code 2; other errors go on.

    For the `main` of a command.
    """
    try:
        yield
    except Exception as error:
        mistake = user_mistake(error)
        if mistake is None:
            raise
        for line in str(mistake).splitlines():
            sys.stderr.write(f"{type(mistake).__name__}: {line}\n")
        sys.exit(2)


def user_mistake(error: BaseException) -> MotetError | None:
    """Return the MotetError behind an error, however deep a worker's failure was wrapped, or None."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, MotetError) and type(error).__module__ == __name__:
            return error
        seen.add(id(error))
        error = getattr(error, "cause", None) or error.__cause__  # type: ignore[assignment]
    return None


class RecipeError(MotetError):
    """The recipe is wrong; `problems` holds one line per mistake."""

    def __init__(self, problems: str | list[str]) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class DataError(MotetError):
    """The input data are missing, unreadable, empty or do not add up."""


class EncoderError(MotetError):
    """A language model cannot be loaded or used."""


class TrainingError(MotetError):
    """Training cannot start, or went wrong."""


class DivergedError(TrainingError):
    """A loss is not a finite number any more."""


class RetrievalError(MotetError):
    """An index cannot be built, or finds too little."""


class EvaluationError(MotetError):
    """A metric is undefined for its input."""


class EventLogError(MotetError):
    """The event log cannot be written, or not by this process."""


class ReleaseError(MotetError):
    """A release bundle is damaged, incomplete or refused."""


class RequestError(MotetError):
    """A request asks for something that this release does not have."""
