"""Messages of torch that are left out."""

import logging
import warnings


def hold_back_torch():
    """Leave out what torch says of detectron2's calls, which a user can do nothing about."""
    # that there is nvcc but no GPU, where detectron2 describes the environment
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    logging.getLogger("torch.fx._symbolic_trace").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", "torch.meshgrid", UserWarning)
