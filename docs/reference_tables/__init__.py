"""What the reference pages show of the code, a file a kind of thing."""
