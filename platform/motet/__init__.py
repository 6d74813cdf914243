"""Motet: multi-task recommenders. WHAT is computed; jobs/ and serve/ say HOW it runs on Ray.

Nothing in this package imports ray. A room uses only the rooms named above it in
docs/DESIGN.md, and import-linter keeps it so.
"""

__version__ = "0.1.0"
