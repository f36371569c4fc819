"""Embedding tables of the host: `hashing`, and the pieces that other backends may share with it."""
