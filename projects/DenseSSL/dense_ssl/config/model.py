"""Keys of all models: memory format, weights, what objectives have in common, segmentation."""

from detectron2.config import CfgNode as CN


def add_model_config(cfg):
    """All models, and all pre-training."""
    # Run convolutions in channels-last memory format.
    cfg.MODEL.CHANNELS_LAST = False
    # Freeze the whole backbone: fine-tune the FPN and the heads only.
    cfg.MODEL.FREEZE_BACKBONE = False
    # A pre-trained pyramid with norms, loaded into a detector: if the gains of its levels (the mean
    # size of a norm's weights) differ by more than this factor, each level is divided by its own,
    # because RPN and heads are shared by all levels. 0: never.
    cfg.MODEL.FPN.MAX_GAIN_RATIO = 1.2
    # Batch norm statistics of a frozen backbone, which stay as they are during training.
    # "estimate": those of the labelled training images, from TEST.PRECISE_BN.NUM_ITER batches
    # before the first step. It suits every backbone, also a randomly initialised one, which has
    # no statistics yet; SCRL's evaluation of frozen backbones starts them anew as well. "keep":
    # those in MODEL.WEIGHTS, as detectron2 freezes by FREEZE_AT and FrozenBN. LC-loss, the paper
    # with frozen detectors (Table 4), does not say. Compare backbones with the same value only.
    cfg.MODEL.FROZEN_NORM_STATS = "estimate"
    # Refuse weights whose colour order, pixel mean or std, stride placement or normalisation differ
    # from this config, or of which nothing fits the backbone.
    cfg.MODEL.CHECK_WEIGHTS = True
    # Let a weights file run code while it is read. False: only tensors and plain values are read.
    cfg.MODEL.TRUST_WEIGHTS = False

    ssl = cfg.MODEL.SSL = CN()
    # For META_ARCHITECTURE "MultiObjective": names in the OBJECTIVE registry, each with the feature
    # map it works on or its own ("SCRLObjective@p3"), and their weights (one each; empty: all 1; an
    # objective of weight 0 is not built).
    ssl.OBJECTIVES = ()
    ssl.OBJECTIVE_WEIGHTS = ()
    # Normalisation layers of projection and prediction heads.
    ssl.HEAD_NORM = "SyncBN"
    # Run all views of the same size as one batch, in the backbone and in the heads (batch norm sees
    # all of them), instead of one after the other.
    ssl.CONCATENATE_VIEWS = False
    # Keep only the input of each residual block of the online backbone, and compute the block again
    # in the backward pass: less memory, a longer step. For detectron2's ResNets.
    ssl.CHECKPOINT_ACTIVATIONS = False
    # "float32", or "bfloat16": products of queries and many candidates in contrastive losses, on
    # GPUs that compute in it (Ampere and later); sums stay in float32. Faster, and the losses are
    # as coarse as the features of mixed precision.
    ssl.LOSS_PRODUCTS = "float32"
    # Shuffle the images over all processes for the target encoder (MoCo's shuffled BN). For "BN",
    # which each process computes for itself; "SyncBN" needs no shuffling.
    ssl.SHUFFLE_TARGET = False
    # Momentum of the target network: from BASE to 1 by a cosine over the run, or "constant".
    ssl.MOMENTUM = CN()
    ssl.MOMENTUM.BASE = 0.996
    ssl.MOMENTUM.SCHEDULE = "cosine"
    # When the features of all images have become the same for 200 iterations: "warn" or "stop".
    ssl.ON_COLLAPSE = "warn"
    # A run warns at its end if half of the stages of the backbone have turned by less than this
    # many degrees from their start, or if the weights of half of them have grown by more than this
    # factor; 0 for either: no warning. Of 900 steps of SCRL with a ResNet-18, those with SGD at 0.1
    # turned most layers by 2 to 10 degrees and hardly helped a detector, those with LARS at 1.0 all
    # by 10, and those with LARS at 4.0 by 37, with weights 1.25 times as long, and did harm.
    ssl.MIN_ANGLE = 5.0
    ssl.MAX_GROWTH = 1.2


def add_segmentation_config(cfg):
    """Semantic segmentation."""
    # Semantic segmentation. Training images are resized by a factor drawn from this range; empty:
    # INPUT.MIN_SIZE_TRAIN. With INPUT.CROP they are cropped then; crops of TYPE "absolute" are
    # padded to their SIZE.
    cfg.INPUT.SCALE_RANGE = ()
    # A crop in which one class covers more than this share is drawn again, up to 10 times.
    cfg.INPUT.CROP.SINGLE_CATEGORY_MAX_AREA = 1.0
    # Brightness, contrast, saturation and hue change as in SSD.
    cfg.INPUT.COLOR_AUG_SSD = False

    # MODEL.BACKBONE.NAME "build_dilated_resnet_backbone": beside RES5_DILATION, that of res4.
    cfg.MODEL.RESNETS.RES4_DILATION = 1
    # The convolutions before the place of a stride keep the dilation of the stage before.
    cfg.MODEL.RESNETS.CONTRACT_DILATION = False

    # MODEL.SEM_SEG_HEAD.NAME "FCNHead", on the one map of IN_FEATURES: the 3x3 convolutions (of
    # CONVS_DIM channels) and their dilation.
    fcn = cfg.MODEL.SEM_SEG_HEAD.FCN = CN()
    fcn.NUM_CONVS = 2
    fcn.DILATION = 6
    # One more convolution, on the input joined to the output of the others.
    fcn.CONCAT_INPUT = False
    # Share of channels dropped before the classifier.
    fcn.DROPOUT = 0.0
    # Cells of the map are points (of strided convolutions) or, False, areas (of patches).
    fcn.ALIGN_CORNERS = True
    # A second head in training, of one convolution, on this map; empty: none.
    fcn.AUX_IN_FEATURE = ""
    fcn.AUX_CONVS_DIM = 256
    fcn.AUX_LOSS_WEIGHT = 0.4
    # The loss is the mean over the pixels with a label ("valid"), as usual in PyTorch, or their sum
    # divided by all pixels of the batch ("all"), as in mmsegmentation: where a fifth of a crop has
    # no label, its gradients are a fifth smaller.
    fcn.LOSS_MEAN_OVER = "valid"

    # META_ARCHITECTURE "WindowSegmentor": test images in windows of SIZE (height, width), STRIDE
    # (down, across) apart, in pixels of the resized image; the logits of windows that overlap are
    # averaged. Empty: the whole image at once.
    window = cfg.TEST.WINDOW = CN()
    window.SIZE = ()
    window.STRIDE = ()


def add_classifier_config(cfg):
    """META_ARCHITECTURE "ImageClassifier": linear layers on a frozen backbone."""
    node = cfg.MODEL.IMAGE_CLASSIFIER = CN()
    # The feature maps, one for each linear layer; they learn side by side. "stem" is conv1 of a
    # ResNet (after its max pooling).
    node.IN_FEATURES = ("res5",)
    # A map is averaged to a grid with this side, one for each map or one for all: 1 is global
    # average pooling (MoCo, BYOL), 0 takes all cells ("unpool", DUPR Table 4).
    node.GRIDS = (1,)
    # A norm, without weight and bias of its own, before the layer; empty: none. Where all cells are
    # taken there is none.
    node.NORM = ""
    # Set to the number of classes of the data.
    node.NUM_CLASSES = 1000
    # Share of the area of a training image that its random crop has, and the filter of resizing.
    cfg.INPUT.CLASSIFY = CN()
    cfg.INPUT.CLASSIFY.CROP_AREA = (0.08, 1.0)
    cfg.INPUT.CLASSIFY.INTERPOLATION = "bilinear"
