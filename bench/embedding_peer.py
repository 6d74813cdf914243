"""sentence-transformers over the lines of stdin, on one thread: `embedding_peer.py MODEL TOKENS` prints the seconds."""

import sys
import time

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Pooling, Transformer


def main(model: str, tokens: int, texts: list[str]) -> float:
    """Return the seconds of `encode`, after a first text."""
    torch.set_num_threads(1)
    words = Transformer(model, max_seq_length=tokens)
    encoder = SentenceTransformer(modules=[words, Pooling(words.get_word_embedding_dimension())], device="cpu")
    encoder.encode(texts[:1], normalize_embeddings=True)
    start = time.perf_counter()
    vectors = encoder.encode(texts, batch_size=64, normalize_embeddings=True, show_progress_bar=False)
    assert len(vectors) == len(texts)
    return time.perf_counter() - start


if __name__ == "__main__":
    print(main(sys.argv[1], int(sys.argv[2]), sys.stdin.read().splitlines()))
