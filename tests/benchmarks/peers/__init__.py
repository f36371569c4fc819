"""What the embedding benchmarks compare: one worker program per contender, and the parent's side of talking to it."""
