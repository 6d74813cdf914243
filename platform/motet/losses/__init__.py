"""Masked task losses, softmax over the catalogue, balancing."""
