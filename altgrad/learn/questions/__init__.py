"""Twelve questions about this architecture, each with a short answer and an experiment."""
