"""Argument parsing by group of commands: the arguments of one -> one call further down."""
