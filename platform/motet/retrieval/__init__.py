"""Candidates: FAISS, collaborative filtering, popularity, profiles; fusion and filters."""
