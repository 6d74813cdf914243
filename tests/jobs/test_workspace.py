"""Whose a workspace on a store is, and what is refused before anything runs."""

import pytest

from jobs import stages
from jobs.stages import Run, claim_workspace
from motet.errors import RecipeError
from motet.lease import LEASES, Lease
from motet.mirror import at_hand
from motet.recipe_file import load_recipe
from motet.storage import read_json
from tests.synthetic import recipe, write_recipe


@pytest.fixture
def run_of(tmp_path, encoder_folder, store, monkeypatch):
    """Returns a run over the shop whose workspace is on the store."""
    monkeypatch.setattr(stages, "_locks", {})

    def make(**changes) -> Run:
        made = recipe(
            tmp_path, encoder_folder, **{"workspace": store, "serve": {"events": {"store": "none"}}, **changes}
        )
        return Run(load_recipe(write_recipe(tmp_path / "shop.yaml", made)))

    return make


def test_it_is_one_recipes(run_of):
    run = run_of()
    claim_workspace(run)
    claim_workspace(run)
    assert read_json(at_hand(run.workspace / "workspace.json")) == {"recipe": "shop"}
    with pytest.raises(RecipeError, match="was written by recipe 'shop', this is 'other'"):
        claim_workspace(run_of(name="other"))


def test_events_in_segments_need_a_folder(run_of, tmp_path):
    with pytest.raises(RecipeError, match=r"shop.yaml:\d+.*appends to files.*set serve.events.path to a folder"):
        claim_workspace(run_of(serve={"events": {"store": "segments"}}))
    claim_workspace(run_of(serve={"events": {"path": str(tmp_path / "events")}}))


def test_a_run_on_another_machine_is_waited_for(run_of, store, machine):
    there = machine("another")
    lease = Lease(there / LEASES / "run")
    assert lease.take()
    machine("this")
    with pytest.raises(RecipeError, match="is being written by another run; wait for it"):
        claim_workspace(run_of())
    lease.give_back()
    claim_workspace(run_of())


@pytest.mark.parametrize(
    ("address", "said"), [("gs://bucket/w", "or s3://bucket/key"), ("s3://a:b@bucket/w", "AWS_SECRET_ACCESS_KEY")]
)
def test_another_address_is_refused_with_its_line(run_of, address, said):
    with pytest.raises(RecipeError, match=rf"shop.yaml:2.*{said}"):
        claim_workspace(run_of(workspace=address))
