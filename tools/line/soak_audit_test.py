"""The books of tools/soak notice each kind of broken promise, and explain what may happen. Run by tools/test."""

import json
import time
import unittest

from soak_audit import Audit, Faults
from soak_link import Packets, result_in


def result(seq, topic="result", **more):
    told = {"run_id": "A", "camera": "top", "seq": seq, "part_id": f"t{seq}", "verdict": "pass", "reason": None,
            "reject": False, "historical": topic == "result/late", "given_up_before": 0, **more}
    return f"{topic} {json.dumps(told)}"


def undecided(seq, topic="result", reason="late"):
    return result(seq, topic, verdict="undecided", reason=reason)


def accepted(seq, key=None):
    answer = {"id": key or f"t{seq}", "status": "accepted", "parts": [{"run_id": "A", "camera": "top", "seq": seq}]}
    return f"ack/trigger {json.dumps(answer)}"


class Books(unittest.TestCase):
    def heard(self, *lines, during=None):
        """The figures that are not as in a run without faults."""
        faults = Faults()
        if during:
            faults.begin(during)
        audit = Audit(faults, 1.0, gate_s=0.5)
        audit.sent = {f"t{seq}": time.monotonic() for seq in range(1, 6)}
        for line in lines:
            audit.hear(line)
        figures, _ = audit.report({})
        names = ("lost", "duplicates", "out_of_order", "undecided_outside_faults", "wrong", "late", "resent")
        return {name: figures[name] for name in names if figures[name]}

    def test_a_whole_run_is_whole(self):
        self.assertEqual(self.heard(accepted(1), result(1), accepted(2), result(2)), {})

    def test_an_accepted_part_without_a_result_is_lost_and_so_is_a_number_that_was_left_out(self):
        self.assertEqual(self.heard(accepted(1)), {"lost": 1})
        self.assertEqual(self.heard(result(1), result(3)), {"lost": 1})
        birth = json.dumps({"previous": [{"run_id": "A", "camera": "top", "last_seq": 4}]})
        self.assertEqual(self.heard(result(1), result(2), f"birth {birth}"), {"lost": 2})

    def test_a_number_behind_a_higher_one_is_out_of_order_on_each_topic_by_itself(self):
        self.assertEqual(self.heard(result(1), result(3), result(2)), {"out_of_order": 1})
        self.assertEqual(self.heard(result(2), result(1, "result/late"), result(3)), {})
        self.assertEqual(self.heard(result(2, "result/late"), result(1, "result/late")), {"out_of_order": 1})

    def test_the_same_again_is_explained_by_a_fault_alone(self):
        self.assertEqual(self.heard(result(1), result(1)), {"duplicates": 1})
        self.assertEqual(self.heard(result(1), result(1, "result/late"), during="link_cut"), {"resent": 1})

    def test_counters_balance(self):
        store = {"accepted": 5, "results": 4, "open": 1, "late": 1, "earlier": 2, "acked": 3, "given_up": 1, "waiting": 3}
        metrics = [f"metrics {json.dumps({'store': {**store, **more}})}" for more in ({}, {"open": 0}, {"waiting": 2})]
        self.assertEqual(self.heard(metrics[0]), {})
        self.assertEqual(self.heard(*metrics), {"wrong": 2})

    def test_a_gate_is_told_once_of_a_part_that_is_rejected(self):
        at = "2026-01-01T00:00:00.000Z"
        told = f"reject {json.dumps({'run_id': 'A', 'camera': 'top', 'seq': 1, 'part_id': 't1', 'at': at})}"
        bad = result(1, verdict="fail", reject=True)
        self.assertEqual(self.heard(bad, told), {})
        self.assertEqual(self.heard(bad, told, told), {"duplicates": 1})
        self.assertEqual(self.heard(result(1), told), {"wrong": 1})
        early = Audit(Faults(), 1.0, gate_s=2.5)
        early.sent = {"t1": time.monotonic()}
        early.hear(bad)
        self.assertEqual(early.report({})[0]["rejects"]["untold_outside_faults"], 1)
        early.hear(told)
        self.assertEqual(early.report({})[0]["wrong"], 1)

    def test_another_result_of_the_same_part_is_a_duplicate_unless_it_is_the_verdict_for_the_record(self):
        self.assertEqual(self.heard(result(1), result(1, verdict="fail"), during="link_cut"), {"duplicates": 1})
        self.assertEqual(self.heard(undecided(1), result(1, "result/late"), during="link_cut"), {"late": 1})
        self.assertEqual(self.heard(undecided(1), result(1), during="link_cut"), {"duplicates": 1})

    def test_two_parts_of_one_trigger_are_a_duplicate(self):
        self.assertEqual(self.heard(result(1), result(2, part_id="t1")), {"duplicates": 1})
        self.assertEqual(self.heard(accepted(1), accepted(2, "t1"), result(1), result(2)), {"duplicates": 1})

    def test_undecided_needs_a_fault(self):
        self.assertEqual(self.heard(undecided(1)), {"undecided_outside_faults": 1})
        self.assertEqual(self.heard(undecided(1, reason="camera_lost"), during="camera_gone"), {})

    def test_a_bad_command_must_not_be_accepted_nor_a_part_come_that_nobody_asked_for(self):
        self.assertEqual(self.heard(accepted(1, "bad-1"), result(1)), {"wrong": 1})
        self.assertEqual(self.heard(result(1, part_id="t99")), {"wrong": 1})


class Stream(unittest.TestCase):
    def test_packets_are_found_however_the_stream_is_cut(self):
        payload = json.dumps({"run_id": "A", "camera": "top", "seq": 7}).encode()
        body = b"\x00\x08s/result\x00\x2a\x00" + payload
        stream = bytes([0x32, len(body)]) + body + b"\x40\x02\x00\x2a"
        for cut in range(len(stream)):
            packets = Packets()
            found = [*packets.feed(stream[:cut]), *packets.feed(stream[cut:])]
            self.assertEqual([(kind, flags) for kind, flags, _ in found], [(3, 2), (4, 0)])
            self.assertEqual(result_in(found[0][1], found[0][2]), (42, ("A", "top", 7)))


if __name__ == "__main__":
    unittest.main()
