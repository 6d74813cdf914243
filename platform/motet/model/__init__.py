"""Item tower, user tower, experts, heads."""
