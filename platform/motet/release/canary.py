"""The canary: which users get the candidate release, what came of it, and whether it must go."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from motet.canary_settings import CanarySettings
from motet.data.hashing import uniform

SECONDS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0)
"""Upper ends of the bins that answers are counted in by their time; slower ones are in a last bin."""


def gets_candidate(user: str, candidate: str, share: float) -> bool:
    """Return whether a user is among those who get a candidate; the same users always, others for another candidate."""
    return uniform(candidate, user) < share


@dataclass
class Outcomes:
    """What came of the answers of one release."""

    answers: int = 0
    fallen: int = 0
    """Answers below full."""
    failed: int = 0
    """Requests that ended in an error of the server."""
    by_seconds: list[int] = field(default_factory=lambda: [0] * (len(SECONDS) + 1))
    """Answers by their time."""

    def count(self, seconds: float, full: bool) -> None:
        """Count an answer."""
        self.answers += 1
        self.fallen += not full
        self.by_seconds[next((place for place, end in enumerate(SECONDS) if seconds <= end), len(SECONDS))] += 1

    @property
    def failures(self) -> float:
        """Share of requests that failed or fell back."""
        asked = self.answers + self.failed
        return (self.fallen + self.failed) / asked if asked else 0.0

    def quantile(self, share: float) -> float | None:
        """Return the seconds that a share of the answers took at most, linear within a bin; None without answers.

        What is in the last bin counts as the end of the one before.
        """
        wanted, below, start = share * self.answers, 0, 0.0
        for end, count in zip((*SECONDS, SECONDS[-1]), self.by_seconds, strict=True):
            if count and below + count >= wanted:
                return start + (end - start) * (wanted - below) / count
            below, start = below + count, end
        return None


def add_up(several: Sequence[Outcomes]) -> Outcomes:
    """Return the sum of outcomes."""
    total = Outcomes()
    for one in several:
        total.answers, total.fallen, total.failed = (
            total.answers + one.answers, total.fallen + one.fallen, total.failed + one.failed,
        )  # fmt: skip
        total.by_seconds = [a + b for a, b in zip(total.by_seconds, one.by_seconds, strict=True)]
    return total


def verdict(current: Outcomes, candidate: Outcomes, settings: CanarySettings) -> str | None:
    """Return why a candidate must go; None if nothing speaks against it, or too little is known yet.

    Args:
        current: of the current release since the candidate came.
        candidate: of the candidate.
        settings: the candidate's.
    """
    if candidate.answers + candidate.failed < settings.least_answers:
        return None
    more = candidate.failures - current.failures
    if more > settings.max_failures:
        return (
            f"{candidate.failures:.1%} of its {candidate.answers + candidate.failed} answers failed or fell back, "
            f"{current.failures:.1%} of the current release's; serve.canary.max_failures allows "
            f"{settings.max_failures:.1%} more"
        )
    slow, usual = candidate.quantile(0.95), current.quantile(0.95)
    if slow is None or usual is None or current.answers < settings.least_answers:
        return None
    if slow > usual * settings.max_slowdown:
        return (
            f"95 % of its answers came within {slow * 1000:.0f} ms, of the current release's within "
            f"{usual * 1000:.0f} ms; serve.canary.max_slowdown allows a factor of {settings.max_slowdown:g}"
        )
    return None
