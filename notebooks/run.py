"""Runs notebooks from scratch and writes their outputs into them; `cargo xtask notebooks` calls it.

Each notebook has a kernel of its own. A cell that fails stops its notebook; the others still run,
and the exit code is 1.
"""
import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

KERNEL = "denoscope"
# The first cell of the first notebook compiles the library and all that it needs.
CELL_SECONDS = 45 * 60
# What differs from run to run and says nothing.
VOLATILE = ("execution", "collapsed")


def describe_kernel(home, program, libtorch):
    """Tells Jupyter of the kernel: its program, and where libtorch is.

    All notebooks build in one folder, so that the second has what the first compiled.
    """
    build = home / "build"
    build.mkdir(parents=True, exist_ok=True)
    # The kernel resolves dependencies by itself; the repository's lock file keeps it to versions
    # that are known to work.
    if not (build / "Cargo.lock").exists():
        shutil.copy(Path(__file__).parent.parent / "Cargo.lock", build)
    described = {
        "argv": [str(program), "--control_file", "{connection_file}"],
        "display_name": "Rust (denoscope)",
        "language": "rust",
        "env": {
            "LIBTORCH": str(libtorch.parent),
            "LD_LIBRARY_PATH": str(libtorch),
            "EVCXR_TMPDIR": str(build),
        },
    }
    folder = home / "jupyter" / "kernels" / KERNEL
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "kernel.json").write_text(json.dumps(described, indent=1))
    os.environ["JUPYTER_PATH"] = str(home / "jupyter")


def execute(path, folder):
    """Runs one notebook; returns it with its outputs, and what went wrong."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook, timeout=CELL_SECONDS, kernel_name=KERNEL, resources={"metadata": {"path": str(folder)}},
    )
    try:
        client.execute()
        failure = None
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        failure = str(error)
    for cell in (cell for cell in notebook.cells if cell.cell_type == "code"):
        for name in VOLATILE:
            cell.metadata.pop(name, None)
        # A cell that ends in a loop has the value `()`, which evcxr shows.
        cell.outputs = [o for o in cell.get("outputs", []) if o.get("data", {}).get("text/plain") != "()"]
        failed = [o for o in cell.outputs if o.output_type == "error"]
        if failed and failure is None:
            failure = "\n".join(failed[0].traceback)
    notebook.metadata["kernelspec"] = {"display_name": "Rust", "language": "rust", "name": "rust"}
    return notebook, failure


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="*", type=Path, help="which [default: all beside this script]")
    parser.add_argument("--check", action="store_true", help="run them and leave the files as they are")
    parser.add_argument("--kernel", type=Path, required=True, help="the program evcxr_jupyter")
    parser.add_argument("--libtorch", type=Path, required=True, help="folder of libtorch's libraries")
    parser.add_argument("--home", type=Path, required=True, help="folder for what is built")
    arguments = parser.parse_args()
    describe_kernel(arguments.home.absolute(), arguments.kernel.absolute(), arguments.libtorch.absolute())
    folder = Path(__file__).parent.resolve()
    chosen = arguments.notebooks or sorted(folder.glob("*.ipynb"))
    failures = 0
    for path in chosen:
        started = time.monotonic()
        print(f"{path.name} …", file=sys.stderr, flush=True)
        notebook, failure = execute(path, folder)
        seconds = time.monotonic() - started
        if failure is None:
            print(f"{path.name}: {seconds:.0f} s", file=sys.stderr, flush=True)
        else:
            failures += 1
            print(f"{path.name}: failed after {seconds:.0f} s\n{failure}", file=sys.stderr, flush=True)
        if not arguments.check:
            beside = path.with_suffix(".ipynb.part")
            nbformat.write(notebook, beside)
            os.replace(beside, path)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
