#!/usr/bin/env python3
"""Change small valid files at random and read them: one line must tell what is wrong.

usage: fuzz.py [--minutes 1] [--seed 0] [--findings DIR] [--limit 10] [--memory-gb 2] [TARGET...]

Hypothesis draws the changes and makes what fails as small as it can. Every target is read in a
process of its own, one round of examples after another, until the time is over. A finding is an
error that the package does not raise on purpose, a crash, a hang beyond the limit of seconds (of
its own time), or more memory than stated; its file is kept in DIR. Prints counts as JSON; exits
with 1 on a finding.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from dataclasses import dataclass, field
from pathlib import Path

from fuzz_targets import TARGETS, Edit, changed
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from insar_seg.core.base import InsarSegError

EXAMPLES = 60  # of a round
WAITING = 6  # times the limit of own time, by the clock
SPARE_S = 20  # seconds after the limit in which a process may still end by itself
START_S = 90  # seconds for what a process imports before its first example

EDITS = st.lists(
    st.builds(Edit, st.integers(0, 7), st.floats(0, 1), st.integers(0, 2**32 - 1)),
    min_size=1,
    max_size=6,
)


class Hang(BaseException):
    "An example that took longer than it may."


@dataclass
class Round:
    "One round of examples of a target, in a process of its own."

    target: str
    number: int  # the seed of the round
    limit_s: float  # of an example
    memory_gb: float
    folder: Path  # where the example that is being read lies

    def run(self, answers) -> None:
        "Send back the number of examples, and what was found, or None."
        warnings.simplefilter("ignore")
        signal.signal(signal.SIGALRM, _hang)
        signal.signal(signal.SIGPROF, _hang)
        make, read = TARGETS[self.target]
        valid = make(self.folder)
        self.count = 0
        found = None
        try:
            _warm(read, valid.path)
            self._examples(valid, read)
        except BaseException as e:
            found = "".join(traceback.format_exception(e)[-12:])[-3000:]
        answers.send((self.count, found))

    def _examples(self, valid, read):
        "Raises what the first bad example raises, once it is as small as can be."

        @seed(self.number)
        @settings(
            max_examples=EXAMPLES,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.generate, Phase.shrink),
        )
        @given(EDITS)
        def example(edits):
            self.count += 1
            valid.write(changed(valid.data, edits, valid.is_text))
            self._read(read, valid.path)

        example()

    def _read(self, read, path):
        _forget_peak()
        # of its own time; a busy machine may take longer, a process that waits has no own time
        signal.setitimer(signal.ITIMER_PROF, self.limit_s)
        signal.setitimer(signal.ITIMER_REAL, WAITING * self.limit_s)
        try:
            read(path)
        except InsarSegError as e:
            assert "\n" not in str(e) and len(str(e)) < 2000, "not one line"
            assert str(e).isprintable(), "control characters"
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.setitimer(signal.ITIMER_REAL, 0)
        used = _peak_gb()
        assert used < self.memory_gb, f"{used:.1f} GB of memory"


def _forget_peak():
    "Start the measure of memory anew, where Linux allows it."
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak_gb():
    "Largest resident memory since `_forget_peak`, or of the process where that was not possible."
    with contextlib.suppress(OSError):
        status = Path("/proc/self/status").read_text()
        return int(re.search(r"VmHWM:\s*(\d+) kB", status)[1]) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _warm(read, path):
    "Read the valid file: what is imported then counts as no example's time."
    with contextlib.suppress(InsarSegError):
        read(path)


def _hang(*_):
    raise Hang("no answer within the limit")


@dataclass
class Report:
    "What came of all rounds."

    examples: dict = field(default_factory=dict)  # by target
    findings: list = field(default_factory=list)  # target, round, what was found


def play(target: str, number: int, options, report: Report) -> None:
    "One round; its count and its finding, if any, go into the report."
    folder = Path(tempfile.mkdtemp(prefix="fuzz"))
    one = Round(target, number, options.limit, options.memory_gb, folder)
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.Process(target=one.run, args=(sender,))
    process.start()
    sender.close()
    count, found = _answer(process, receiver, folder, options.limit)
    report.examples[target] = report.examples.get(target, 0) + count
    if found:
        report.findings.append({"target": target, "round": number, "what": found})
        kept = Path(options.findings) / f"{target}_{number}"
        shutil.copytree(folder, kept, dirs_exist_ok=True)
        print(f"{kept}\n{found}", file=sys.stderr, flush=True)
    shutil.rmtree(folder, ignore_errors=True)


def _answer(process, receiver, folder, limit_s):
    "(examples, finding or None) of a round, whose process is killed if no example ends any more."
    last = time.monotonic() + START_S
    newest = seen = None
    while not receiver.poll(0.05):
        with contextlib.suppress(OSError):  # files come and go
            newest = max((p.stat().st_mtime_ns for p in folder.rglob("*")), default=0)
        if newest != seen:
            seen = newest
            last = max(last, time.monotonic() + WAITING * limit_s + SPARE_S)
        if not process.is_alive() or time.monotonic() > last:
            process.kill()
            process.join()
            return 0, f"no answer; the process ended with {process.exitcode}"
    try:
        answer = receiver.recv()
    except EOFError:
        answer = None
    process.join()
    return answer or (0, f"no answer; the process ended with {process.exitcode}")


def main(arguments=None) -> int:
    "The exit code."
    parser = argparse.ArgumentParser(usage=__doc__.split("\n\n")[1].removeprefix("usage: "))
    parser.add_argument("targets", nargs="*", metavar="TARGET", default=[])
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--findings", default="fuzz-findings")
    parser.add_argument("--limit", type=float, default=10)
    parser.add_argument("--memory-gb", type=float, default=2)
    options = parser.parse_args(arguments)
    unknown = set(options.targets) - set(TARGETS)
    if unknown:
        parser.error(f"unknown {', '.join(sorted(unknown))}; known: {', '.join(TARGETS)}")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    report = Report()
    end = time.monotonic() + 60 * options.minutes
    number = options.seed
    while time.monotonic() < end:
        for target in options.targets or TARGETS:
            play(target, number, options, report)
        number += 1
    counts = {"examples": report.examples, "findings": len(report.findings)}
    print(json.dumps(counts, indent=1))
    return 1 if report.findings else 0


if __name__ == "__main__":
    sys.exit(main())
