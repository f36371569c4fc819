"""What an export is: a SavedModel of stock operations, and the signature that says what it takes."""
