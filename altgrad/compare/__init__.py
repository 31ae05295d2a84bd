"""Several runs -> a verdict: what can be concluded from arms against a control, no more."""
