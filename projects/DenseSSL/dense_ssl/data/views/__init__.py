"""Views of images for pre-training."""
