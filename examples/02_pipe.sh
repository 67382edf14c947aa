#!/usr/bin/env bash
# The stages as four programs: the first frame leaves the last one before the last frame enters
# the second, and memory does not grow with the length of the speech.
#
# Usage: [SIZE=512] bash 02_pipe.sh [PHOTO] [SPEECH] [FILM]
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
photo="${1:-$here/portrait.png}"
speech="${2:-$here/speech.wav}"

mggtalk build-head "$photo" --size "${SIZE:-512}" -o - |
    mggtalk deform - --audio "$speech" -o - |
    mggtalk render - -o - |
    mggtalk inpaint - -o "${3:-talk.mp4}" --overwrite
