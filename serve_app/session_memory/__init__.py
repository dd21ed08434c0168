"""Remembered dialogues outside the graph: shared by all ingress replicas, and there after a restart."""
