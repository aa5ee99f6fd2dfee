"""Images and the bias in them: sources, biases, corruptions, synthesis, and the check of a finished data set."""
