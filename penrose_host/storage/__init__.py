"""The run directory, and files that a crash cannot tear."""
