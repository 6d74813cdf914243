"""Text to vectors: language models, pooling, whitening, a cache by content."""
