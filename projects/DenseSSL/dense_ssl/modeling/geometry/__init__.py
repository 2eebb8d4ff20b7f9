"""Boxes, regions, points and cells of views, and random numbers by seed."""
