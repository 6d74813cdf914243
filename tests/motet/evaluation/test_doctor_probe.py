"""Gradients of tasks whose angle is known, and gates whose weights were set."""

import numpy as np
import pytest
import torch

from motet.evaluation import doctor_probe
from motet.evaluation.doctor_probe import dead_experts, expert_use, gate_state, gradients
from motet.recipe import Recipe
from tests.builders import Tiny, merged, recipe_dict

WATCH = {"name": "watch", "kind": "retrieval"}
LIKE = {"name": "like", "kind": "binary", "label": "rating >= 4"}


def tiny_of(encoder_folder, tasks, **model):
    plain = merged(recipe_dict(str(encoder_folder)), {"tasks": tasks, "model": model})
    return Tiny(Recipe.model_validate(plain | {"surfaces": {"home": {"weights": {"watch": 1.0}}}}))


def with_equal_heads(encoder_folder, label):
    """Two binary tasks over one bottom, whose heads are the same; they say 0.5, nearly."""
    second = {"name": "second", "kind": "binary", "label": label}
    tiny = tiny_of(encoder_folder, [WATCH, LIKE, second], experts="shared_bottom")
    step = tiny.trainer().step_module
    with torch.no_grad():
        for head in step.model.heads:
            head.weight.copy_(torch.linspace(-1e-3, 1e-3, head.weight.shape[1]).unsqueeze(0))
            head.bias.zero_()
    return tiny, step


def pair_of(found, *tasks):
    return next(pair for pair in found["pairs"] if pair["tasks"] == list(tasks))


@pytest.mark.parametrize(("label", "cosine", "negative"), [("rating >= 4", 1.0, 0.0), ("rating < 4", -1.0, 1.0)])
def test_the_same_task_pulls_along_and_its_opposite_against(encoder_folder, label, cosine, negative):
    tiny, step = with_equal_heads(encoder_folder, label)
    found = gradients(step, tiny.batches(8), {}, 1)
    pair = pair_of(found, "like", "second")
    assert pair["cosine"] == pytest.approx(cosine, abs=0.01)
    assert pair["negative"] == negative
    assert pair["lowest"] in ("item tower", "user tower", "experts")
    assert [one["tasks"] for one in found["pairs"]] == [["watch", "like"], ["watch", "second"], ["like", "second"]]
    assert found["batches"] == len(tiny.batches(8))
    assert found["pulls"]["like"] == pytest.approx(found["pulls"]["second"], rel=0.05)


def test_pulls_are_of_weighted_losses(encoder_folder):
    tiny, step = with_equal_heads(encoder_folder, "rating >= 4")
    plain = gradients(step, tiny.batches(8), {}, 1)
    found = gradients(step, tiny.batches(8), {"like": 3.0}, 1)
    assert found["pulls"]["like"] == pytest.approx(3 * plain["pulls"]["like"], rel=1e-4)
    assert pair_of(found, "like", "second")["cosine"] == pytest.approx(pair_of(plain, "like", "second")["cosine"])


def test_a_task_without_labels_has_no_cosine(encoder_folder):
    tiny = tiny_of(encoder_folder, [WATCH, LIKE, LIKE | {"name": "never", "label": "rating >= 4"}])
    step = tiny.trainer().step_module
    batches = tiny.batches(8)
    for batch in batches:
        batch.labels_BPT[:, :, 1] = float("nan")
    found = gradients(step, batches, {}, 1)
    assert pair_of(found, "like", "never") == {
        "tasks": ["like", "never"], "cosine": None, "negative": None, "lowest": None,
    }  # fmt: skip
    assert found["pulls"]["never"] == 0


def test_cosines_by_hand():
    """Part a: product 3, lengths 3 and 4 squared; part b: product -8, both 16; whole: -5 of sqrt(25 * 32)."""
    products = [("a", torch.tensor([[9.0, 3.0], [3.0, 16.0]])), ("b", torch.tensor([[16.0, -8.0], [-8.0, 16.0]]))]
    found = doctor_probe._cosines(products, 0, 1)
    assert found == pytest.approx({"": -5 / np.sqrt(25 * 32), "a": 0.25, "b": -0.5})


def set_gates(step, biases):
    with torch.no_grad():
        for gated, bias in zip(doctor_probe.gates_of(step.model.experts, step.model.scored), biases, strict=True):
            gated.gate.linear.weight.zero_()
            gated.gate.linear.bias.copy_(torch.tensor(bias))


def test_gates_of_mmoe(tiny):
    step = tiny.trainer().step_module
    set_gates(step, [[20.0, 0.0], [0.0, 0.0]])
    found = expert_use(step, tiny.batches(8), "mmoe")
    like, rating = found["gates"]
    assert (like["task"], like["layer"], like["state"]) == ("like", 0, "one-hot")
    assert like["experts"] == pytest.approx({"expert 1": 1.0, "expert 2": 0.0}, abs=1e-6)
    assert (rating["entropy"], rating["state"]) == (pytest.approx(1.0), "uniform")
    assert found["dead"] == []
    set_gates(step, [[20.0, 0.0], [20.0, 0.0]])
    assert expert_use(step, tiny.batches(8), "mmoe")["dead"] == [{"layer": 0, "expert": "expert 2"}]


def test_hooks_are_gone_afterwards(tiny):
    step = tiny.trainer().step_module
    expert_use(step, tiny.batches(8), "mmoe")
    assert not any(module._forward_hooks for module in step.modules())


def test_gates_of_ple_at_each_layer(encoder_folder):
    tiny = Tiny.of(encoder_folder, model={"experts": "ple", "expert_layers": 2, "num_experts": 1})
    step = tiny.trainer().step_module
    found = expert_use(step, tiny.batches(8), "ple")
    names = [(gate["layer"], gate["task"], list(gate["experts"])) for gate in found["gates"]]
    assert names == [
        (0, "like", ["shared 1", "own of like"]),
        (0, "rating", ["shared 1", "own of rating"]),
        (0, "shared", ["shared 1", "own of like", "own of rating"]),
        (1, "like", ["shared 1", "own of like"]),
        (1, "rating", ["shared 1", "own of rating"]),
    ]
    assert all(sum(gate["experts"].values()) == pytest.approx(1) for gate in found["gates"])


def test_one_expert_leaves_no_choice_and_a_shared_bottom_has_no_gates(encoder_folder):
    tiny = Tiny.of(encoder_folder, model={"num_experts": 1})
    found = expert_use(tiny.trainer().step_module, tiny.batches(8), "mmoe")
    assert [(gate["entropy"], gate["state"]) for gate in found["gates"]] == [(None, "one expert")] * 2
    tiny = Tiny.of(encoder_folder, model={"experts": "shared_bottom"})
    found = expert_use(tiny.trainer().step_module, tiny.batches(8), "shared_bottom")
    assert found == {"kind": "shared_bottom", "gates": [], "dead": []}


@pytest.mark.parametrize(
    ("entropy", "state"), [(None, "one expert"), (0.0, "one-hot"), (0.2, "mixes"), (0.97, "mixes"), (0.99, "uniform")]
)
def test_states_of_a_gate(entropy, state):
    assert gate_state(entropy) == state


def test_an_expert_is_dead_if_no_gate_of_its_layer_uses_it():
    """A tenth of an even share is 0.05 of two and 0.033 of three."""
    gates = [
        {"layer": 0, "experts": {"a": 0.97, "b": 0.03}},
        {"layer": 0, "experts": {"a": 0.9, "b": 0.04, "c": 0.06}},
        {"layer": 1, "experts": {"a": 0.99, "b": 0.01}},
    ]
    assert dead_experts(gates) == [{"layer": 1, "expert": "b"}]
