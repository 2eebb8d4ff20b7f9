"""Results of many runs: comparisons of backbones, costs of protocols."""
