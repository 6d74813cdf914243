"""The rules of the verdict, one by one."""

from dataclasses import replace

import pytest

from motet.evaluation.doctor_verdict import (
    HELPS,
    HURTS,
    RULES,
    UNKNOWN,
    UNSURE,
    Choice,
    Conflict,
    Facts,
    reading,
    verdict,
)
from motet.recipe import Recipe
from tests.builders import merged, recipe_dict

SETTINGS = {
    "model.balance": "static", "model.experts": "mmoe", "model.num_experts": 4, "model.dim": 64,
    "model.id_dropout": 0.15, "train.epochs": 10, "train.select_by": "watch.ndcg", "weight": 1.0,
}  # fmt: skip
HURT = Facts("like", 1, True, "auc", -0.004, -0.006, -0.002, [-0.004], 900, SETTINGS)
HELP = replace(HURT, gain=0.004, low=0.002, high=0.006, gains=[0.004])
OPEN = replace(HURT, gain=-0.001, low=-0.003, high=0.001, gains=[-0.001])
APART = Conflict("watch", -0.2, 0.9, "user tower")


def with_settings(facts, **changes):
    return replace(facts, settings={**SETTINGS, **{name.replace("__", "."): value for name, value in changes.items()}})


def rules_of(facts):
    return {advice["rule"]: advice for advice in verdict(facts)["advice"]}


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (HELP, HELPS),
        (HURT, HURTS),
        (OPEN, UNSURE),
        (replace(HURT, low=None, high=None), UNKNOWN),
        (replace(HURT, gain=None, low=None, high=None, gains=[]), UNKNOWN),
        (replace(HELP, gains=[0.01, 0.002]), HELPS),
        (replace(HELP, gains=[0.01, -0.002]), UNSURE),
        (replace(HURT, gains=[-0.01, 0.002]), UNSURE),
        (replace(OPEN, low=0.0, gain=0.0, gains=[0.0]), UNSURE),
    ],
)
def test_reading(facts, expected):
    assert reading(facts) == expected


def test_headlines_say_size_metric_and_interval():
    assert verdict(HURT)["headline"] == "like loses 0.0040 auc [-0.0060, -0.0020] to training alone"
    assert verdict(HELP)["headline"].startswith("like gains 0.0040 auc [+0.0020, +0.0060] from training together")
    assert verdict(OPEN)["headline"].startswith(
        "like is not told apart from training alone (-0.0010 auc [-0.0030, +0.0"
    )
    assert verdict(replace(HURT, gain=None, gains=[]))["headline"] == "like has too few held-out labels to judge"


def test_what_helps_asks_for_nothing():
    assert verdict(replace(HELP, conflict=APART, pull=0.01, strongest="watch"))["advice"] == []


@pytest.mark.parametrize(
    ("changes", "setting"),
    [
        ({}, "model.balance=cagrad"),
        ({"model__balance": "uncertainty"}, "model.balance=cagrad"),
        ({"model__balance": "cagrad"}, "model.experts=ple"),
        ({"model__balance": "pcgrad", "model__experts": "ple"}, None),
    ],
)
def test_a_conflict_asks_for_surgery_then_for_experts_then_to_part(changes, setting):
    found = rules_of(with_settings(replace(HURT, conflict=APART), **changes))["conflict"]
    assert found["setting"] == setting
    assert "its gradients and those of watch point apart (cosine -0.20, negative in 90% of the batches" in found["said"]
    assert ("train it from a recipe of its own" in found["said"]) == (setting is None)


def test_the_retrieval_task_has_no_experts_to_change():
    facts = with_settings(replace(HURT, conflict=APART, scored=False), model__balance="cagrad")
    assert rules_of(facts)["conflict"]["setting"] is None


def test_gradients_that_hardly_differ_are_no_conflict():
    assert "conflict" not in rules_of(replace(HURT, conflict=replace(APART, cosine=-0.01)))


@pytest.mark.parametrize(
    ("balance", "weight", "setting"),
    [
        ("static", 1.0, "tasks.1.weight=10.0"),
        ("cagrad", 0.5, "tasks.1.weight=5.0"),
        ("uncertainty", 1.0, "model.balance=gradnorm"),
        ("gradnorm", 1.0, None),
    ],
)
def test_a_drowned_task_asks_for_weight(balance, weight, setting):
    facts = with_settings(replace(HURT, pull=0.03, strongest="watch"), model__balance=balance, weight=weight)
    found = rules_of(facts)["drowned"]
    assert found["said"] == "its pull on what is shared is 3% of that of watch"
    assert found["setting"] == setting


def test_a_pull_that_rounds_to_nothing_is_under_one_percent():
    said = rules_of(replace(HURT, pull=0.0004, strongest="watch"))["drowned"]["said"]
    assert said == "its pull on what is shared is under 1% of that of watch"


def test_the_strongest_task_is_not_drowned():
    assert "drowned" not in rules_of(replace(HURT, pull=1.0, strongest="like"))


def test_the_choice_of_the_epoch_is_blamed_if_it_cost_half_of_the_loss():
    choice = Choice(3, 0.78, 5, 0.777)
    found = rules_of(replace(HURT, choice=choice))["choice of epoch"]
    assert found["setting"] == "train.select_by=like.auc"
    assert "its epoch 3 is best (auc 0.7800), the run kept epoch 5 by watch.ndcg (0.7770)" in found["said"]
    assert "choice of epoch" not in rules_of(replace(HURT, choice=Choice(3, 0.7785, 5, 0.777)))
    assert "choice of epoch" not in rules_of(replace(HURT, choice=Choice(5, 0.78, 5, 0.78)))


@pytest.mark.parametrize(
    ("facts", "setting", "said"),
    [
        (replace(HURT, dead=["expert 2"]), "model.num_experts=3", "expert 2 used by no gate"),
        (replace(HURT, state="uniform"), "model.experts=ple", "its gate gives all experts alike"),
        (replace(HURT, state="one-hot"), "model.experts=ple", "its gate takes one expert"),
        (with_settings(replace(HURT, state="uniform"), model__experts="ple"), None, "its gate gives all experts alike"),
    ],
)
def test_collapsed_experts(facts, setting, said):
    found = rules_of(facts)["collapsed experts"]
    assert (found["setting"], found["said"]) == (setting, said)


def test_one_bottom_for_all_asks_for_experts():
    found = rules_of(with_settings(HURT, model__experts="shared_bottom"))
    assert found["one network for all"]["setting"] == "model.experts=mmoe"


def test_room_is_asked_for_only_if_nothing_else_is_seen():
    assert rules_of(HURT)["no cause seen"]["setting"] == "model.dim=128"
    assert "no cause seen" not in rules_of(replace(HURT, conflict=APART))


def test_what_is_not_told_apart_says_how_much_could_be():
    assert rules_of(OPEN)["too few to tell"]["said"] == "900 held-out users show a difference of about 0.0020 and more"
    same = replace(OPEN, gain=0.0, low=0.0, high=0.0, gains=[0.0])
    assert rules_of(same)["too few to tell"]["said"] == "both ways give the same figure, whichever users are drawn"
    split = replace(HURT, gains=[-0.01, 0.002])
    assert rules_of(split)["too few to tell"]["said"] == "the seeds disagree: gains from -0.0100 to +0.0020"


def test_a_run_that_was_not_done_is_said_whatever_the_reading():
    for facts in (HURT, HELP, OPEN):
        assert rules_of(replace(facts, rising=True))["still rising"]["setting"] == "train.epochs=20"


def test_a_loss_on_cold_items_is_said_where_the_whole_does_not_lose():
    found = rules_of(replace(HELP, weak={"cold items": -0.02}))["worse on cold items"]
    assert found["setting"] == "model.id_dropout=0.4"
    assert found["said"] == "it loses 0.0200 on items without a training event"


ALL = [
    replace(HURT, conflict=APART, pull=0.02, strongest="watch", choice=Choice(3, 0.8, 5, 0.7)),
    replace(HURT, dead=["expert 1"], rising=True),
    replace(HURT, conflict=APART, dead=["expert 1", "expert 2"]),
    with_settings(replace(HURT, conflict=APART), model__balance="cagrad"),
    with_settings(replace(HURT, pull=0.02, strongest="watch"), model__balance="dwa"),
    with_settings(HURT, model__experts="shared_bottom"),
    replace(HELP, weak={"cold items": -0.02}),
    replace(HURT, state="uniform"),
    HURT,
    OPEN,
]  # fmt: skip


def test_every_rule_is_met_and_every_setting_is_one_of_the_recipe():
    """What the doctor says to try is taken by `--set`: the recipe with it is valid."""
    met = set()
    for facts in ALL:
        for advice in verdict(facts)["advice"]:
            met.add(advice["rule"])
            if advice["setting"]:
                name, _, value = advice["setting"].partition("=")
                Recipe.model_validate(changed(name.split("."), value))
    assert met == {rule.name for rule in RULES}


def changed(path, value):
    import yaml

    plain = recipe_dict("model")
    if path[0] == "tasks":
        place = int(path[1])
        plain["tasks"] = [
            t | {path[2]: yaml.safe_load(value)} if n == place else t for n, t in enumerate(plain["tasks"])
        ]
        return plain
    change = yaml.safe_load(value)
    for part in reversed(path):
        change = {part: change}
    return merged(plain, change)
