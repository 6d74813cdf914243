"""Who gets a candidate, and when it must go."""

import numpy as np
import pytest

from motet.canary_settings import CanarySettings
from motet.release.canary import SECONDS, Outcomes, add_up, gets_candidate, verdict

SETTINGS = CanarySettings(share=0.1, least_answers=50, max_failures=0.02, max_slowdown=1.5)


def of(seconds, fallen=0, failed=0) -> Outcomes:
    outcomes = Outcomes(failed=failed)
    for place, one in enumerate(seconds):
        outcomes.count(one, full=place >= fallen)
    return outcomes


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_a_share_of_the_users_gets_it_and_others_for_another_candidate(share):
    users = [f"user {number}" for number in range(20_000)]
    got = {user for user in users if gets_candidate(user, "a", share)}
    assert len(got) / len(users) == pytest.approx(share, abs=0.01)
    assert got == {user for user in users if gets_candidate(user, "a", share)}
    both = got & {user for user in users if gets_candidate(user, "b", share)}
    assert len(both) / len(users) == pytest.approx(share**2, abs=0.01)


def test_quantiles_are_near_those_of_the_seconds():
    seconds = np.random.default_rng(0).gamma(2.0, 0.03, 5_000)
    outcomes = of(seconds)
    for share in (0.1, 0.5, 0.95):
        exact = np.quantile(seconds, share)
        width = np.diff([0.0, *SECONDS])[np.searchsorted(SECONDS, exact)]
        assert outcomes.quantile(share) == pytest.approx(exact, abs=width / 2)
    assert Outcomes().quantile(0.5) is None
    assert of([9.0]).quantile(0.5) == SECONDS[-1]


def test_outcomes_add_up():
    total = add_up([of([0.01] * 3, fallen=1), of([0.2] * 2, failed=4)])
    assert (total.answers, total.fallen, total.failed, sum(total.by_seconds)) == (5, 1, 4, 5)
    assert total.failures == pytest.approx(5 / 9)
    assert Outcomes().failures == 0


def test_nothing_is_said_of_too_few_answers():
    assert verdict(of([0.01] * 500), of([0.5] * 49, fallen=49), SETTINGS) is None


def test_more_failures_than_allowed():
    usual = of([0.01] * 500, fallen=10)
    assert verdict(usual, of([0.01] * 100, fallen=3), SETTINGS) is None
    because = verdict(usual, of([0.01] * 96, fallen=3, failed=4), SETTINGS)
    assert because is not None
    assert because.startswith("7.0% of its 100 answers failed or fell back, 2.0% of the current release's")
    assert verdict(usual, of([], failed=50), SETTINGS) is not None


def test_slower_than_allowed():
    usual = of([0.04] * 500)
    assert verdict(usual, of([0.045] * 100), SETTINGS) is None
    assert "serve.canary.max_slowdown" in (verdict(usual, of([0.14] * 100), SETTINGS) or "")
    assert verdict(of([0.04] * 49), of([0.14] * 100), SETTINGS) is None  # nothing to compare with yet
