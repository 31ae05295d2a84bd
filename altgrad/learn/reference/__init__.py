"""Finished single-file models: what a learner's file is measured against."""
