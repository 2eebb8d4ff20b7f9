#!/usr/bin/env bash
# From a folder of photos to a detector in use: environment, pre-training, fine-tuning on few labels,
# evaluation, predictions, features, export, and a comparison with random weights.
#
#   bash docs/examples/journey.sh PHOTOS TRAIN VAL TEST OUTPUT [KEY VALUE ...]
#
#   PHOTOS           a folder; nothing but the pixels is read
#   TRAIN, VAL, TEST entries of DATASETS with labels: VAL chooses the best detector, TEST measures it
#   OUTPUT           a folder; a second call goes on where the first one stopped
#   KEY VALUE ...    config keys of both stages
#
# Photos of blood cells, about 30 of them with labels (10 % of trainval):
#
#   bash docs/examples/journey.sh BCCD/JPEGImages voc:BCCD:train_15pct_seed0 voc:BCCD:val voc:BCCD:test out
#
# Lengths, from the environment: PRETRAIN_EPOCHS and FINETUNE_EPOCHS; without them those of the recipes.
# METHOD is that of configs/small/pretrain/300, SEEDS are the seeds of the comparison, PYTHON is one that
# has the packages; without it .venv is made.
set -euo pipefail

[ $# -ge 5 ] || { sed -n '2,20s/^# \{0,1\}//p' "$0"; exit 2; }
photos=$1 train=$2 val=$3 test=$4 output=$5
shift 5
opts=("$@")
cd "$(dirname "$0")/../.."
pretrain=configs/small/pretrain/300/${METHOD:-scrl}.yaml
finetune=configs/small/finetune/30/faster_rcnn_R_18_FPN.yaml
pretrain_opts=(${PRETRAIN_EPOCHS:+SOLVER.EPOCHS "$PRETRAIN_EPOCHS"})
finetune_opts=(${FINETUNE_EPOCHS:+SOLVER.EPOCHS "$FINETUNE_EPOCHS"})

step() { printf '\n== %s\n' "$*"; }

if [ -z "${PYTHON:-}" ]; then
    step "environment (.venv)"
    make .venv/.ready
    .venv/bin/uv pip install --quiet --python .venv/bin/python onnx onnxruntime
    PYTHON=.venv/bin/python
fi

if ! "$PYTHON" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    # as docs/small_data.md says for a CPU
    pretrain_opts=(INPUT.VIEWS.SIZE "(64,)" MODEL.FPN.OUT_CHANNELS 64 DATALOADER.NUM_WORKERS 0
                   "${pretrain_opts[@]}")
    finetune_opts=(INPUT.MIN_SIZE_TRAIN "(224, 256)" INPUT.MIN_SIZE_TEST 256
                   MODEL.FPN.OUT_CHANNELS 64 MODEL.ROI_BOX_HEAD.FC_DIM 256
                   DATALOADER.NUM_WORKERS 0 "${finetune_opts[@]}")
fi

step "pre-training without labels"
[ -f "$output/pretraining/model_final.pth" ] || "$PYTHON" train_net.py --config-file "$pretrain" --resume \
    DATASETS.TRAIN "folder:$photos" OUTPUT_DIR "$output/pretraining" "${pretrain_opts[@]}" "${opts[@]}"

step "fine-tuning on the labels"
[ -f "$output/detector/model_final.pth" ] || "$PYTHON" train_net.py --config-file "$finetune" --resume \
    DATASETS.TRAIN "$train" DATASETS.TEST "$val" MODEL.WEIGHTS "$output/pretraining/backbone.pkl" \
    OUTPUT_DIR "$output/detector" "${finetune_opts[@]}" "${opts[@]}"

step "evaluation on images that chose nothing"
"$PYTHON" train_net.py --config-file "$finetune" --eval-only \
    DATASETS.TRAIN "$train" DATASETS.TEST "$test" MODEL.WEIGHTS "$output/detector/model_best.pth" \
    OUTPUT_DIR "$output/test" "${finetune_opts[@]}" "${opts[@]}"

step "predictions"
"$PYTHON" tools/predict.py --weights "$output/detector/model_best.pth" --input "$photos" \
    --output "$output/predictions"

step "features, and the nearest photos"
"$PYTHON" tools/embed.py --weights "$output/pretraining" --input "$photos" --output "$output/features" \
    --neighbours 6

step "export, each compared with the model on the photos"
formats=torchscript
if "$PYTHON" -c 'import onnx, onnxruntime' 2> /dev/null; then formats+=" onnx"; fi
for format in $formats; do
    "$PYTHON" tools/export.py --weights "$output/pretraining" --format "$format" --images "$photos" \
        --output "$output/exported/$format"
done
"$PYTHON" tools/export.py --weights "$output/detector" --format torchscript --images "$photos" \
    --output "$output/exported/detector"

step "comparison with random weights"
"$PYTHON" tools/compare.py --backbones random "pretrained=$output/pretraining/backbone.pkl" \
    --protocols "$finetune" --seeds ${SEEDS:-1 2 3} --output "$output/comparison" -- \
    DATASETS.TRAIN "$train" DATASETS.TEST "$test" "${finetune_opts[@]}" "${opts[@]}"

step "done: $output"
