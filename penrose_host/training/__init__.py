"""A run: its roles, drivers, session and model."""
