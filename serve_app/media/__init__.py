"""Audio at the border: containers in, samples inside, containers out."""
