"""Argument parsing by group of commands: words of one command -> one call further down."""
