#!/usr/bin/env bash
# How refiner.safetensors was trained (see NOTICE); twenty minutes on two cores.
#
# Usage: bash rebuild_refiner.sh CLIPS OUT
#
# CLIPS holds the clips named below, with a MANIFEST.tsv (see `mggtalk prepare --help`), OUT will
# hold the examples and the weights.
set -euo pipefail
clips=$1 out=$2

mkdir -p "$out"
# Nobody of these is held out: whether it helps was measured on other people.
echo 'held_out = 0.0' >"$out/refiner.toml"

mggtalk prepare "$clips"/obama_0[123].mp4 "$clips"/grid_[bcdeghi]_0?.mp4 "$clips"/grid_s1/bb*.mp4 \
  --pieces 10 -o "$out/filmed"
mggtalk synth 168 --seed 1 -o "$out/drawn"
mggtalk train refiner "$out/filmed" "$out/drawn" --only-ship --recipe "$out/refiner.toml" \
  -o "$out/refiner.safetensors"
