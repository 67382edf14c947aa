"""The `mggtalk` command line: registers the subcommands, turns failures into one line each.

Exit codes: 0 done, 1 cannot do it, 2 wrong usage, 130 interrupted, 141 the reader has gone.
"""

from __future__ import annotations

import errno
import logging
import os
import signal
import sys
import traceback
import warnings
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from mggtalk_cli import __version__
from mggtalk_cli.cli import (
    animate,
    bench,
    build_head,
    deform,
    doctor,
    drive,
    evaluate,
    inpaint,
    inspect,
    prepare,
    render,
    synth,
    train,
)
from mggtalk_cli.cli.progress import Reporter, stop_with
from mggtalk_cli.errors import MggTalkError

EXIT_FAILED, EXIT_INTERRUPTED, EXIT_TERMINATED, EXIT_PIPE = 1, 130, 143, 141

app = typer.Typer(
    name="mggtalk",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    epilog="Example: mggtalk animate portrait.jpg --audio speech.wav -o talk.mp4",
)


class Command(TyperCommand):
    """A subcommand with a `Reporter` in `ctx.obj`, whose failures become one line."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command.

        Raises:
            typer.Exit: It failed; the reason has been printed.
        """
        debug = bool(ctx.params.get("debug") or ctx.find_root().params.get("debug"))
        ctx.obj = report = Reporter(
            str(ctx.info_name),
            quiet=bool(ctx.params.get("quiet")),
            log_json=bool(ctx.params.get("log_json")),
            debug=debug,
        )
        try:
            with report:
                return super().invoke(ctx)
        except (typer.Exit, typer.BadParameter):
            raise
        except (Exception, KeyboardInterrupt) as error:
            if debug:
                traceback.print_exc()
            message, code = explain(error)
            if code == EXIT_PIPE:
                _drop_stdout()
            else:
                report.fail(message, code)
            raise typer.Exit(code) from None


def explain(error: BaseException) -> tuple[str, int]:
    """Return one line for the user and the exit code."""
    if isinstance(error, MggTalkError):
        return str(error), EXIT_FAILED
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", EXIT_INTERRUPTED
    if isinstance(error, BrokenPipeError):
        return "the reader of the output has gone", EXIT_PIPE
    if isinstance(error, MemoryError):
        return "out of memory: use a smaller --size or close other programs", EXIT_FAILED
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"no space left on the disk{_named(error)}: free some or change -o", EXIT_FAILED
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"not allowed{_named(error)}: {error.strerror}; check permissions", EXIT_FAILED
    kind = type(error).__name__
    return f"unexpected {kind}: {error} (run with --debug for the traceback)", EXIT_FAILED


def _named(error: OSError) -> str:
    return f" ({error.filename})" if error.filename else ""


def _drop_stdout() -> None:
    """Let the interpreter flush stdout at exit without a second complaint."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):  # Not a real file, as under a test runner.
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"mggtalk {__version__}")
        raise typer.Exit


@app.callback()
def mggtalk(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print it."),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
) -> None:
    """One photo to a 3D Gaussian talking head, driven by speech or video, on any CPU."""


# Name, function, and the example that ends its help.
COMMANDS = (
    ("build-head", build_head.build_head, "mggtalk build-head portrait.jpg -o head.npz"),
    ("drive", drive.drive, "mggtalk drive speech.wav -o motion.npz"),
    ("deform", deform.deform, "mggtalk deform head.npz --motion motion.npz -o points.npz"),
    ("render", render.render, "mggtalk render points.npz --yaw 20 -o frames.npz"),
    ("inpaint", inpaint.inpaint, "mggtalk inpaint frames.npz -o talk.mp4"),
    ("animate", animate.animate, "mggtalk animate portrait.jpg --audio speech.wav -o talk.mp4"),
    ("inspect", inspect.inspect, "mggtalk inspect head.npz --sheet sheet.png"),
    ("prepare", prepare.prepare, "mggtalk prepare clips/ -o examples/"),
    ("synth", synth.synth, "mggtalk synth 100 -o examples/"),
    ("doctor", doctor.doctor, "mggtalk doctor --json"),
)

for _name, _function, _example in COMMANDS:
    app.command(_name, cls=Command, epilog=f"Example: {_example}", no_args_is_help=False)(_function)

# Name of a group, its commands, what it is for, and the example that ends its help.
GROUPS = (
    ("evaluate", evaluate.COMMANDS, "Measure heads, motion and views in numbers.",
     "mggtalk evaluate reenact clips/"),
    ("train", train.COMMANDS, "Make weights from clips of people who talk.",
     "mggtalk train audio clips/ -o mouth.safetensors"),
    ("bench", bench.COMMANDS, "Measure the speed of this machine.", "mggtalk bench pipeline"),
)  # fmt: skip

for _group, _commands, _help, _example in GROUPS:
    _typer = typer.Typer(no_args_is_help=True, help=_help)
    for _name, _measure, _command_example in _commands:
        _typer.command(_name, cls=Command, epilog=f"Example: {_command_example}")(_measure)
    app.add_typer(_typer, name=_group, epilog=f"Example: {_example}")


def _mute_native_libraries() -> None:
    """Keep stderr for Python: compiled libraries (TFLite, FFmpeg) write notes to descriptor 2."""
    try:
        ours = os.dup(2)
        sys.stderr = os.fdopen(ours, "w", buffering=1, encoding=sys.stderr.encoding)
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 2)
        os.close(nothing)
    except OSError:  # stderr is closed: nobody is listening anyway.
        return


def main() -> None:
    """Run the command line and exit with its code."""
    # Children of a shell pipe get SIGTERM too: unwind, so that temporary files are removed.
    signal.signal(signal.SIGTERM, lambda *_: stop_with(SystemExit(EXIT_TERMINATED)))
    signal.signal(signal.SIGINT, lambda *_: stop_with(KeyboardInterrupt()))
    # Waiting threads that spin cost other processes (the rest of a pipe) most of their time.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if "--debug" not in sys.argv:
        # Other libraries' notes are not for users; ours come through the reporter.
        warnings.simplefilter("ignore")
        sys.unraisablehook = lambda _: None
        logging.getLogger().addHandler(logging.NullHandler())
        _mute_native_libraries()
    try:
        app(prog_name="mggtalk")
    except SystemExit as done:
        if done.code == EXIT_INTERRUPTED:
            # Where the interrupt passed through C code, Python would end as killed by a signal.
            sys.stderr.flush()
            os._exit(EXIT_INTERRUPTED)
        raise
