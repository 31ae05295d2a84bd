"""What a trained model can do: loss in bits per byte, DCLM's CORE tasks, lm-eval's harness."""
