"""Arms that are other people's programs: made of words, run, and how fair that can be called."""
