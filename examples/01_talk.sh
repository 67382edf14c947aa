#!/usr/bin/env bash
# Photo + speech -> film, in one command.
#
# Usage: [SIZE=512] bash 01_talk.sh [PHOTO] [SPEECH] [FILM]
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
photo="${1:-$here/portrait.png}"
speech="${2:-$here/speech.wav}"

mggtalk animate "$photo" --audio "$speech" --size "${SIZE:-512}" \
    -o "${3:-talk.mp4}" --overwrite
