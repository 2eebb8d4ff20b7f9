"""What the entries of DATASETS mean."""
