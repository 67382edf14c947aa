#!/usr/bin/env bash
# What a change is worth: measure a clip, measure it again, compare the reports (exit 3 = worse).
#
# Usage: [FRAMES=25] bash 06_evaluate.sh [PHOTO] [SPEECH]
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"

# A clip to measure; use clips of people instead.
mkdir -p clips
mggtalk animate "${1:-$here/portrait.png}" --audio "${2:-$here/speech.wav}" --size 256 \
    -o clips/talk_01.mp4 --overwrite

mggtalk evaluate reenact clips --frames "${FRAMES:-25}" -o before
# ... change the program ...
mggtalk evaluate reenact clips --frames "${FRAMES:-25}" -o after
mggtalk evaluate compare before after --margin head_db=0.05

# Frames of another program stand beside ours: here the clip itself, which nobody can beat.
mggtalk evaluate reenact clips --frames "${FRAMES:-25}" --method perfect=clips -o peers
