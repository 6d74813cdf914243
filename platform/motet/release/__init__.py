"""The bundle: write, verify, publish, load, roll back."""
