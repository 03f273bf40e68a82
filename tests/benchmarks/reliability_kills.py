"""Every command that writes, killed at many moments: old or new outputs, and the next run succeeds.

    python -m tests.benchmarks.reliability kills [--count 200] [--interrupts 50]
        [--starts 10] [--seed N] [COMMAND ...]

COMMAND is a name of the table, such as convert, or convert:npz for one row.
"""

from __future__ import annotations

import argparse
import gc
import os
import random
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.benchmarks import reliability_parts as parts
from tests.benchmarks.reliability_campaign import Campaign
from tests.benchmarks.reliability_cases import Case, cases, check_complete
from tests.benchmarks.reliability_interrupts import Interrupts, reading
from tests.benchmarks.reliability_trials import adopt_orphans, fork_workers

_LEAST = 12  # moments of each row


def main(words: list[str]) -> None:
    """Run the campaign and print its tables; exit with 1 if there are faults."""
    parser = argparse.ArgumentParser(prog="reliability kills", description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="kills of each command")
    parser.add_argument("--interrupts", type=int, default=50, help="of each command")
    parser.add_argument("--starts", type=int, default=10, help="new processes interrupted, of each")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("command", nargs="*")
    given = parser.parse_args(words)
    known = cases()
    faults = [f"{name}: is not in the table" for name in check_complete(known)]
    print(f"seed {given.seed}")
    adopt_orphans()
    with tempfile.TemporaryDirectory(prefix="dvskit-kills-") as name:
        place = Path(name)
        _prepare(place)
        faults += _kill_all(_chosen(known, given.command), place, given)
        commands = [each for each in known if each.start not in parts.WITHOUT_COMMAND]
        faults += _interrupt_all(_chosen([*commands, *reading()], given.command), place, given)
    gc.unfreeze()
    print(f"{len(faults)} faults", *faults[:20], sep="\n")
    raise SystemExit(bool(faults))


def _chosen(known: list[Case], named: list[str]) -> list[Case]:
    return [each for each in known
            if not named or {each.command, each.name, each.group} & set(named)]  # fmt: skip


def _kill_all(chosen: list[Case], place: Path, given: argparse.Namespace) -> list[str]:
    faults: list[str] = []
    if not given.count:
        return faults
    print(f"\nKilled {given.count} times")
    print(f"{'command':28} kills  ended   old   new absent partly  again  seconds faults")
    rows = Counter(each.group for each in chosen)
    for case in chosen:
        campaign = Campaign(case, place, random.Random(f"{given.seed} {case.name}"))
        begun = time.monotonic()
        campaign.run(max(_LEAST, -(-given.count // rows[case.group])))
        faults += _row(campaign, time.monotonic() - begun)
    return faults


def _interrupt_all(chosen: list[Case], place: Path, given: argparse.Namespace) -> list[str]:
    faults: list[str] = []
    if not given.interrupts:
        return faults
    print(
        f"\nInterrupted by SIGINT and SIGTERM {given.interrupts} times, and {given.starts} starts"
    )
    print(f"{'command':28} 130/3  ended   old   new absent partly  again  seconds faults")
    rows = Counter(each.group for each in chosen)
    begun_groups: set[str] = set()
    for case in chosen:
        rng = random.Random(f"{given.seed} {case.name} interrupts")
        campaign = Interrupts(case, place, rng)
        parts.interrupts_itself = True
        begun = time.monotonic()
        campaign.run(max(_LEAST, -(-given.interrupts // rows[case.group])),
                     lambda rng=rng: rng.choice((signal.SIGINT, signal.SIGTERM)))  # fmt: skip
        if case.command not in begun_groups:
            begun_groups.add(case.command)
            campaign.starts(given.starts)
        faults += _row(campaign, time.monotonic() - begun)
    return faults


def _row(campaign: Campaign, seconds: float) -> list[str]:
    """Print the row of a command; return its faults."""
    name, found = campaign.case.name, campaign.faults
    keys = ("kills", "ended", "old", "new", "absent", "partly", "runs after")
    cells = " ".join(f"{campaign.counts[key]:6}" for key in keys)
    print(f"{name:26} {cells} {seconds:8.1f} {len(found):6}", flush=True)
    for text in found[:5]:
        print(f"    {text}", flush=True)
    return [f"{name}: {text}" for text in found]


def _prepare(place: Path) -> None:
    """Write the inputs in a process of its own, and import everything here."""
    os.environ["DVSKIT_CACHE"] = str(place / "kept")
    os.environ["DVSKIT_THREADS"] = "1"
    os.environ["TMPDIR"] = tempfile.tempdir = str(place / "temporary")
    (place / "temporary").mkdir()
    pid = os.fork()
    if not pid:
        try:
            parts.write_inputs(place / "inputs")
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
        raise SystemExit("the inputs could not be written")
    import tests.warm  # noqa: F401

    for module in sorted(Path(parts.dvskit.__file__).parent.glob("cli/*.py")):
        __import__(f"dvskit.cli.{module.stem}")
    fork_workers()
    gc.freeze()  # so that forked processes copy less memory


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
