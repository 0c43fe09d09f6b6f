"""The soak's books of `plc` and `plc/late` (docs/plc.md), held against those of `result`.

Each part that one of them tells, the other one tells as well, and with the same verdict; what comes twice is the same part.
"""
import hashlib
import json

KEYS = ["n", "run", "part", "cam", "reg", "eval", "rej", "why", "s", "t", "rin", "cnt", "t0"]
CODES = {None: 0, "late": 1, "camera_lost": 2, "overload": 3, "bad_image": 4, "not_ready": 5, "engine_error": 6, "no_part": 7}
BYTES_MAX = 250


def run_number(run_id):
    """16 bits of a run's id, as winspect tells it in `run`."""
    return int.from_bytes(hashlib.sha256(run_id.encode()).digest()[:2], "big")


def scaled(score):
    """A score in ten-thousandths: a unit more or less is the digits of the JSON."""
    return -1 if score is None else score * 10_000


def verdict_of(told):
    """What a message says of the verdict on its part."""
    return told["eval"], told["rej"], told["why"]


class PlcBooks:
    """What came on `plc` and `plc/late`; `cameras` are the names under which parts come, in the order of the line's file."""

    def __init__(self, cameras):
        self.cameras = cameras
        self.told = {}  # (run, cam, n) -> messages that differ in their verdict
        self.wrong = []

    def hear(self, payload):
        told = json.loads(payload)
        if list(told) != KEYS or len(payload.encode()) > BYTES_MAX:
            self.wrong.append(f"keys or length of plc: {payload}")
            return
        of_part = self.told.setdefault((told["run"], told["cam"], told["n"]), [])
        if all(verdict_of(told) != verdict_of(other) for other in of_part):
            of_part.append(told)

    def key(self, run_id, camera, seq):
        """A part as `plc` names it."""
        return run_number(run_id), self.cameras.index(camera) + 1, seq

    def differs(self, parts, excused):
        """What `plc` and the results differ in. `parts` are the audit's, by run, camera and number; of `excused` ones the
        broker may have lost either message."""
        wrong = list(self.wrong)
        excused = {self.key(*part) for part in excused}
        results = {self.key(*part): found for part, found in parts.items()}
        wrong += [f"a result and no plc: {key}" for key in results.keys() - self.told.keys() - excused]
        wrong += [f"plc and no result: {key}" for key in self.told.keys() - results.keys() - excused]
        for key in results.keys() & self.told.keys():
            said = [result for result in (results[key].result, results[key].record) if result]
            wrong += [f"plc says {told}, and the result {said}" for told in self.told[key]
                      if not any(same(told, result) for result in said)]
        return wrong


def same(told, result):
    """Whether `plc` says what a result says."""
    return (verdict_of(told) == (result["evaluation"], int(result["reject"]), CODES[result["reason"]])
            and abs(told["s"] - scaled(result["score"])) <= 0.51 and abs(told["t"] - scaled(result["threshold"])) <= 0.51
            and told["part"] == (result["part_id"] or "")[:40])
