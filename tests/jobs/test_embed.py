"""embed: nothing twice, one change one row, the same vectors however they are batched, any model."""

import numpy as np
import pytest

from jobs.embed import embed, load_vectors
from jobs.prepare import prepare
from jobs.stages import Run, claim_workspace
from motet.encoders.text import TextEncoder
from motet.recipe_file import load_recipe
from tests.synthetic import items, write_csv, write_shop

pytestmark = pytest.mark.usefixtures("ray_here")


def run_embed(file, *overrides):
    run = Run(load_recipe(file, list(overrides)))
    claim_workspace(run)
    return embed(run, prepare(run))


def by_key(folder):
    keys, vectors = load_vectors(folder / "items")
    return vectors[np.argsort([int(key) for key in keys])]


@pytest.mark.slow
def test_a_second_run_embeds_nothing_and_a_changed_title_one_row(tmp_path, minilm):
    """30 titles and 3 texts of users ('gender: M', 'gender: F'): 32 different texts."""
    file = write_shop(tmp_path, minilm)
    assert run_embed(file).summary["embedded"] == 32
    again = run_embed(file, "encoder.whitening_shrinkage=0.2")
    assert again.summary["embedded"] == 0
    changed = items()
    changed[4]["title"] = "Something else altogether"
    write_csv(tmp_path / "items.csv", changed)
    assert run_embed(file).summary["embedded"] == 1


@pytest.mark.slow
def test_vectors_are_those_of_the_encoder(shop):
    run, results, _ = shop
    ordered = sorted(items(), key=lambda row: row["item_id"])
    texts = [f"title: {row['title']}; genres: {row['genres']}" for row in ordered]
    expected = TextEncoder(run.recipe.encoder).encode(texts)
    np.testing.assert_allclose(by_key(results["embed"].folder), expected, atol=1e-5)


@pytest.mark.slow
def test_batches_and_actors_do_not_change_the_vectors(tmp_path, minilm, shop):
    _, results, _ = shop
    file = write_shop(tmp_path, minilm)
    other = run_embed(file, "encoder.batch_size=7", "encoder.actors=2")
    assert other.summary["embedded"] >= 32
    np.testing.assert_allclose(by_key(other.folder), by_key(results["embed"].folder), atol=1e-5)


@pytest.mark.slow
def test_a_decoder_model_works_with_last_token_pooling(tmp_path, minilm):
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(minilm)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2
    )
    model = tmp_path / "decoder"
    transformers.LlamaModel(config).save_pretrained(model)
    tokenizer.save_pretrained(model)
    result = run_embed(write_shop(tmp_path, model), "encoder.pooling=last")
    assert result.summary["dim"] == 32
    assert np.allclose(np.linalg.norm(by_key(result.folder), axis=1), 1, atol=1e-5)
