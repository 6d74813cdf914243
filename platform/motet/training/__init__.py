"""The loop, its batches, checkpoints and model selection."""
