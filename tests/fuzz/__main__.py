"""Fuzz every container and say what came of it: ``python -m tests.fuzz [COUNT [NUMBER]]``.

COUNT files in all (100 000 unless told), NUMBER chooses which. The whole audit reads each of
them, as far as the JSON document.
"""

import sys

from specaudit import witness
from tests.fuzz import fuzzing
from tests.fuzz.seeds import SEEDS
from tests.fuzz.test_fuzz import LONG, LONG_NUMBER

ROW = "{:18} {:>7} {:>7} {:>8} {:>8} {:>9} {:>8}"


def main(count: int, number: int) -> int:
    """Print a line on each seed and one on all; return how many files did harm."""
    # The search for lower ends takes the same time for every graph, whatever is in the file.
    witness.steepest.__kwdefaults__["budget"] //= 1000
    print(ROW.format("seed", "files", "read", "refused", "harmful", "slowest", "peak"))
    tallies = []
    for seed in SEEDS:
        tallies.append(fuzzing.run(seed, -(-count // len(SEEDS)), number))
        print(line(seed.name, tallies[-1:]), *tallies[-1].failures, sep="\n", flush=True)
        if tallies[-1].unforeseen:
            print(f"  left to the last net: {tallies[-1].unforeseen}")
    print(line("all", tallies))
    return sum(len(tally.failures) for tally in tallies)


def line(name: str, tallies: list[fuzzing.Tally]) -> str:
    """What became of the files, as a line of the table."""
    counts = [
        sum(numbers)
        for numbers in zip(
            *((t.total, t.read, t.refused, len(t.failures)) for t in tallies), strict=True
        )
    ]
    slowest = max(tally.seconds for tally in tallies)
    peak = max(tally.peak_bytes for tally in tallies)
    return ROW.format(name, *counts, f"{slowest:.2f} s", f"{peak >> 20} MiB")


if __name__ == "__main__":
    given = [int(argument) for argument in sys.argv[1:]]
    sys.exit(1 if main(*given, *(LONG, LONG_NUMBER)[len(given) :]) else 0)
