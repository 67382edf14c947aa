#!/usr/bin/env bash
# One head from three sides as pictures, and turning before a coloured wall.
#
# Usage: [SIZE=256] bash 03_views.sh [PHOTO]
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"

mggtalk build-head "${1:-$here/portrait.png}" --size "${SIZE:-256}" \
    -o head.npz --ply head.ply --overwrite
for yaw in -30 0 30; do
    mggtalk render head.npz --yaw "$yaw" -o "view_${yaw}_%d.png" --overwrite
done
mggtalk render head.npz --turntable -o - |
    mggtalk inpaint - --background steelblue -o turntable.mp4 --overwrite
