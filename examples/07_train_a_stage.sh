#!/usr/bin/env bash
# Clips -> examples -> a trained stage (mouth and eyes) -> a film made with it.
#
# Usage: [STEPS=300] [FRAMES=50] bash 07_train_a_stage.sh [PHOTO] [SPEECH] [CLIP...]
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
photo="${1:-$here/portrait.png}"
speech="${2:-$here/speech.wav}"

clips=("${@:3}")
if [ "${#clips[@]}" -eq 0 ]; then # to have one; there is more to learn from clips of people
    mkdir -p clips
    mggtalk animate "$photo" --audio "$speech" --size 256 -o clips/talk_01.mp4 --overwrite
    clips=(clips)
fi

# Heads, motion and true frames, once; a second run takes what is there.
mggtalk prepare "${clips[@]}" -o examples --frames "${FRAMES:-50}"

# The card mouth.md says what changed for people it never saw; mouth.train/ holds log and pictures.
mggtalk train mouth examples -o mouth.safetensors --steps "${STEPS:-300}" --overwrite
mggtalk inspect mouth.safetensors

mggtalk animate "$photo" --audio "$speech" --size "${SIZE:-512}" \
    --variant mouth=mouth.safetensors -o talk.mp4 --overwrite
