"""Environments that come with the host; they are registered like everyone else's."""
