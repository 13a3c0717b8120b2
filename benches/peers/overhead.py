"""What does recording attention cost `probe`, and what does it cost others?

    cargo xtask overhead                                     # SD 1.5, 512², f32 and bf16; an idle machine, an hour
    cargo xtask overhead --size tiny --pixels 32 --steps 3   # does it run?

Time of a step and peak memory of programs on one random checkpoint, which run side by side, a step of one while the
others are stopped. See README.md beside this file. Exit code 1 if a limit is passed, 2 if a run failed.
"""

import argparse
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "fixtures/scripts"))

from benchmark import GIGABYTE, GUIDANCE, PROMPT, Measured, RunError, Runner  # noqa: E402
from parity_checkpoints import FAMILIES, make, quieten  # noqa: E402

MEGABYTE = 1e6


@dataclass
class Program:
    """A program, what it is compared with, and how much more time and memory it may take."""
    against: str | None
    time: float | None = None
    memory: float | None = None


PROGRAMS = {
    "plain": Program(None),
    "attention": Program("plain", 1.03, 100 * MEGABYTE),
    "self-attention": Program("plain", 1.30, 1 * GIGABYTE),
    "diffusers": Program(None),
    "diffusers-daam": Program("diffusers"),
    "diffusers-keep": Program("diffusers"),
}
# Our recorded run beside a run of diffusers that records nothing.
NEVER_SLOWER = ("attention", "diffusers", 1.00)
# What runs side by side: as many as memory takes.
GROUPS = (("plain", "attention", "self-attention"), ("diffusers", "diffusers-daam", "diffusers-keep"), NEVER_SLOWER[:2])


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--probe", type=Path, required=True, help="the program; `cargo xtask overhead` gives it")
    parser.add_argument("--home", type=Path, required=True, help="where checkpoints are kept; likewise")
    parser.add_argument("--family", choices=FAMILIES, default="sd15")
    parser.add_argument("--size", choices=("tiny", "full"), default="full")
    parser.add_argument("--dtype", choices=("f32", "bf16"), nargs="+", default=["f32", "bf16"])
    parser.add_argument("--pixels", type=int, default=512, help="side of the images")
    parser.add_argument("--steps", type=int, default=6, help="of each, the first is not among the steps that are timed")
    parser.add_argument("--programs", choices=PROGRAMS, nargs="+", default=list(PROGRAMS), help="which are run")
    args = parser.parse_args()
    if args.steps < 2:
        parser.error("at least two steps are needed")
    return args


def command(args, name, folder, dtype, home):
    if name.startswith("diffusers"):
        mode = name.removeprefix("diffusers").removeprefix("-") or "plain"
        return [sys.executable, HERE / "diffusers_recording.py", mode, folder, dtype, args.steps, args.pixels, GUIDANCE,
                PROMPT]
    kind = ["generate"] if name == "plain" else ["trace", "--record", name, "--format", "csv"]
    return [args.probe, *kind, "-vv", "--model", folder, "--dtype", dtype, "--steps", args.steps, "--sampler", "ddim",
            "--guidance", GUIDANCE, "--width", args.pixels, "--height", args.pixels, "--device", "cpu",
            "--prompt", PROMPT, "--out", home]


def measure(args, programs, folder, dtype):
    result = {}
    with tempfile.TemporaryDirectory() as home:
        runners = {}
        for name in programs:
            runners[name] = Runner(command(args, name, folder, dtype, home), home)
            runners[name].start()
            result[name] = Measured()
        for _ in range(args.steps - 1):
            for name, runner in runners.items():
                result[name].steps.append(runner.step())
        for name, runner in runners.items():
            runner.finish()
            result[name].peak = runner.peak
    return result


def ratio(result, name, against):
    return statistics.median(result[name].steps) / statistics.median(result[against].steps)


def rows(dtype, result):
    """What was measured: text, and whether it is within its limits."""
    ours, theirs, limit = NEVER_SLOWER
    if ours in result and theirs in result:
        slower = ratio(result, ours, theirs)
        within = slower <= limit
        yield (f"| {dtype} | {ours} beside {theirs} | | | {slower:.3f}× | {limit:.2f}× "
               f"| {'ok' if within else 'BEYOND'} |"), within
        return
    for name, measured in result.items():
        program = PROGRAMS[name]
        median = statistics.median(measured.steps)
        text = (f"| {dtype} | {name} | {median:.3f} s ({min(measured.steps):.3f}–{max(measured.steps):.3f}) "
                f"| {measured.peak / GIGABYTE:.3f} GB |")
        if program.against not in result:
            yield f"{text} | | |", True
            continue
        slower = ratio(result, name, program.against)
        more = measured.peak - result[program.against].peak
        within = (program.time is None or slower <= program.time) and (program.memory is None or more <= program.memory)
        limits = "" if program.time is None else f"{program.time:.2f}×, {program.memory / MEGABYTE:.0f} MB"
        yield (f"{text} {slower:.3f}× of {program.against}, {more / MEGABYTE:+.0f} MB | {limits} "
               f"| {'ok' if within else 'BEYOND'} |"), within


def main():
    args = arguments()
    quieten()
    family = FAMILIES[args.family]
    folder, _ = make(family, args.size, args.home)
    print(f"{family.title} ({args.size}), {args.pixels}², guidance as a batch of two, median (least–most) of "
          f"{args.steps - 1} steps\n\n| dtype | program | step | peak memory | more than | limit | |\n"
          "|---|---|---:|---:|---:|---:|---|", flush=True)
    beyond = 0
    for dtype in args.dtype:
        for group in GROUPS:
            programs = [name for name in group if name in args.programs]
            if len(programs) < 2:
                continue
            for row, within in rows(dtype, measure(args, programs, folder, dtype)):
                beyond += not within
                print(row, flush=True)
    return 1 if beyond else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except RunError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
