"""The doctor's report: a task alone as a recipe, facts, and the report put together, as text and as a page."""

import json
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pytest

from motet.evaluation import doctor_page
from motet.evaluation.doctor import WITHOUT, Found, alone_recipe, build, network_name, own_metric, weak_slices
from motet.evaluation.doctor_page import render_page
from motet.evaluation.doctor_text import aligned, render_text, verdict_lines
from motet.recipe import Recipe
from motet.task import Task
from tests.builders import merged, recipe_dict

USERS = 60
SHARED = {"kind": "shared_bottom", "gates": [], "dead": []}
MIXED = {
    "kind": "mmoe",
    "gates": [
        {"layer": 0, "task": task, "experts": {"expert 1": 1 - less, "expert 2": less}, "entropy": one, "state": state}
        for task, less, one, state in (("like", 0.02, 0.05, "one-hot"), ("rating", 0.03, 0.3, "mixes"))
    ],
    "dead": [{"layer": 0, "expert": "expert 2"}],
}  # fmt: skip


@pytest.fixture
def recipe():
    return Recipe.model_validate(merged(recipe_dict("model"), {"model": {"balance": "uncertainty"}}))


def epoch(number, best, **validation):
    names = ("watch", "like", "rating")
    losses = {name: 1.0 / number for name in names}
    values = {"watch.ndcg": 0.1, "like.auc": 0.6, "rating.rmse": 1.0} | {
        k.replace("_", "."): v for k, v in validation.items()
    }
    return {"epoch": number, "best": best, "losses": losses, "weights": dict.fromkeys(names, 1.0), "validation": values}


EPOCHS = [epoch(1, True, like_auc=0.9), epoch(2, True, like_auc=0.7), epoch(3, False, like_auc=0.5)]


def scores():
    """Together, like is a coin and rating is off by 0.1; alone, like is right and rating off by 1; watch is alike."""
    random = np.random.default_rng(0)
    users_N = np.repeat([f"u{n}" for n in range(USERS)], 2)
    like_N, rating_N = np.tile([1.0, 0.0], USERS), random.integers(1, 6, 2 * USERS).astype(float)
    columns = {
        "user": users_N,
        "item": np.tile([0, 1, 2, 3], USERS // 2),
        "met": np.repeat(np.arange(USERS), 2),
        "label:watch": np.ones(2 * USERS),
        "label:like": like_N,
        "label:rating": rating_N,
        "together@42:watch": np.tile([1, 0], USERS),
        "together@42:like": random.random(2 * USERS),
        "together@42:rating": rating_N + 0.1,
        "watch@42:watch": np.tile([1, 0], USERS),
        "like@42:like": like_N + random.random(2 * USERS) / 2,
        "rating@42:rating": rating_N + 1.0,
    }
    return pa.table(columns)


def found_of(**changes):
    pairs = [
        {"tasks": ["watch", "like"], "cosine": -0.3, "negative": 0.9, "lowest": "item tower"},
        {"tasks": ["watch", "rating"], "cosine": 0.1, "negative": 0.2, "lowest": "experts"},
        {"tasks": ["like", "rating"], "cosine": None, "negative": None, "lowest": None},
    ]
    gradients = {"batches": 20, "pairs": pairs, "pulls": {"watch": 2.0, "like": 0.1, "rating": 1.0}}
    everything = {
        "scores": scores(),
        "counts_I": np.array([0, 9, 3, 4]),
        "categories": {"colour": [["red"], ["blue"], ["red", "blue"], []]},
        "epochs": EPOCHS,
        "alone": {name: EPOCHS[:2] for name in ("watch", "like", "rating")},
        "gradients": gradients,
        "experts": MIXED,
    }
    return Found(**{**everything, **changes})


@pytest.fixture
def report(recipe):
    return {"recipe": recipe.name, "run": "abc", "words": "3 epochs", **build(recipe, found_of())}


def test_alone_is_the_same_recipe_with_one_loss(recipe):
    alone = alone_recipe(recipe, "like", "like.auc", 7)
    assert [(task.name, task.weight) for task in alone.tasks] == [
        ("watch", WITHOUT),
        ("like", 1.0),
        ("rating", WITHOUT),
    ]
    assert (alone.model.balance, alone.selection, alone.seed) == ("static", "like.auc", 7)
    again = alone.resolved()
    again["tasks"] = recipe.resolved()["tasks"]
    again["model"] |= {"balance": "uncertainty"}
    again["train"] |= {"select_by": None}
    assert again | {"seed": recipe.seed} == recipe.resolved()


def test_a_loss_of_that_weight_moves_nothing_that_is_shared(encoder_folder):
    """One training without the other tasks' labels, one with them at the weight of nothing: the same AUC, nearly."""
    from tests.builders import Tiny

    plain = Tiny.of(encoder_folder).recipe
    tiny = Tiny(alone_recipe(plain, "like", "like.auc", plain.seed))
    with_labels = tiny.train()[0].step_module
    without = tiny.trainer()
    batches = tiny.batches(tiny.recipe.train.batch_size)
    for batch in batches:
        batch.labels_BPT[:, :, 1] = float("nan")
    without.run(lambda _: batches, tiny.validation, lambda _: None)
    for (name, one), other in zip(
        with_labels.model.users.named_parameters(), without.step_module.model.users.parameters(), strict=True
    ):
        assert one.detach().numpy() == pytest.approx(other.detach().numpy(), abs=1e-4), name


def test_the_metric_that_chooses_the_epoch_of_a_task_alone():
    like = Task(name="like", kind="binary", label="rating >= 4")
    watch = Task(name="watch", kind="retrieval")
    assert own_metric(like, EPOCHS) == "like.auc"
    one_class = [{"validation": {"like.loss": 0.1}}, {"validation": {"like.loss": 0.1, "like.auc": 0.4}}]
    assert own_metric(like, one_class) == "like.loss"
    assert own_metric(like, [{"validation": {}}]) is None
    assert own_metric(watch, EPOCHS) == "watch.ndcg"


def test_the_report_holds_gains_readings_and_causes(report):
    tasks = report["tasks"]
    assert {name: one["verdict"]["reading"] for name, one in tasks.items()} == {
        "watch": "not told apart", "like": "hurts", "rating": "helps",
    }  # fmt: skip
    assert tasks["rating"]["gain"] == pytest.approx(0.9)
    assert (tasks["like"]["metric"], tasks["like"]["larger_is_better"]) == ("auc", True)
    rules = {advice["rule"]: advice["setting"] for advice in tasks["like"]["verdict"]["advice"]}
    assert rules == {
        "conflict": "model.balance=cagrad",
        "drowned": "model.balance=gradnorm",
        "collapsed experts": "model.experts=ple",
    }
    assert report["settings"]["model.balance"] == "uncertainty"
    json.dumps(report, allow_nan=False)


def test_the_choice_of_the_epoch_is_seen(recipe):
    """Validation had like at 0.9 in epoch 1 and the run kept epoch 2 with 0.7: more than half of what was lost."""
    advice = build(recipe, found_of())["tasks"]["like"]["verdict"]["advice"]
    assert "choice of epoch" not in [one["rule"] for one in advice]  # 0.2 of a loss of about 0.5
    worse = [epoch(1, True, like_auc=0.99), epoch(2, True, like_auc=0.5)]
    advice = build(recipe, found_of(epochs=worse))["tasks"]["like"]["verdict"]["advice"]
    assert advice[0]["setting"] == "train.select_by=like.auc"


def test_slices_are_compared_with_the_same_measure(report):
    slices = report["tasks"]["rating"]["slices"]
    names = ["cold items", "head items", "tail items", "cold users", "colour = blue", "colour = red"]
    assert list(slices) == names
    assert slices["cold users"]["users"] == 6
    assert all(one["gain"] == pytest.approx(0.9) for one in slices.values())
    assert report["tasks"]["like"]["slices"]["cold items"]["gain"] is None  # labels of one class


def test_a_task_that_could_not_be_trained_alone_is_left_out(recipe):
    found = build(recipe, found_of(skipped={"like": "no label"}))
    assert list(found["tasks"]) == ["watch", "rating"]
    assert found["skipped"] == {"like": "no label"}


def test_slates_of_two_users_are_two():
    plain = recipe_dict("model")
    best = {"name": "best", "kind": "ranking", "label": "rating >= 4", "slate": "page"}
    surfaces = {"home": {"weights": {"watch": 1.0}}}
    recipe = Recipe.model_validate(plain | {"tasks": [plain["tasks"][0], best], "surfaces": surfaces})
    table = scores().select(["user", "item", "met", "label:watch", "together@42:watch", "watch@42:watch"])
    like = scores().column("label:like")
    columns = {
        "label:best": like,
        "slate:best": pa.array([1] * 2 * USERS),
        "together@42:best": like,
        "best@42:best": like,
    }
    for name, values in columns.items():
        table = table.append_column(name, values)
    gradients = {"batches": 1, "pairs": [], "pulls": {"watch": 0.0, "best": 0.0}}
    found = build(recipe, found_of(scores=table, gradients=gradients, experts=SHARED, categories={}))
    assert found["tasks"]["best"]["together"] == 1.0
    assert found["tasks"]["best"]["low"] == 0.0  # all draws have slates


def test_several_seeds(recipe):
    table = scores()
    for name in ("together@42:watch", "together@42:like", "together@42:rating", "watch@42:watch", "like@42:like",
                 "rating@42:rating"):  # fmt: skip
        table = table.append_column(name.replace("42", "43"), table.column(name))
    found = build(recipe, found_of(scores=table, seeds=(42, 43)))
    assert found["tasks"]["rating"]["gains"] == pytest.approx([0.9, 0.9])
    text = render_text({"recipe": "tiny", "run": "abc", "words": "3 epochs", **found})
    assert "Gains by seed" in text
    assert "One seed" not in text


def test_the_text_shows_every_part(report):
    text = render_text(report)
    lines = text.splitlines()
    assert lines[0] == "tiny, run abc: 3 epochs"
    for part in (
        "Together against alone",
        "Gradients of the tasks",
        "Experts: mean",
        "Losses and weights",
        "Slices",
        "Verdict",
    ):
        assert any(line.startswith(part) for line in lines), part
    assert any("watch and like" in line and "-0.300" in line and "90%" in line for line in lines)
    assert "expert 2 0.02 (dead)" in text
    assert "Gains by seed" not in text
    assert "try --set model.balance=cagrad" in text
    assert "One seed" in lines[-1]
    assert verdict_lines(report)[0].startswith("  watch is not told apart")


def test_the_text_of_a_shared_bottom_says_that_there_is_nothing_to_see(recipe):
    found = build(recipe, found_of(experts=SHARED, skipped={"like": "no label"}))
    text = render_text({"recipe": "tiny", "run": "abc", "words": "", **found})
    assert "model.experts is shared_bottom, so there are no gates and nothing to see." in text
    assert "like: no label" in text
    assert "entropy" not in text


def test_columns_are_aligned():
    assert aligned([["a", "bb"], ["ccc", "d"]]) == "  a    bb\n  ccc   d"


class _Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.seen = [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_can_be_read_alone(report):
    page = render_page(report)
    tags = _Tags()
    tags.feed(page)
    assert tags.open == []
    assert tags.seen.count("img") == 4
    assert tags.seen.count("table") == 5
    assert "script" not in tags.seen
    assert "http" not in page.replace("http-equiv", "")
    assert "like loses 0." in page
    assert "Try model.balance=cagrad." in page


def test_names_are_escaped_on_the_page(report):
    page = render_page({**report, "recipe": "<b>x</b>"})
    assert "<b>" not in page
    assert "&lt;b&gt;x&lt;/b&gt;" in page


@pytest.mark.parametrize(
    "svg",
    [
        lambda one: doctor_page.gain_plot(one["tasks"]),
        lambda one: doctor_page.loss_plot(one["training"]),
        lambda one: doctor_page.weight_plot(one["training"]["together"]),
        lambda one: doctor_page.gate_plot(one["experts"]["gates"]),
    ],
)
def test_plots_are_whole_svgs_with_names(report, svg):
    texts = " ".join(
        node.text or "" for node in ElementTree.fromstring(svg(report)).iter("{http://www.w3.org/2000/svg}text")
    )
    assert "like" in texts


def test_plots_of_nothing_are_empty():
    assert doctor_page.gain_plot({"a": {"low": None, "high": None, "gain": None, "metric": "auc"}}) == ""
    assert doctor_page.loss_plot({"together": [], "alone": {}}) == ""
    assert doctor_page.weight_plot([]) == doctor_page.gate_plot([]) == ""


def test_the_page_of_a_shared_bottom(recipe):
    found = build(recipe, found_of(experts=SHARED))
    assert "so there are no gates to look at" in render_page({"recipe": "tiny", "run": "abc", "words": "", **found})


def test_names_of_networks():
    assert network_name("like", 42) == "like@42"


def test_a_slice_of_a_handful_of_users_is_not_spoken_of() -> None:
    few = {"gain": -0.1, "low": -0.2, "high": -0.05, "users": 19}
    slices = {"few": few, "many": few | {"users": 20}, "unsure": few | {"users": 90, "high": 0.1},
              "unknown": few | {"users": 90, "high": None}}  # fmt: skip
    assert weak_slices(slices) == {"many": -0.1}
