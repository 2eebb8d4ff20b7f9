"""Parts of detectors that detectron2 does not have."""
