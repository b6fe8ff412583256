"""``deepseek-runtime``: what runs in the engine pod, and makes what it needs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from deepseek_runtime.failure import Failure, Reason

_RAW = argparse.RawDescriptionHelpFormatter


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = _parser().parse_args(arguments)
    run: int = options.run(options)
    return run


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="deepseek-runtime", description="The engine pod of deepseek-operator.")
    commands = parser.add_subparsers(required=True, metavar="command")
    _serve_options(commands)
    _tiny_options(commands)
    _reference_options(commands)
    return parser


def _serve_options(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    serve = commands.add_parser(
        "serve",
        help="run the engine that a launch spec describes",
        description="Fetch and check the weights, start vLLM, check its logits, meter it, and drain it on SIGTERM.\n"
        "The OpenAI API is on the spec's port; /livez, /readyz and /metrics are on its metrics_port.\n"
        "price.json is read from the directory of the launch spec.",
        epilog="example:\n  deepseek-runtime serve --launchspec /etc/deepseek/launchspec.json\n\n"
        "exit codes:\n" + "".join(f"  {item.exit_code:>2}  {item.text}\n" for item in Reason),
        formatter_class=_RAW,
    )
    serve.add_argument("--launchspec", type=Path, required=True, metavar="FILE", help="JSON written by the operator")
    serve.set_defaults(run=_serve)


def _tiny_options(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    tiny = commands.add_parser(
        "tiny-checkpoint",
        help="make a small DeepSeek-V3-architecture checkpoint, without a download",
        description="38 M random parameters, 75 MB: latent attention, routed and shared experts,\n"
        "and DeepSeek's own tokenizer. "
        "Needs torch and transformers; takes about ten seconds.",
        epilog="example:\n  deepseek-runtime tiny-checkpoint /var/lib/models/deepseek-tiny",
        formatter_class=_RAW,
    )
    tiny.add_argument("directory", type=Path, metavar="DIR")
    tiny.add_argument("--seed", type=int, default=0, help="same seed, same weights (default: %(default)s)")
    tiny.set_defaults(run=_tiny_checkpoint)


def _reference_options(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    reference = commands.add_parser(
        "reference",
        help="store what a checkpoint's logits should be, beside it",
        description="Run a stored prompt through transformers in float32 and write reference.json into DIR.\n"
        "An engine on this checkpoint is ready only when its logprobs agree. Needs memory for the weights in float32.",
        epilog="example:\n  deepseek-runtime reference /var/lib/models/deepseek-v2-lite",
        formatter_class=_RAW,
    )
    reference.add_argument("directory", type=Path, metavar="DIR")
    reference.set_defaults(run=_reference)


def _serve(options: argparse.Namespace) -> int:
    from deepseek_runtime.launch import serve  # noqa: PLC0415

    return serve(options.launchspec)


def _tiny_checkpoint(options: argparse.Namespace) -> int:
    from deepseek_runtime import tiny_checkpoint  # noqa: PLC0415

    return _made(lambda: tiny_checkpoint.write(options.directory, seed=options.seed, say=print), options.directory)


def _reference(options: argparse.Namespace) -> int:
    from deepseek_runtime import reference, weights  # noqa: PLC0415

    def make() -> None:
        weights.check(options.directory, {}, field="DIR")
        reference.write(options.directory)

    return _made(make, options.directory)


def _made(make: Callable[[], None], directory: Path) -> int:
    try:
        make()
    except Failure as failure:
        sys.stderr.write(f"deepseek-runtime: {failure}\n")
        return failure.reason.exit_code
    except ImportError as error:
        sys.stderr.write(
            f"deepseek-runtime: {error}; use the runtime image, or install torch and deepseek-runtime[cpu]\n"
        )
        return Reason.ENGINE_MISSING.exit_code
    except OSError as error:
        sys.stderr.write(f"deepseek-runtime: DIR: {str(directory)!r}: {error}; name a directory that can be written\n")
        return Reason.INVALID_LAUNCH_SPEC.exit_code
    sys.stdout.write(f"{directory}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
