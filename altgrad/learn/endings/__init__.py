"""What a finished file of a track without a model is used for: one module per track."""
