"""The pipeline from Python: a photo blinks and speaks, frame by frame.

Usage: python 04_python.py [PHOTO] [SPEECH]

Every stage is lazy: `video.frames` pulls one frame at a time through all of them.
"""

import sys
from pathlib import Path

from mggtalk_cli import driver, pipeline
from mggtalk_cli.core.encode import frame_writer
from mggtalk_cli.core.image import read_photo

HERE = Path(__file__).parent


def main(photo: str, speech: str) -> None:
    head = pipeline.build_head(read_photo(photo), pipeline.BuildOptions(size=256))
    print("sheets of points:", head.meta["sheets"], head.arrays["positions"].shape)

    talk = driver.drive_audio(speech, style=pipeline.SpeechStyle(seed=1))
    video = pipeline.animate(head, talk, options=pipeline.RenderOptions(yaw_deg=10))
    with frame_writer(
        "talk.mp4",
        video.width,
        video.height,
        video.fps,
        audio_rate=video.audio_rate,
        audio_channels=video.audio_channels or 1,
        overwrite=True,
    ) as writer:
        for frame in video.frames:
            writer.write(frame.image, frame.audio)
    print("frames written:", writer.frames)


if __name__ == "__main__":
    defaults = [str(HERE / "portrait.png"), str(HERE / "speech.wav")]
    main(*(sys.argv[1:] + defaults[len(sys.argv) - 1 :]))
