"""Feature maps as rows of cells."""


def rows_of_cells(feature_map):
    """(N, C, H, W) -> (N, H * W, C), the cells row by row."""
    return feature_map.flatten(2).transpose(1, 2)
