"""Progressive metrics: of scores given before training, over all rows and over a moving window, in bounded memory."""
