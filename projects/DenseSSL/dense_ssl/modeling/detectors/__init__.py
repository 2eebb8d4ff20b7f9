"""What detectors need beside detectron2's parts."""
