"""The three stages of the graph; each knows nothing of the others, of HTTP or of dialogue."""
