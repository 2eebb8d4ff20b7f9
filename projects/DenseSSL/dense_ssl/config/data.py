"""Keys of the data: the images, their views and their regions."""

from detectron2.config import CfgNode as CN


def add_data_config(cfg):
    """Add the keys of the images."""
    # Entries of DATASETS.TRAIN and DATASETS.TEST are names registered in detectron2, or paths:
    # "folder:IMAGES", or one of the forms for labelled data in docs/transfer.md.
    # Pre-training stops if more than this share of the images cannot be read.
    cfg.DATALOADER.MAX_BROKEN_SHARE = 0.02


def add_view_config(cfg):
    """Add the keys of the views of an image and of its regions."""
    # The views of a pre-training image. Every key below holds one entry per view; a single entry
    # serves all views. Order of operations: crop and resize, flip, jitter, grey, blur, solarise.
    views = cfg.INPUT.VIEWS = CN()
    # How many views are made of each image; the last ones are left out if no objective uses them.
    views.NUM = 2
    # Side of the square view, in pixels.
    views.SIZE = (224,)
    # "random": a random resized crop. "whole": the whole image, with its aspect ratio changed.
    # "same": the crop of the first view, with a flip and colours of its own (SCRL, appendix J).
    views.CROP = ("random",)
    # What happens to a random crop that is larger than the image along one axis. "torchvision": it
    # is drawn again, up to ten times, then the largest centred crop is taken; the code of MoCo v2,
    # DenseCL, SCRL and PixPro calls torchvision. "clamp": it is cut to the image, as in BYOL's JAX
    # code; crops are then larger (58 %, not 50 %, of 640 x 480 at a scale of 0.2 to 1).
    views.CROP_SAMPLER = ("torchvision",)
    # Area of the crop as a share of the image, uniform in this range.
    views.CROP_SCALE = ((0.08, 1.0),)
    # Width / height of the crop, log-uniform in this range.
    views.CROP_RATIO = ((3.0 / 4.0, 4.0 / 3.0),)
    # "bicubic" or "bilinear".
    views.INTERPOLATION = ("bicubic",)
    # Probability of a horizontal flip.
    views.FLIP_PROB = (0.5,)
    # Probability of colour jitter, and the largest change of each of its four operations.
    views.JITTER_PROB = (0.8,)
    views.BRIGHTNESS = (0.4,)
    views.CONTRAST = (0.4,)
    views.SATURATION = (0.2,)
    views.HUE = (0.1,)
    # Probability of dropping the colour.
    views.GRAY_PROB = (0.2,)
    # Probability of blur; "gaussian" with sigma uniform in BLUR_SIGMA pixels at size 224 (scaled
    # with SIZE), or "resize" (shrink by 1.1, 1.2 or 1.5 and enlarge, as SCRL's code does).
    views.BLUR_PROB = (1.0, 0.1)
    views.BLUR = ("gaussian",)
    views.BLUR_SIGMA = ((0.1, 2.0),)
    # Probability of solarisation, and the grey level from which values are inverted.
    views.SOLARIZE_PROB = (0.0, 0.2)
    views.SOLARIZE_THRESHOLD = (128,)
    # "exact": each operation as torchvision does it. "fast": the linear colour operations of a
    # view as one matrix, and antialias only where a side shrinks by 2 or more. docs/performance.md
    # compares their results and their speed.
    views.BACKEND = "fast"
    # The crops of an image are drawn again until every pair overlaps by more than this many view
    # pixels on each side, in the view of lower zoom; 0 accepts any pair of crops.
    views.MIN_OVERLAP = 0
    # After this many draws the last crops are used; objectives then skip the image.
    views.OVERLAP_TRIES = 10

    # The colours, the blur and the solarisation of the views are computed on the device of the
    # model, for a whole batch, instead of by the workers: for GPUs that wait for their data. The
    # parameters and what is drawn stay the same, and so do the views up to a few grey levels.
    cfg.INPUT.COLOR_ON_DEVICE = False

    # Regions of the images: "grid" (a method divides the image itself), "boxes" or "masks" of the
    # annotations (for analysis: pre-training reads annotations for nothing else), or "files": label
    # maps in FOLDER, PNG files of the images' names; 255 means no region.
    regions = cfg.INPUT.REGIONS = CN()
    regions.SOURCE = "grid"
    regions.FOLDER = ""
    # The pixels outside all boxes or masks are a region of their own.
    regions.BACKGROUND = True
    # A view has one region in each of R x R cells (except with "grid"); this is R.
    regions.RESOLUTION = 64
