"""The dialogue ingress and everything that speaks HTTP."""
