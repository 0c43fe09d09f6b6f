"""The books of tools/soak notice each kind of broken promise, and explain what may happen. Run by tools/test."""

import datetime
import json
import random
import time
import unittest

import soak_pictures
from soak_audit import Audit, Faults
from soak_content import PICTURE_S, Belt, Line, Sent, flaws
from soak_camera import Frames, Way
from soak_history import History, not_kept
from soak_link import Link, Packets, flipped, result_in
from soak_plc import CODES, PlcBooks, run_number

LINE = Line("box", ("nut@1", "bolt@4"), 1.0)
SCORES = {"pass": 0.01, "fail": 0.2, "undecided": None}
GOOD = next(number for number in range(64) if not soak_pictures.is_bad(number))
BAD = next(number for number in range(64) if soak_pictures.is_bad(number))


last_captured = 0.0  # so that no two results of a test have the same picture unless the test says so


def captured(seq):
    """A moment of its own, however slow or quick the machine is."""
    global last_captured
    last_captured = max(time.monotonic() + 0.001 * seq, last_captured + 0.002)
    return last_captured


MAP = {"side": 1, "w": 1, "h": 1, "scale": 1.0, "u8": "AA=="}


def wall(at):
    """The time of a moment of the monotonic clock, as messages say it."""
    moment = datetime.datetime.fromtimestamp(time.time() - time.monotonic() + at, datetime.timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def row(seq, topic="result", verdict="pass", camera="top", **more):
    score = SCORES[verdict]
    told = {"run_id": "A", "camera": camera, "seq": seq, "part_id": f"t{seq}", "station": "box", "region": None,
            "verdict": verdict, "evaluation": {"pass": 1, "fail": 2, "undecided": 3}[verdict],
            "reason": None if score else "late", "reject": verdict != "pass", "score": score, "threshold": 0.05,
            "margin": None if score is None else score - 0.05, "captured_at": wall(captured(seq)),
            "captured_by": "sender", "latency_ms": {"total": 20.0}, "deadline_ms": 1000, "deadline_met": bool(score),
            "recipe": "nut@1", "challenge": None, "views": [], "map": MAP,
            "historical": topic == "result/late", "given_up_before": 0}
    return told | more


def result(seq, topic="result", **more):
    return f"{topic} {json.dumps(row(seq, topic, **more))}"


def undecided(seq, topic="result", reason="late"):
    return result(seq, topic, verdict="undecided", reason=reason, captured_by="trigger")


def accepted(seq, key=None):
    answer = {"id": key or f"t{seq}", "status": "accepted", "parts": [{"run_id": "A", "camera": "top", "seq": seq}]}
    return f"ack/trigger {json.dumps(answer)}"


class Books(unittest.TestCase):
    def setUp(self):
        global last_captured
        last_captured = 0.0

    def heard(self, *lines, during=None, sent_ago=0.0, connections=1):
        """The figures that are not as in a run without faults."""
        faults = Faults()
        if during:
            faults.begin(during)
        now = time.monotonic()
        audit = Audit(faults, LINE, 0.5, connections=[now + 0.0001] * connections)
        audit.sent = {f"t{seq}": Sent(now - sent_ago, True) for seq in range(1, 6)}
        for line in lines:
            audit.hear(line)
        figures, _ = audit.report({})
        names = ("lost", "duplicates", "out_of_order", "undecided_outside_faults", "wrong", "late", "resent", "overdue",
                 "given_up", "same_picture", "unfinished", "wrong_part", "wrong_verdict", "unreadable")
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
        self.assertEqual(self.heard(result(2), result(1, "result/late"), result(3), during="link_cut"), {})
        late = [result(seq, "result/late") for seq in (2, 1)]
        self.assertEqual(self.heard(*late, during="link_cut"), {"out_of_order": 1})

    def test_the_same_again_is_explained_by_a_fault_alone(self):
        first = row(1)
        live, late = (f"{topic} {json.dumps(first | {'historical': topic != 'result'})}" for topic in ("result", "result/late"))
        self.assertEqual(self.heard(live, live), {"duplicates": 1})
        self.assertEqual(self.heard(live, late, during="link_cut"), {"resent": 1})

    def test_the_same_again_comes_once_a_connection_and_not_more_than_may_be_on_their_way(self):
        live = result(1)
        self.assertEqual(self.heard(live, live, during="link_cut", connections=0), {"duplicates": 1})
        # The one connection explains one copy; what broke does not explain a thousand.
        self.assertEqual(self.heard(*[live] * 1001, during="bad_commands_come"), {"resent": 1, "duplicates": 999})
        broken = Faults()
        broken.begin("link_cut")
        audit = Audit(broken, LINE, 0.5, connections=[time.monotonic() + 1])
        audit.sent = {f"t{seq}": Sent(time.monotonic(), True) for seq in range(1, 300)}
        lines = [result(seq) for seq in range(1, 300)]
        for line in lines + lines:
            audit.hear(line)
        self.assertEqual(audit.report({})[0]["wrong"], 1)

    def test_counters_balance(self):
        store = {"accepted": 5, "results": 4, "open": 1, "late": 1, "earlier": 2, "acked": 3, "given_up": 0, "waiting": 4}
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
        early = Audit(Faults(), LINE, gate_s=2.5)
        early.sent = {"t1": Sent(time.monotonic(), True)}
        early.hear(bad)
        self.assertEqual(early.report({})[0]["rejects"]["untold_outside_faults"], 1)
        early.hear(told)
        self.assertEqual(early.report({})[0]["wrong"], 1)

    def test_a_live_result_comes_by_its_deadline_unless_its_way_was_broken(self):
        for during, found in ((None, {"overdue": 1}), ("disk_slow", {"overdue": 1}), ("large_pictures", {"overdue": 1}),
                              ("broker_frozen", {}), ("daemon_kill during challenge", {})):
            taken = {"captured_at": wall(time.monotonic() - 9)}
            self.assertEqual(self.heard(accepted(1), result(1, **taken), during=during, sent_ago=9.0), found, during)
            late = self.heard(accepted(1), result(1, "result/late"), during=during)
            self.assertEqual(late, found, during)

    def test_each_key_of_a_result_fits_the_others(self):
        self.assertEqual(flaws(row(1), "result", 900, LINE), [])
        self.assertEqual(flaws(row(1, verdict="undecided", reason="late"), "result", 900, LINE), [])
        wrong = {
            "historical on the live topic": {"historical": True},
            "reject contradicts the verdict": {"verdict": "fail", "reject": False},
            "a part that passes is rejected": {"reject": True},
            "fail became pass on its way": row(1, verdict="fail") | {"verdict": "pass", "evaluation": 1, "reject": False},
            "only the verdict's number was turned": {"evaluation": 2},
            "a verdict without a score": {"score": None},
            "no threshold": {"threshold": None},
            "another margin": {"margin": 0.4},
            "a reason beside a verdict": {"reason": "late"},
            "undecided without a reason": row(1, verdict="undecided") | {"reason": None},
            "late, and in time": row(1, verdict="undecided") | {"deadline_met": True},
            "in time, and late": {"deadline_met": False},
            "judged after its deadline, and in time": {"latency_ms": {"total": 1500.0}},
            "another station": {"station": "other"},
            "another station's recipe": {"recipe": "other@9"},
            "another deadline": {"deadline_ms": 80},
            "half a map": {"map": MAP | {"side": 4, "w": 4, "h": 4}},
            "an oblong map with a side": {"map": MAP | {"w": 2, "h": 1, "u8": "AAA="}},
            "a square map without its side": {"map": MAP | {"side": None}},
        }
        oblong = {"map": MAP | {"side": None, "w": 2, "h": 1, "u8": "AAA="}}
        self.assertEqual(flaws(row(1) | oblong, "result", 900, LINE), [])
        for what, changed in wrong.items():
            self.assertNotEqual(flaws(row(1) | changed, "result", 900, LINE), [], what)
        self.assertNotEqual(flaws(row(1), "result", 1537, LINE), [], "too large")
        self.assertNotEqual(flaws(row(1), "result/late", 900, LINE), [], "late and not historical")
        large = result(1, detail="x" * 1600)
        self.assertEqual(self.heard(accepted(1), large), {"wrong": 1})

    def test_what_was_given_up_is_told(self):
        self.assertEqual(self.heard(accepted(1), result(1, given_up_before=500)), {"given_up": 1})
        store = {"accepted": 5, "results": 5, "open": 0, "late": 0, "earlier": 0, "acked": 3, "given_up": 2, "waiting": 0}
        self.assertEqual(self.heard(f"metrics {json.dumps({'store': store})}"), {"given_up": 1})

    def test_one_picture_is_one_part(self):
        taken = wall(time.monotonic())
        two = [accepted(1), result(1, captured_at=taken), accepted(2), result(2, captured_at=taken)]
        self.assertEqual(self.heard(*two), {"same_picture": 1})
        # Two cameras may look at the same time.
        other = result(1, captured_at=taken, camera="side", part_id="t2")
        self.assertEqual(self.heard(two[0], two[1], other), {})

    def test_a_command_with_two_answers_gets_its_second_one_once(self):
        def answer(status, name="select_recipe", **more):
            return f"ack/{name} {json.dumps({'id': 'c1', 'status': status, 'reason': None, 'parts': []} | more)}"

        self.assertEqual(self.heard(answer("accepted")), {"unfinished": 1})
        self.assertEqual(self.heard(answer("accepted"), answer("done")), {})
        self.assertEqual(self.heard(answer("accepted"), answer("rejected", reason="no plan")), {})
        self.assertEqual(self.heard(answer("accepted"), answer("accepted"), answer("done"), answer("done")), {})
        self.assertEqual(self.heard(answer("accepted"), answer("done"), answer("rejected")), {"duplicates": 1})
        self.assertEqual(self.heard(answer("done")), {"wrong": 1})
        self.assertEqual(self.heard(answer("done"), answer("accepted"), during="broker_restart during select_recipe"), {})
        caught = [answer("accepted", "challenge"), result(1, challenge="c1", verdict="fail")]
        self.assertEqual(self.heard(*caught, answer("done", "challenge")), {})
        missed = result(2, challenge="c1")
        self.assertEqual(self.heard(*caught, missed, answer("done", "challenge")), {"wrong": 1})
        self.assertEqual(self.heard(*caught, missed, answer("rejected", "challenge")), {})

    def test_another_result_of_the_same_part_is_a_duplicate_unless_it_is_the_verdict_for_the_record(self):
        self.assertEqual(self.heard(result(1), result(1, verdict="fail"), during="link_cut"), {"duplicates": 1})
        self.assertEqual(self.heard(undecided(1), result(1, "result/late"), during="link_cut"), {"late": 1})
        self.assertEqual(self.heard(undecided(1, reason="bad_image"), result(1, "result/late"), during="link_cut"),
                         {"duplicates": 1})
        self.assertEqual(self.heard(undecided(1), result(1), during="link_cut"), {"duplicates": 1})

    def test_two_parts_of_one_trigger_are_a_duplicate(self):
        self.assertEqual(self.heard(result(1), result(2, part_id="t1")), {"duplicates": 1})
        self.assertEqual(self.heard(accepted(1), accepted(2, "t1"), result(1), result(2)), {"duplicates": 1})

    def test_undecided_needs_a_fault(self):
        self.assertEqual(self.heard(undecided(1)), {"undecided_outside_faults": 1})
        self.assertEqual(self.heard(undecided(1, reason="camera_lost"), during="camera_gone"), {})
        self.assertEqual(self.heard(undecided(1), during="bad_commands_come"), {"undecided_outside_faults": 1})

    def test_of_two_triggers_within_a_frames_time_the_second_may_have_no_frame(self):
        lost = undecided(1, reason="camera_lost")
        taken = json.loads(lost.split(" ", 1)[1]) | {"detail": "the frame near its time is that of part 1, and serves one"}
        self.assertEqual(self.heard(lost), {"undecided_outside_faults": 1})
        self.assertEqual(self.heard(f"result {json.dumps(taken)}"), {})

    def test_a_bad_command_must_not_be_accepted_nor_a_part_come_that_nobody_asked_for(self):
        self.assertEqual(self.heard(accepted(1, "bad-1"), result(1)), {"wrong": 1})
        self.assertEqual(self.heard(result(1, part_id="t99")), {"wrong": 1})


class Pictures(unittest.TestCase):
    """The belt shows GOOD and then BAD; parts are about what was before the camera."""

    def heard(self, number, verdict, read="its own", camera="belt", has_time=True, during=None, behind_s=0.0, **more):
        """The errors of a part that was triggered `behind_s` after the middle of picture `number` was there."""
        faults, belt, now = Faults(), Belt(), time.monotonic()
        taken = now - behind_s
        belt.begin(taken - (number + 0.5) * PICTURE_S)
        if during:
            faults.begin(during)
        audit = Audit(faults, LINE, 0.5, belt)
        audit.sent = {"t1": Sent(now, has_time)}
        audit.hear(f"result {json.dumps(row(1, verdict=verdict, camera=camera, captured_at=wall(taken)) | more)}")
        if read != "its own":
            audit.content.see({"part_id": "t1", "camera": camera}, read)
        figures, _ = audit.report({})
        return {name for name in ("wrong_part", "wrong_verdict", "unreadable", "wrong") if figures[name]}

    def test_a_verdict_is_right_about_its_own_part(self):
        self.assertEqual(self.heard(GOOD, "pass"), set())
        self.assertEqual(self.heard(BAD, "fail", read=BAD), set())
        self.assertEqual(self.heard(BAD, "pass"), {"wrong_verdict"})
        self.assertEqual(self.heard(GOOD, "fail"), {"wrong_verdict"})
        self.assertEqual(self.heard(GOOD, "pass", camera="pair"), set())
        self.assertEqual(self.heard(BAD, "pass", camera="pair"), {"wrong_verdict"})
        self.assertEqual(self.heard(GOOD, "fail", camera="snow"), set())
        self.assertEqual(self.heard(GOOD, "pass", camera="snow"), {"wrong_verdict"})

    def test_fail_that_became_pass_on_its_way_is_found_even_where_all_keys_fit(self):
        self.assertEqual(self.heard(BAD, "pass", during="link_slow"), {"wrong_verdict"})

    def test_the_picture_shows_the_part_that_was_asked_for(self):
        for during in (None, "camera_clock", "daemon_frozen"):
            self.assertEqual(self.heard(GOOD, "pass", read=GOOD + 4, during=during), {"wrong_part"})
        self.assertEqual(self.heard(GOOD, "pass", read=None, during="damaged_stream"), {"unreadable"})

    def test_a_frame_of_another_time_is_another_parts(self):
        for during in (None, "daemon_frozen"):
            self.assertEqual(self.heard(GOOD, "pass", behind_s=2.0, during=during), {"wrong_part", "wrong_verdict"}
                             if soak_pictures.is_bad((GOOD + 4) % 64) else {"wrong_part"})

    def test_a_trigger_without_a_time_means_its_arrival_and_nothing_much_later(self):
        late = {"has_time": False, "behind_s": -0.8}
        self.assertEqual(self.heard(GOOD, "pass", read=GOOD, during="link_far", **late), set())
        self.assertEqual(self.heard(GOOD, "pass", read=GOOD, **late), {"wrong_part"} | (
            {"wrong_verdict"} if soak_pictures.is_bad((GOOD - 1) % 64) and soak_pictures.is_bad((GOOD - 2) % 64) else set()))
        self.assertIn("wrong_part", self.heard(GOOD, "pass", read=GOOD, during="daemon_frozen", has_time=False, behind_s=-3.0))

    def passed(self, taken_s, verdict="fail", seqs=(1,), read=None):
        """What is found of a part that passes the gate from 4 s on and for half a second, before and after no other."""
        passage, faults = Belt(), Faults()
        begun = time.monotonic() - 20
        shown = 2 * BAD + 1
        passage.begin(begun - shown * PICTURE_S)
        passage.end(begun + PICTURE_S + 0.4)
        audit = Audit(faults, LINE, 0.5, passage=passage)
        for seq in seqs:
            captured = wall(begun + taken_s + 0.001 * seq)
            told = row(seq, verdict=verdict, camera="gate", part_id=None, captured_at=captured)
            audit.hear(f"result {json.dumps(told)}")
            if read is not None:
                audit.content.see({"part_id": "", "camera": "gate", "seq": str(seq)}, read)
        figures, _ = audit.report({})
        return {name: figures[name] for name in ("wrong_part", "wrong_verdict", "wrong", "lost") if figures[name]}

    def test_what_passes_the_gate_is_judged_by_what_was_there(self):
        self.assertEqual(self.passed(0.25), {})
        self.assertEqual(self.passed(0.25, read=BAD), {})
        self.assertEqual(self.passed(0.25, read=BAD + 1), {"wrong_part": 1})
        self.assertEqual(self.passed(0.25, verdict="pass"), {"wrong_verdict": 1})

    def test_a_part_on_the_empty_belt_is_wrong_unless_the_line_began_with_a_part_before_its_camera(self):
        passage, now = Belt(), time.monotonic()
        passage.begin(now - 20.5 * PICTURE_S)
        passage.end(now)
        # Three parts and then the belt; the belt first; the belt more often than parts.
        for pictures, wrong in (((1, 3, 5, 6), 1), ((2, 3, 5), 0), ((1, 3, 5, 6, 8, 10, 12), 0)):
            audit = Audit(Faults(), LINE, 0.5, passage=passage)
            for seq, picture in enumerate(pictures, 1):
                number = picture // 2
                taken = wall(now + (picture + 0.5 - 20.5) * PICTURE_S)
                verdict = "fail" if picture % 2 == 0 or soak_pictures.is_bad(number) else "pass"
                audit.hear(f"result {json.dumps(row(seq, camera='gate', part_id=None, verdict=verdict, captured_at=taken))}")
            figures, _ = audit.report({})
            self.assertEqual((figures["wrong_part"], figures["took_a_part_for_the_belt"]), (wrong, 1 - wrong))

    def test_each_part_that_passes_the_gate_is_seen_once(self):
        passage, faults = Belt(), Faults()
        begun = time.monotonic() - 60
        passage.begin(begun)
        passage.end(begun + 3 * PICTURE_S)
        audit = Audit(faults, LINE, 0.5, passage=passage)
        self.assertEqual(audit.report({})[0]["unseen"], 1)
        for seq, unseen in ((1, 0), (2, 1)):
            taken = wall(begun + 1.5 * PICTURE_S)
            audit.hear(f"result {json.dumps(row(seq, camera='gate', part_id=None, captured_at=taken))}")
            self.assertEqual(audit.report({})[0]["unseen"], unseen)

    def test_a_trigger_whose_time_is_a_minute_ago_may_be_refused(self):
        for has_time, ago, wrong in ((True, 80.0, 0), (True, 20.0, 1), (False, 80.0, 1)):
            audit = Audit(Faults(), LINE, 0.5)
            audit.sent = {"t1": Sent(time.monotonic() - ago, has_time)}
            audit.hear(f"ack/trigger {json.dumps({'id': 't1', 'status': 'rejected', 'reason': 'at', 'parts': []})}")
            self.assertEqual(audit.report({})[0]["wrong"], wrong)

    def test_a_trigger_of_a_camera_that_not_every_line_has_may_be_refused(self):
        audit = Audit(Faults(), LINE, 0.5)
        audit.sent = {"t1": Sent(time.monotonic(), True), "t2": Sent(time.monotonic(), True, "wide")}
        for key, wrong in (("t2", 0), ("t1", 1)):
            refused = json.dumps({"id": key, "status": "rejected", "reason": "no camera", "parts": []})
            audit.hear(f"ack/trigger {refused}")
            self.assertEqual(audit.report({})[0]["wrong"], wrong)

    def test_a_code_is_read_from_a_picture_and_from_nothing_else(self):
        for number in (0, GOOD, BAD, 37, 63):
            rows = soak_pictures.draw(number, soak_pictures.is_bad(number))[:soak_pictures.STRIP]
            whole = rows + [bytes(3 * soak_pictures.SIDE)] * (soak_pictures.SIDE - soak_pictures.STRIP)
            self.assertEqual(soak_pictures.Read(soak_pictures.png(whole)).number(), number)
        levels = [225 * cell for cell in soak_pictures.cells(9)]
        self.assertEqual(soak_pictures.number_of(levels), 9)
        torn = levels[:8] + [225 * cell for cell in soak_pictures.cells(54)][8:]
        self.assertIsNone(soak_pictures.number_of(torn))
        self.assertIsNone(soak_pictures.number_of([128] * 16))


class Camera(unittest.TestCase):
    def packet(self, number, unit=5, begins=True, size=200):
        """An interleaved RTP packet with a fragment of a unit."""
        fragment = bytes((28, unit | 128 * begins)) + bytes(size)
        head = b"\x80\x60" + number.to_bytes(2, "big") + bytes(8)
        body = head + fragment
        return b"$\x00" + len(body).to_bytes(2, "big") + body

    def way(self, damage, share):
        way = Way.__new__(Way)
        way.random, way.damage, way.share, way.damaged, way.clock_s = random.Random(1), damage, share, 0, 0.0
        return way

    def test_text_and_packets_are_found_however_the_stream_is_cut(self):
        stream = b"RTSP/1.0 200 OK\r\n\r\n" + self.packet(1) + self.packet(2)
        for cut in range(len(stream)):
            frames = Frames()
            found = [*frames.feed(stream[:cut]), *frames.feed(stream[cut:])]
            self.assertEqual(b"".join(data for _, data in found), stream)
            self.assertEqual([channel for channel, _ in found if channel is not None], [0, 0])

    def test_a_slice_that_was_never_packed_leaves_no_gap_in_the_numbers(self):
        way, missing, unit, numbers = self.way("slices", 0.5), 0, None, []
        for number in range(200):
            packet, missing, unit = way.picture(bytearray(self.packet(number, begins=number % 2 == 0)), missing, unit)
            numbers += [int.from_bytes(packet[6:8], "big")] if packet else []
        self.assertEqual(numbers, list(range(len(numbers))))
        self.assertTrue(50 < len(numbers) < 150)

    def test_wrong_bits_are_in_slices_alone(self):
        way = self.way("bits", 1.0)
        slice_, parameters = self.packet(1), self.packet(1, unit=7)
        self.assertNotEqual(way.picture(bytearray(slice_), 0, None)[0], slice_)
        self.assertEqual(way.picture(bytearray(parameters), 0, None)[0], parameters)

    def test_a_sender_report_tells_the_cameras_clock(self):
        way = self.way(None, 0.0)
        way.clock_s = -1.5
        report = b"$\x01\x00\x1c\x80\xc8\x00\x06\x00\x00\x00\x01" + (10 << 32).to_bytes(8, "big") + bytes(12)
        told = way.report(report)
        self.assertEqual(int.from_bytes(told[12:20], "big"), (8 << 32) + (1 << 31))
        self.assertEqual((told[:12], told[20:]), (report[:12], report[20:]))


class Stream(unittest.TestCase):
    def test_a_result_is_turned_on_its_way(self):
        told = row(1, verdict="fail", defects=[])
        body = b"\x00\x08s/result\x00\x2a\x00" + json.dumps(told).encode()
        turned = flipped(0x32, body)
        packets = Packets()
        (kind, flags, changed), = packets.feed(turned)
        self.assertEqual((kind, result_in(flags, changed)), (3, result_in(2, body)))
        self.assertEqual(flaws(json.loads(changed[changed.index(b"{"):]), "result", 900, LINE), [])
        self.assertIsNone(flipped(0x32, body.replace(b'"fail"', b'"pass"')))

    def test_the_daemons_own_order_is_looked_at_on_each_connection_and_topic(self):
        link = Link.__new__(Link)
        link.disorder, link.disorder_again, link.was_sent, connection = [], [], set(), {}

        def sent(seq, topic="s/result"):
            link.note_order([(1, ("A", "top", seq), topic)], connection)
            return len(link.disorder), len(link.disorder_again)

        for seq in (1, 2, 4):
            self.assertEqual(sent(seq), (0, 0))
        self.assertEqual(sent(1, "s/result/late"), (0, 0))
        self.assertEqual(sent(3), (1, 0))
        self.assertEqual(sent(2), (1, 1))
        connection = {}
        self.assertEqual(sent(1), (1, 1))

    def test_packets_are_found_however_the_stream_is_cut(self):
        payload = json.dumps({"run_id": "A", "camera": "top", "seq": 7}).encode()
        body = b"\x00\x08s/result\x00\x2a\x00" + payload
        stream = bytes([0x32, len(body)]) + body + b"\x40\x02\x00\x2a"
        for cut in range(len(stream)):
            packets = Packets()
            found = [*packets.feed(stream[:cut]), *packets.feed(stream[cut:])]
            self.assertEqual([(kind, flags) for kind, flags, _ in found], [(3, 2), (4, 0)])
            self.assertEqual(result_in(found[0][1], found[0][2]), (42, ("A", "top", 7), "s/result"))


class Kept(unittest.TestCase):
    """The history beside the books."""

    def setUp(self):
        audit = Audit(Faults(), LINE, 0.5)
        for line in [result(seq) for seq in range(1, 6)] + [undecided(6), result(6, "result/late")]:
            audit.hear(line)
        self.parts = audit.parts
        self.rows = [self.told(part.result) for part in audit.parts.values()]
        self.rows.append(self.told(audit.parts[("A", "top", 6)].record, "true"))

    def told(self, heard, late_verdict="false"):
        row = {key: str(heard[key] or "") for key in ("run_id", "camera", "seq", "verdict", "reason", "part_id", "recipe",
                                                      "challenge")}
        return row | {"late_verdict": late_verdict}

    def differs(self, rows, unheard=(), **more):
        return len(History(rows, **more).differs(self.parts, unheard))

    def test_a_history_that_says_what_was_heard_differs_nowhere(self):
        self.assertEqual(self.differs(self.rows), 0)

    def test_each_other_value_is_a_difference_and_so_is_a_late_verdict_that_is_not_there(self):
        for place in range(len(self.rows)):
            for key in ("verdict", "part_id", "recipe"):
                other = [row | {key: "other"} if row is self.rows[place] else row for row in self.rows]
                self.assertEqual(self.differs(other), 1, f"{key} of {self.rows[place]}")
        self.assertEqual(self.differs(self.rows[:-1]), 1)
        self.assertEqual(self.differs(self.rows + self.rows[:1]), 1)

    def test_a_part_is_missing_only_where_the_store_says_so_or_is_full_and_has_no_older_one(self):
        without = {seq: [row for row in self.rows if row["seq"] != str(seq)] for seq in (1, 3)}
        self.assertEqual(self.differs(without[1]), 1)
        self.assertEqual(self.differs(without[1], not_kept=1), 0)
        self.assertEqual(self.differs(without[1], is_full=True), 0)
        self.assertEqual(self.differs(without[3], is_full=True), 1)
        log = "WARN the disk fails for long: 3 delivered results will not be in the store's history; forgotten are " \
              "1 commands' ids, 0 lines of the audit log, 2 verdicts that came late\n"
        self.assertEqual(not_kept(2 * log), 10)

    def test_a_part_that_nobody_heard_of_is_told(self):
        more = self.rows + [self.told(row(7))]
        self.assertEqual(self.differs(more), 1)
        self.assertEqual(self.differs(more, unheard=[("A", "top", 7)]), 0)



class Told:
    """A part as the audit has it."""

    def __init__(self, result, record=None):
        self.result, self.record = result, record


def plc(seq, camera=1, **more):
    told = {"n": seq, "run": run_number("R"), "part": "A", "cam": camera, "reg": "", "eval": 2, "rej": 1, "why": 0, "s": 4120,
            "t": 3370, "rin": -1, "cnt": 0, "t0": 1}
    return json.dumps(told | more, separators=(",", ":"))


def its_result(**more):
    return {"evaluation": 2, "reject": True, "reason": None, "score": 0.41204, "threshold": 0.337, "part_id": "A"} | more


class Plc(unittest.TestCase):
    """`plc` beside the results."""

    def differs(self, told, parts, excused=()):
        books = PlcBooks(("belt", "snow"))
        for message in told:
            books.hear(message)
        return books.differs(parts, excused)

    def test_the_same_parts_with_the_same_verdicts_differ_in_nothing(self):
        late = its_result(evaluation=3, reason="late", score=None)
        parts = {("R", "belt", 1): Told(its_result()), ("R", "belt", 2): Told(late, its_result())}
        told = [plc(1), plc(1), plc(2, eval=3, why=CODES["late"], s=-1), plc(2)]
        self.assertEqual(self.differs(told, parts), [])

    def test_each_difference_is_found(self):
        parts = {("R", "belt", 1): Told(its_result())}
        for told, words in (([], "a result and no plc"), ([plc(1), plc(2)], "plc and no result"),
                            ([plc(1, eval=1)], "plc says"), ([plc(1, rej=0)], "plc says"), ([plc(1, s=4130)], "plc says"),
                            ([plc(1, part="B")], "plc says"), ([plc(1, 2)], "a result and no plc"),
                            ([plc(1), plc(1, rej=0)], "plc says"), ([plc(1, more=1)], "keys or length")):
            found = self.differs(told, parts)
            self.assertTrue(any(words in one for one in found), (told, found))

    def test_what_the_broker_lost_is_no_difference(self):
        self.assertEqual(self.differs([], {("R", "belt", 1): Told(its_result())}, [("R", "belt", 1)]), [])
        self.assertEqual(self.differs([plc(1)], {}, [("R", "belt", 1)]), [])


if __name__ == "__main__":
    unittest.main()
