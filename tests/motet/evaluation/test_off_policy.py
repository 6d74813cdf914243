"""Off-policy estimates against a bandit whose true values are worked out exactly."""

from typing import Any

import numpy as np
import pytest

from motet.errors import EvaluationError
from motet.evaluation.off_policy import (
    Logged,
    clipped_ips,
    doubly_robust,
    effective_sample_size,
    estimates,
    ips,
    snips,
)

# Two contexts, equally likely; three actions. Chance of a reward of 1, and what both policies do.
REWARD = np.array([[0.1, 0.5, 0.9], [0.6, 0.3, 0.2]])
LOGGING = np.array([[0.6, 0.3, 0.1], [0.2, 0.3, 0.5]])
TARGET = np.array([[0.0, 0.5, 0.5], [1.0, 0.0, 0.0]])
TRUE = float((0.5 * TARGET * REWARD).sum())
LOGGED = float((0.5 * LOGGING * REWARD).sum())


def bandit(rows: int, seed: int, model: np.ndarray | None = REWARD) -> Logged:
    """A log of the bandit with `model` as the reward model."""
    random = np.random.default_rng(seed)
    context_N = random.integers(2, size=rows)
    action_N = (random.random(rows)[:, None] > LOGGING[context_N].cumsum(1)).sum(1)
    reward_N = (random.random(rows) < REWARD[context_N, action_N]).astype(np.float64)
    taken = (context_N, action_N)
    predicted = (None, None) if model is None else (model[taken], (TARGET * model).sum(1)[context_N])
    return Logged(reward_N, LOGGING[taken], TARGET[taken], *predicted)


def exact(weigh: Any) -> float:
    """The expectation of `weigh(reward model, weight)` over contexts and actions, by summation."""
    return float((0.5 * LOGGING * weigh(REWARD, TARGET / LOGGING)).sum())


def small(**changes: Any) -> Logged:
    columns = {"reward_N": [1.0, 0.0, 1.0], "propensity_N": [0.5, 0.25, 0.2], "target_N": [0.5, 0.5, 0.0]} | changes
    return Logged(**{name: np.array(values) for name, values in columns.items()})


def test_by_hand() -> None:
    # weights 1, 2, 0; rewards 1, 0, 1: IPS = (1 + 0 + 0) / 3; SNIPS = 1 / (1 + 2); clipped at 1.5 the same as IPS
    # effective sample size = (1 + 2)^2 / (1 + 4) = 1.8
    log = small(reward_N=[1.0, 1.0, 1.0])
    assert ips(log) == pytest.approx(3 / 3)
    assert snips(log) == pytest.approx(3 / 3)
    assert clipped_ips(log, 1.5) == pytest.approx(2.5 / 3)
    assert clipped_ips(log) == pytest.approx((1 + np.sqrt(3)) / 3)
    assert ips(small()) == snips(small()) == pytest.approx(1 / 3)
    assert effective_sample_size(small().weight_N) == pytest.approx(1.8)
    # DR: q = 0.5 everywhere: mean(0.5 + w (r - 0.5)) = 0.5 + (1 x 0.5 - 2 x 0.5 + 0) / 3 = 1/3
    assert doubly_robust(small(predicted_N=[0.5] * 3, expected_N=[0.5] * 3)) == pytest.approx(1 / 3)


def test_the_true_value_in_closed_form() -> None:
    # contexts: (0.5 x 0.5 + 0.5 x 0.9) = 0.7 and 0.6; half each
    assert pytest.approx(0.65) == TRUE
    assert exact(lambda reward, weight: weight * reward) == pytest.approx(TRUE)


def test_ips_and_doubly_robust_are_unbiased_over_many_logs() -> None:
    """The mean over 2,000 logs lies within four standard errors of the truth, also with a wrong reward model."""
    logs = [bandit(100, seed, np.full((2, 3), 0.3)) for seed in range(2_000)]
    for estimate in (ips, doubly_robust):
        found = np.array([estimate(log) for log in logs])
        error = found.std(ddof=1) / np.sqrt(len(found))
        assert abs(found.mean() - TRUE) < 4 * error
        assert error < 0.01


def test_clipping_has_the_bias_of_its_closed_form() -> None:
    expected = exact(lambda reward, weight: np.minimum(weight, 2.0) * reward)
    found = np.array([clipped_ips(bandit(100, seed), 2.0) for seed in range(2_000)])
    assert abs(found.mean() - expected) < 4 * found.std(ddof=1) / np.sqrt(len(found))
    assert expected < TRUE - 0.1


def test_with_the_true_reward_model_doubly_robust_varies_least() -> None:
    perfect = np.array([doubly_robust(bandit(200, seed)) for seed in range(300)])
    assert perfect.std() < 0.8 * np.std([ips(bandit(200, seed)) for seed in range(300)])


def test_doubly_robust_is_exact_with_a_perfect_model_of_certain_rewards() -> None:
    """Rewards equal to the model's: the correction is 0 in each row, also with propensities that are wrong."""
    log = bandit(500, 1)
    assert log.predicted_N is not None
    assert log.expected_N is not None
    certain = Logged(log.predicted_N, np.full(500, 0.9), log.target_N, log.predicted_N, log.expected_N)
    assert doubly_robust(certain) == pytest.approx(log.expected_N.mean())
    assert abs(ips(certain) - log.expected_N.mean()) > 0.05


def test_snips_moves_with_the_rewards_and_ips_does_not() -> None:
    log = bandit(300, 3, None)
    moved = Logged(log.reward_N + 10, log.propensity_N, log.target_N)
    assert snips(moved) == pytest.approx(snips(log) + 10)
    assert ips(moved) == pytest.approx(ips(log) + 10 * log.weight_N.mean())
    assert abs(log.weight_N.mean() - 1) > 0.01


def test_of_the_logging_policy_itself_all_are_the_mean_reward() -> None:
    log = bandit(300, 4, None)
    same = Logged(log.reward_N, log.propensity_N, log.propensity_N)
    assert ips(same) == snips(same) == clipped_ips(same) == pytest.approx(log.reward_N.mean())
    assert effective_sample_size(same.weight_N) == pytest.approx(300)


def test_intervals_cover_the_truth_nineteen_times_in_twenty() -> None:
    """Of 200 logs about 190; 179 or fewer would come once in 1,000."""
    covered = dict.fromkeys(("ips", "snips", "dr"), 0)
    for seed in range(200):
        found = estimates(bandit(300, seed), seed, resamples=300)
        for name in covered:
            covered[name] += found[name]["low"] <= TRUE <= found[name]["high"]
    assert min(covered.values()) > 179, covered


def test_rows_of_one_user_are_drawn_together() -> None:
    """Each row ten times over by one user has the interval of the rows once, three times as wide as of free rows."""
    log = bandit(60, 5, None)
    columns = [np.repeat(one, 10) for one in (log.reward_N, log.propensity_N, log.target_N)]
    alone, free = estimates(log)["ips"], estimates(Logged(*columns))["ips"]
    owned = estimates(Logged(*columns, cluster_N=np.repeat(np.arange(60), 10)))["ips"]
    assert owned == pytest.approx(alone)
    assert (owned["high"] - owned["low"]) / (free["high"] - free["low"]) == pytest.approx(np.sqrt(10), rel=0.15)


def test_estimates_say_how_far_to_trust_them() -> None:
    found = estimates(small())
    assert (found["rows"], found["matched"]) == (3, 2)
    assert found["mean_weight"] == pytest.approx(1.0)
    assert found["effective_sample_size"] == pytest.approx(1.8)
    assert found["logged"]["mean"] == pytest.approx(2 / 3)
    assert "dr" not in found
    assert estimates(small()) == found


def test_a_policy_that_takes_none_of_the_logged_actions_is_unknown() -> None:
    log = small(target_N=[0.0, 0.0, 0.0])
    found = estimates(log)
    assert found["snips"] is None
    assert (found["ips"]["mean"], found["effective_sample_size"]) == (0.0, 0.0)
    with pytest.raises(EvaluationError, match="takes none of the logged actions"):
        snips(log)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"propensity_N": [0.5, 0.0, 0.2]}, r"propensity = 0 in row 1: a probability must be above 0 and at most 1"),
        ({"propensity_N": [0.5, -0.1, 0.2]}, r"propensity = -0.1 in row 1"),
        ({"propensity_N": [0.5, 0.5, 1.5]}, r"propensity = 1.5 in row 2"),
        ({"propensity_N": [0.5, np.nan, 0.2]}, "propensity_N has a number that is not finite"),
        ({"target_N": [0.5, 1.1, 0.0]}, r"target = 1.1 in row 1: a probability must be from 0 to 1"),
        ({"reward_N": [1.0, np.inf, 0.0]}, "reward_N has a number that is not finite"),
        ({"target_N": [0.5, 0.5]}, r"target_N has the shape \(2,\); give \(3,\)"),
        ({"predicted_N": [0.1, 0.1, 0.1]}, "predicted_N and expected_N go together"),
        ({"reward_N": [], "propensity_N": [], "target_N": []}, "the log has no row"),
    ],
)
def test_what_is_no_log_is_refused(changes: dict[str, list[float]], message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        small(**changes)


def test_doubly_robust_needs_a_model() -> None:
    with pytest.raises(EvaluationError, match="needs predicted_N and expected_N"):
        doubly_robust(small())
