"""What the replicas of the ingress must agree on: rate limits and remembered dialogues."""
