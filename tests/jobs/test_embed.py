"""embed: nothing twice, one change one row, the same vectors however they are batched, any model."""

import numpy as np
import pyarrow as pa
import pytest
import ray

from jobs.embed import _texts as texts_of
from jobs.embed import embed, load_vectors
from jobs.prepare import prepare
from jobs.stages import Run, claim_workspace
from motet.data.parquet import write_parquet
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


def test_the_texts_of_one_file_are_divided_among_actors_and_none_is_lost(tmp_path):
    titles = [f"title {place}" if place % 7 else None for place in range(5_000)]
    write_parquet(tmp_path / "items" / "items.parquet", pa.table({"place": range(5_000), "text": titles}))
    write_parquet(tmp_path / "users" / "shard-00000.parquet", pa.table({"user": ["u1"], "text": ["she"]}))
    blocks = [block for refs in texts_of(tmp_path).iter_internal_ref_bundles() for block in ray.get(refs.block_refs)]
    assert max(block.num_rows for block in blocks) <= 1024
    assert len(blocks) == 6
    rows = sorted((row["kind"], row["key"], row["text"]) for block in blocks for row in block.to_pylist())
    expected = [("items", str(place), title or "") for place, title in enumerate(titles)] + [("users", "u1", "she")]
    assert rows == sorted(expected)


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
