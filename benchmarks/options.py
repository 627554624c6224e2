"""The command line that the benchmarks share."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.rounds import Samples

FEWEST_ROUNDS = 3


def parse(description: str, *, rounds: int) -> argparse.Namespace:
    """Read the options of a benchmark."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--rounds", type=rounds_of, default=rounds, help="rounds that count")
    parser.add_argument(
        "--unix-socket", action="store_true", help="reach Redis by a Unix socket, which costs the system less"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample to this file")
    return parser.parse_args()


def write_json(file: Path, machine: Mapping[str, Any], samples: Mapping[str, Mapping[str, Samples]]) -> None:
    """Write what was measured, by workload and contender, in microseconds a call."""
    measured = {
        workload: {name: asdict(one) for name, one in found.items()} for workload, found in samples.items()
    }
    file.write_text(json.dumps({"machine": machine, "microseconds": measured}, indent=1) + "\n")


def rounds_of(text: str) -> int:
    """Read a number of rounds."""
    number = int(text)
    if number < FEWEST_ROUNDS:
        raise argparse.ArgumentTypeError(f"give at least {FEWEST_ROUNDS} rounds")
    return number
