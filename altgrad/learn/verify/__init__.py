"""Prove a configuration's network, precision and optimiser sound before trusting a run to them."""
