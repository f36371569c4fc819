"""What executors over tensors share, whatever framework they compute with: options, inputs, finding the user's code."""
