"""`make fuzz`: atheris on every target, which looks for inputs that take branches not taken before.

    python tests/fuzz/drive.py [--seconds N] [TARGET...]

Each target runs in a process of its own, for N seconds (default 60) within 1 GB. What it finds is left in
tests/fuzz/found/, and printed. Where atheris is not installed (it has no wheel for every Python and system) it says so,
and nothing fails: the targets have had the noise of Hypothesis by then.
"""

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
FOUND = HERE / "found"
MEMORY = 1024
"""Megabytes."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--only", help=argparse.SUPPRESS)
    parser.add_argument("targets", nargs="*")
    given = parser.parse_args()
    try:
        import atheris
    except ImportError as error:
        print(f"fuzz: atheris is not installed here ({error}); pip install atheris, or be content with Hypothesis")
        return 0
    sys.path.insert(0, str(HERE.parent))
    if given.only:
        with atheris.instrument_imports(include=["relay"]):
            from fuzz.targets import TARGETS
        return _fuzz(atheris, given.only, given.seconds, TARGETS[given.only].target)
    from fuzz.targets import TARGETS

    failed = [name for name in given.targets or TARGETS if _in_a_process(name, given.seconds, TARGETS[name])]
    print(f"fuzz: {'something was found by ' + ', '.join(failed) if failed else 'nothing was found'}")
    return 1 if failed else 0


def _in_a_process(name, seconds, fuzzed) -> bool:
    """Whether something was found."""
    (FOUND / name).mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(fuzzed.seeds()):
        (FOUND / name / f"seed{number}").write_bytes(seed)
    dictionary = FOUND / f"{name}.words"
    dictionary.write_text("".join('"' + "".join(f"\\x{octet:02x}" for octet in word) + '"\n' for word in fuzzed.words))
    command = [sys.executable, __file__, "--only", name, "--seconds", str(seconds)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    last = [line for line in done.stdout.splitlines() if "exec/s" in line][-1:]
    print(f"{name}: {last[0] if last else ''}", flush=True)
    if done.returncode:
        print("\n".join(done.stdout.splitlines()[-40:]), flush=True)
    return done.returncode != 0


def _fuzz(atheris, name, seconds, target) -> int:
    arguments = [
        sys.argv[0], f"-max_total_time={seconds}", f"-rss_limit_mb={MEMORY}", "-max_len=2000", "-timeout=10",
        f"-dict={FOUND / name}.words", f"-artifact_prefix={FOUND}/{name}-", str(FOUND / name),
    ]  # fmt: skip
    atheris.Setup(arguments, target)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
