"""Files that a crash cannot tear, and the run directory."""
