"""Looking into a learner's file while it runs: watch with keys, debugger, first NaN, gradients."""
