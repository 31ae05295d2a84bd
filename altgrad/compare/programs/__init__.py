"""Arms that are other people's programs: made, run, and how fair that can be called."""
