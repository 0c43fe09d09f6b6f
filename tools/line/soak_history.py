"""What `winspect history --csv` says at the end of a soak, beside the auditor's books: part by part the same, but for what the
store does not keep any more.

The store drops its oldest parts once its file is full (`store.keep_mb`), and says how many delivered results it could not
keep while its disk failed for long; nothing else may be missing.
"""

import csv
import io
import re
import subprocess

from processes import WINSPECT

# What a row and the message of its part share; a null is empty.
SHARED = ("verdict", "reason", "part_id", "recipe", "challenge")
# A store whose file is smaller than this share of `keep_mb` has dropped nothing.
FULL_FROM = 0.8
NOT_KEPT = re.compile(r"the disk fails for long: (\d+) delivered results .*?(\d+) verdicts that came late")


def rows_of(line):
    """The rows of a line's whole history; its daemon has ended."""
    told = subprocess.run([WINSPECT, "history", line, "--csv"], check=True, stdout=subprocess.PIPE, text=True, timeout=300)
    return list(csv.DictReader(io.StringIO(told.stdout)))


def not_kept(log):
    """Number of results and late verdicts that a daemon's log says are not in the history."""
    return sum(int(results) + int(late) for results, late in NOT_KEPT.findall(log))


class History:
    """The rows of all stores of a soak."""

    def __init__(self, rows, is_full=False, not_kept=0):
        self.is_full, self.not_kept = is_full, not_kept
        self.results, self.late, self.twice = {}, {}, []  # (run, camera, seq) -> row
        for row in rows:
            key = (row["run_id"], row["camera"], int(row["seq"]))
            known = self.late if row["late_verdict"] == "true" else self.results
            if key in known:
                self.twice.append(f"{key}: two rows, {known[key]} and {row}")
            known[key] = row
        self.oldest = {}  # (run, camera) -> seq
        for run, camera, seq in self.results:
            self.oldest[(run, camera)] = min(seq, self.oldest.get((run, camera), seq))

    def differs(self, parts, unheard):
        """Where it is not what was heard; `unheard` are parts of which no result came, which the books count themselves."""
        found = self.twice[:]
        missing = []
        for key, part in parts.items():
            if key not in self.results and key not in self.late:
                missing += [key] if not self.may_be_gone(key) else []
                continue
            # Of a part whose first word the broker lost the late verdict alone was heard.
            told = [self.results.get(key)] + ([] if part.is_live else [self.late.get(key)])
            if not any(same(part.result, row) for row in told):
                found.append(f"{key}: {self.results.get(key)} in the history, heard was {part.result}")
            if part.record and not same(part.record, self.late.get(key)):
                found.append(f"{key}: {self.late.get(key)} in the history, heard later was {part.record}")
        if len(missing) > self.not_kept:
            found += [f"{key} was heard, and is not in the history" for key in missing]
        strange = set(self.results) - set(parts) - set(unheard)
        return found + [f"{key} is in the history, and nobody heard of it" for key in sorted(strange)]

    def may_be_gone(self, key):
        """Whether a full store may have dropped it: the oldest go first."""
        *of, seq = key
        return self.is_full and seq < self.oldest.get(tuple(of), seq + 1)


def same(result, row):
    return row is not None and all(row[key] == (result[key] or "") for key in SHARED)
