"""The books of tools/soak: what was sent, accepted, answered and seen, and when something was broken on purpose.

Two independent views of the promises (docs/reliability.md): each accepted part of `ack/trigger` has exactly one result;
and the numbers of each (run, camera) are whole and in order, up to where `birth.previous` says that the run ended. What
a result says about its part is for soak_content.py. All times are this process's monotonic clock.
"""

import collections
import json
import threading
import time

from soak_content import GATE, Belt, Content, flaws, seconds_of
from soak_plc import PlcBooks

FRAME_BEFORE_S = 0.5  # a frame may be so much older than its part's trigger
GRACE_S = 3  # after a fault is over and the line has recovered
# A broker that dies may forget what it acknowledged so long before.
BROKER_FORGETS_S = 2
# On its way from the store to here, in which nothing is slow.
ARRIVES_S = 0.5
# Results of one connection that may be on their way without an acknowledgement, and come again with the next one; with
# those whose acknowledgement a crash forgets.
AGAIN_A_CONNECTION = 64 + 16
# Names under which parts come, in the order of the line's file.
PLACES = ("belt", "snow", "pair", "gate", "wide")
# These delay what is said, or what is heard; all other faults are no reason for a result after its deadline.
DELAYING = ("start", "broker_kill", "broker_restart", "broker_frozen", "broker_away_long", "session_lost", "link_cut",
            "link_half_open", "link_cut_after_publish", "link_slow", "link_far", "daemon_kill", "daemon_kill_twice",
            "daemon_frozen", "daemon_stop", "daemon_stop_without_broker", "two_daemons", "clock_back",
            "refused_for_a_while")
# After these the broker itself sends again what the books' own client had not acknowledged.
SENT_AGAIN_BY_BROKER = ("broker_kill", "broker_restart", "broker_frozen", "session_lost")
# These harm no part at all.
HARMLESS = ("bad_commands_come", "slow_reader")
# Commands that are answered twice: accepted, then done or rejected.
TWO_ANSWERS = ("select_recipe", "challenge")
# A verdict may follow these; it is for the record then.
MAY_BE_JUDGED_LATER = ("late", "camera_lost", "not_ready")


class Faults:
    """When something was broken, and from when on all went again."""

    def __init__(self):
        self.spans, self.lock = [], threading.Lock()

    def begin(self, kind):
        with self.lock:
            self.spans.append({"kind": kind, "begin": time.monotonic(), "over": None, "recovered": None})
            return self.spans[-1]

    def is_active(self, begin, end, kinds=None, harmless=()):
        """Whether one of these, or one that is not harmless, was active, or just over, at some time between."""
        found = self.kinds(begin, end) - set(harmless)
        return bool(found if kinds is None else found & set(kinds))

    def kinds(self, begin, end):
        """The kinds that were active, or just over, at some time between. A fault after another one has a name of both:
        `daemon_kill during select_recipe` is of both kinds."""
        with self.lock:
            return {kind for span in self.spans
                    if span["begin"] <= end and (span["recovered"] is None or begin <= span["recovered"] + GRACE_S)
                    for kind in span["kind"].split(" during ")}

    def count(self):
        with self.lock:
            return dict(sorted(collections.Counter(span["kind"] for span in self.spans).items()))


class Part:
    """What was heard of one (run_id, camera, seq)."""

    def __init__(self, result, topic, at):
        self.result, self.is_live, self.at, self.heard = result, topic == "result", at, at
        self.asked_at, self.copies = at, 1  # when it was asked for, and how often it came
        self.record = None  # a verdict that came after an undecided result


def content(result):
    """What a result says; whether it came in time is said by each sending anew."""
    return {key: value for key, value in result.items() if key not in ("historical", "given_up_before")}


def in_ms(seconds):
    """Their middle and their end; nothing of nothing."""
    ordered = sorted(seconds)
    return {f"p{share}": round(1000 * ordered[len(ordered) * share // 100]) for share in (50, 99)} if ordered else None


class Audit:
    """`line` is what its results share; `connections` grows by the time of each connection of a daemon to the broker."""

    def __init__(self, faults, line, gate_s, belt=None, passage=None, connections=()):
        self.faults, self.line, self.deadline_s, self.gate_s = faults, line, line.deadline_s, gate_s
        self.connections, self.lock = connections, threading.Lock()
        self.to_wall_s = time.time() - time.monotonic()
        self.content = Content(belt or Belt(), passage or Belt(), faults, self.to_wall_s)
        self.sent = {}  # trigger id -> the trigger as it was given to the sender (soak_content.Sent)
        self.confirmed = set()  # of those, acknowledged by the broker
        self.parts, self.runs = {}, {}  # (run, camera, seq) -> Part; (run, camera) -> last seq
        self.accepted, self.answers = {}, {}  # part -> trigger id; trigger id -> first answer
        self.of_trigger = collections.defaultdict(set)  # (trigger id, camera) -> parts
        self.highest = collections.Counter()  # (topic or "record", run, camera) -> seq
        self.rejected = collections.Counter()
        self.at_gate, self.gate_late = {}, []  # part -> when its gate was told of it; by how long after it was there
        self.resent = self.answered_again = self.balanced = self.maps = 0
        self.duplicates, self.out_of_order, self.wrong, self.overdue, self.given_up = [], [], [], [], []
        self.begun, self.outcomes = {}, collections.defaultdict(list)  # (name, id) -> answer; its later answers
        self.challenged = collections.defaultdict(dict)  # challenge id -> part -> verdict
        self.latencies, self.heard_words = [], set()
        self.plc = PlcBooks(PLACES)
        self.judged_since = {}  # camera -> newest trigger that was judged in time

    def hear(self, line):
        """One line of mosquitto_sub: the topic below the station, and the payload."""
        topic, _, payload = line.rstrip("\n").partition(" ")
        with self.lock:
            try:
                self.take(topic, payload)
            except (KeyError, TypeError, ValueError) as error:
                self.wrong.append(f"{topic} is not as it should be ({error!r}): {payload[:200]}")

    def take(self, topic, payload):
        if topic in ("result", "result/late"):
            result = json.loads(payload)
            said = flaws(result, topic, len(payload.encode()), self.line)
            self.wrong += [f"{words}: {payload[:300]}" for words in said]
            self.hear_result(topic, result, time.monotonic())
        elif topic in ("plc", "plc/late"):
            self.plc.hear(payload)
        elif topic == "birth":
            for run in json.loads(payload)["previous"]:
                self.ran_to(run["run_id"], run["camera"], run["last_seq"])
        elif topic.startswith("ack/"):
            self.hear_answer(topic.removeprefix("ack/"), payload)
        elif topic == "reject":
            self.hear_reject(json.loads(payload), time.monotonic())
        elif topic == "metrics":
            self.hear_metrics(json.loads(payload)["store"])
        elif topic == "probe":
            self.heard_words.add(payload)

    def hear_metrics(self, store):
        """The daemon's own counters balance at any moment."""
        came = store["results"] + store["late"] + store["earlier"]
        went = store["acked"] + store["given_up"] + store["waiting"]
        if store["accepted"] != store["results"] + store["open"] or came != went:
            self.wrong.append(f"counters that do not balance: {store}")
        elif store["given_up"]:
            self.given_up.append(f"given up by its counters: {store}")
        else:
            self.balanced += 1

    def ran_to(self, run, camera, seq):
        self.runs[(run, camera)] = max(seq, self.runs.get((run, camera), 0))

    def hear_answer(self, name, payload):
        answer = json.loads(payload)
        key = answer["id"]
        if answer["status"] == "rejected":
            self.rejected[(name, key)] += 1
            # By a clock that went back a good trigger's time is to come.
            sent = self.sent.get(key)
            if (name, key) in self.begun:
                self.hear_outcome(name, key, answer)
            elif sent is not None and not sent.may_be_refused(time.monotonic()) and not self.faults.is_active(sent.at, sent.at + self.deadline_s, ("clock_back",)):
                self.wrong.append(f"a good trigger was rejected: {payload}")
            return
        if key is not None and key.startswith("bad"):
            self.wrong.append(f"a bad command was accepted: {payload}")
        if name in TWO_ANSWERS:
            if answer["status"] == "accepted":
                self.begun[(name, key)] = answer
            else:
                self.hear_outcome(name, key, answer)
            return
        for part in answer["parts"]:
            self.accepted[(part["run_id"], part["camera"], part["seq"])] = key
            self.ran_to(part["run_id"], part["camera"], part["seq"])
        first = self.answers.setdefault(key, payload)
        if first == payload:
            self.answered_again += first is not payload
        elif not self.two_daemons_had(key):
            self.duplicates.append(f"two answers for {key}: {first} and {payload}")

    def hear_outcome(self, name, key, answer):
        """The second answer: the same one may come again. Over a link that was cut it may come before the first one, which
        comes again with its command."""
        now = time.monotonic()
        if (name, key) not in self.begun and not self.faults.is_active(now, now):
            self.wrong.append(f"{name}: an outcome of what was never accepted: {answer}")
        elif answer not in self.outcomes[(name, key)]:
            self.outcomes[(name, key)].append(answer)
            if len(self.outcomes[(name, key)]) > 1:
                self.duplicates.append(f"{name}: two outcomes of {key}: {self.outcomes[(name, key)]}")

    def two_daemons_had(self, trigger):
        """Two daemons of one name cannot know each other's commands."""
        sent = self.sent.get(trigger)
        return sent is not None and self.faults.is_active(sent.at, sent.at + self.deadline_s, ("two_daemons",))

    def hear_result(self, topic, result, now):
        of, seq = (result["run_id"], result["camera"]), result["seq"]
        self.ran_to(*of, seq)
        part = self.parts.get((*of, seq))
        if result["given_up_before"]:
            self.given_up.append(f"{result['given_up_before']} given up before {of} {seq}")
        if part is None:
            self.parts[(*of, seq)] = part = Part(result, topic, now)
            self.in_order(topic, of, seq)
            self.belongs(result, (*of, seq))
            self.measure(result, part)
            self.in_time(topic, result, part)
            if result["challenge"] is not None:
                self.challenged[result["challenge"]][(*of, seq)] = result["verdict"]
        elif content(result) == content(part.result):
            self.again(part, (*of, seq), now)
        elif part.record is not None and content(result) == content(part.record):
            self.again(part, (*of, seq), now)
        elif (part.record is None and topic == "result/late" and result["historical"]
              and part.result["reason"] in MAY_BE_JUDGED_LATER):
            part.record = result
            self.in_order("record", of, seq)
        else:
            self.duplicates.append(f"{of} {seq}: another result, {part.result} and {result} on {topic}")
        part.heard = now

    def hear_reject(self, told, now):
        """A part is at its gate: once, and not before. A frame may be a little older than its trigger."""
        key = (told["run_id"], told["camera"], told["seq"])
        trigger = self.sent.get(told["part_id"])
        sent = trigger.at if trigger else now
        if key in self.at_gate and not self.faults.is_active(self.at_gate[key], now):
            self.duplicates.append(f"{key}: told to be at the gate again")
        self.at_gate[key] = now
        if not self.faults.is_active(sent, now):
            self.gate_late.append(time.time() - seconds_of(told["at"]))
        if trigger is None:
            return
        early = sent + self.gate_s - FRAME_BEFORE_S - now
        if early > 0 and not self.faults.is_active(sent, now, ("clock_back",)):
            self.wrong.append(f"{key}: told to be at the gate {early:.3f} s before it is")

    def found(self):
        """What was found broken so far and can be told before the end, in the order in which it was found by kind."""
        with self.lock:
            return [self.wrong[:], self.duplicates[:], self.out_of_order[:], self.overdue[:], self.given_up[:]]

    def see(self, read):
        """A heat map that was read (soak_pictures.Read)."""
        with self.lock:
            self.maps += 1
            self.content.see(read.texts, read.number())

    def rejects(self):
        """Gates that were told; of parts that pass, and of nobody at all; not told, though nothing was broken."""
        passed = [key for key in self.at_gate if key in self.parts and not self.parts[key].result["reject"]]
        known = [(key, part) for key, part in self.parts.items() if part.result["reject"] and part.is_live]
        untold = [key for key, part in known if key not in self.at_gate
                  and not self.faults.is_active(part.at - self.deadline_s, part.at + self.gate_s)]
        return {"told": len(self.at_gate), "passed": len(passed), "untold_outside_faults": len(untold),
                "late_ms": in_ms(self.gate_late)}

    def again(self, part, key, now):
        """At least once: explained by a connection that was opened since the part came, once for each."""
        part.copies += 1
        opened = sum(at > part.asked_at for at in self.connections)
        opened += self.faults.is_active(part.asked_at, now, SENT_AGAIN_BY_BROKER)
        if part.copies <= 1 + opened and self.faults.is_active(part.heard, now):
            self.resent += 1
        else:
            self.duplicates.append(f"{key}: came for the {part.copies}. time, and {opened} connections were opened since")

    def in_order(self, topic, of, seq):
        before = self.highest[(topic, *of)]
        if seq < before:
            self.out_of_order.append(f"{topic} {of}: {seq} after {before}")
        self.highest[(topic, *of)] = max(seq, before)

    def belongs(self, result, key):
        """A trigger has one part a camera."""
        trigger, camera = result["part_id"], result["camera"]
        if trigger is None and camera == GATE:
            return
        if trigger not in self.sent:
            self.wrong.append(f"a part that nobody asked for: {result}")
            return
        parts = self.of_trigger[(trigger, camera)]
        parts.add(key)
        if len(parts) > 1 and not self.two_daemons_had(trigger):
            self.duplicates.append(f"two parts for {trigger}: {sorted(parts)}")

    def measure(self, result, part):
        sent = self.sent.get(result["part_id"])
        if sent is None or not part.is_live or result["reason"] is not None:
            return
        camera = result["camera"]
        self.judged_since[camera] = max(sent.at, self.judged_since.get(camera, 0))
        if not self.faults.is_active(sent.at, part.at):
            self.latencies.append(part.at - sent.at)

    def in_time(self, topic, result, part):
        """A result is here by its deadline, unless something stood between it and us."""
        sent = self.sent.get(result["part_id"])
        if sent is None:
            return
        part.asked_at = sent.at
        took = part.at - sent.at
        is_late = took > self.deadline_s + ARRIVES_S or topic == "result/late"
        if is_late and not self.faults.is_active(sent.at, part.at, DELAYING):
            self.overdue.append(f"on {topic} {took:.2f} s after its trigger, during {self.faults.kinds(sent.at, part.at)}: "
                                f"{result}")

    def is_outside_faults(self, part):
        """Whether nothing was broken that could have kept it from being judged."""
        sent = self.sent.get(part.result["part_id"])
        begun = sent.at if sent else self.content.taken(part.result)
        return not self.faults.is_active(begun, begun + self.deadline_s, harmless=HARMLESS)

    def missing(self):
        """Parts without a result, by both views."""
        by_number = {(*of, seq) for of, last in self.runs.items() for seq in range(1, last + 1)}
        return (by_number | set(self.accepted)) - set(self.parts)

    def unfinished(self):
        """Commands that were accepted, and of which nobody ever said what became of them."""
        return [f"{name} {key}" for name, key in self.begun if not self.outcomes[(name, key)]]

    def false_outcomes(self):
        """Challenges that are done although a part of theirs was not caught."""
        for (name, key), answers in self.outcomes.items():
            caught = self.challenged[key].values() if name == "challenge" else ()
            if answers and answers[0]["status"] == "done" and any(verdict != "fail" for verdict in caught):
                yield f"challenge {key} is done, and its verdicts are {list(caught)}"

    def about(self):
        """Errors in what results say about their parts, by their kind."""
        found = {"wrong_part": [], "wrong_verdict": [], "unreadable": []}
        mistaken = self.content.mistaken([part.result for part in self.parts.values()])
        for key, part in self.parts.items():
            for result in (part.result, part.record):
                if result and result["run_id"] not in mistaken and result["camera"] == GATE:
                    for kind, words in self.content.judge_passed(result, part.at):
                        found[kind].append(f"{key} (passed): {words}")
                sent = self.sent.get(result["part_id"]) if result else None
                if sent is None:
                    continue
                for kind, words in self.content.judge(sent, result, part.at):
                    how = "at" if sent.has_time else "no at"
                    during = ", ".join(sorted(self.faults.kinds(sent.at, part.at))) or "nothing broken"
                    found[kind].append(f"{key} ({how}; {during}): {words}")
        return found

    def unanswered(self):
        return self.confirmed - set(self.answers) - {key for _, key in self.rejected}

    def is_quiet(self):
        """All is answered and every part has its result."""
        with self.lock:
            return not self.missing() and not self.unanswered()

    def lost_by_broker(self, acked):
        """Results that a broker acknowledged, as `acked` tells when, and may have lost with its end."""
        kinds = ("broker_kill", "session_lost")
        return [key for key, at in acked.items() if self.faults.is_active(at, at + BROKER_FORGETS_S, kinds)]

    def plc_differs(self, acked):
        """What `plc` says otherwise than the results."""
        with self.lock:
            return self.plc.differs(self.parts, self.lost_by_broker(acked))

    def report(self, acked):
        """The figures; `acked` is when the broker acknowledged which result."""
        with self.lock:
            kinds = ("broker_kill", "session_lost")
            broker_lost = [key for key in self.missing() if key in acked
                           and self.faults.is_active(acked[key], acked[key] + BROKER_FORGETS_S, kinds)]
            lost = sorted(self.missing() - set(broker_lost))
            parts = self.parts.values()
            undecided = [part for part in parts if part.result["verdict"] == "undecided"]
            mistaken = self.content.mistaken([part.result for part in parts])
            outside = [part for part in undecided if self.is_outside_faults(part)
                       and not (part.result["camera"] == GATE and part.result["run_id"] in mistaken)]
            # A busy machine bunches triggers up; of two within a frame's time the second may have no frame of its own.
            too_close = [part for part in outside if "serves one" in (part.result.get("detail") or "")]
            outside = [part for part in outside if part not in too_close]
            unanswered = [key for key in self.unanswered()
                          if not self.faults.is_active(self.sent[key].at, self.sent[key].at + self.deadline_s,
                                                       (*kinds, "two_daemons", "start"))]
            rejects = self.rejects()
            about, shared = self.about(), self.content.shared(part.result for part in parts)
            unseen = list(self.content.unseen([part.result for part in parts], time.monotonic() - 5))
            unfinished, false = self.unfinished(), list(self.false_outcomes())
            most_again = AGAIN_A_CONNECTION * (1 + len(self.connections))
            if self.resent > most_again:
                false.append(f"{self.resent} results came again, of at most {most_again}")
            figures = {
                "triggers": len(self.confirmed),
                "accepted": len(self.accepted),
                "results": len(self.parts),
                "judged": len(self.parts) - len(undecided),
                "undecided": dict(sorted(collections.Counter(part.result["reason"] for part in undecided).items())),
                "undecided_outside_faults": len(outside),
                "too_close": len(too_close),
                "late_results": sum(not part.is_live for part in parts),
                "late": sum(part.record is not None for part in parts),
                "lost": len(lost),
                "lost_by_broker": len(broker_lost),
                "duplicates": len(self.duplicates),
                "wrong_part": len(about["wrong_part"]),
                "wrong_verdict": len(about["wrong_verdict"]),
                "false_pass": sum("'pass'" in words for words in about["wrong_verdict"]),
                "unreadable": len(about["unreadable"]),
                "same_picture": len(shared),
                "heat_maps": self.maps,
                "unseen": len(unseen),
                "took_a_part_for_the_belt": len(mistaken),
                "overdue": len(self.overdue),
                "given_up": len(self.given_up),
                "outcomes": len(self.outcomes),
                "unfinished": len(unfinished),
                "resent": self.resent,
                "balanced_metrics": self.balanced,
                "out_of_order": len(self.out_of_order),
                "answered_again": self.answered_again,
                "rejected": sum(self.rejected.values()),
                "unanswered": len(unanswered),
                "wrong": len(self.wrong) + rejects["passed"] + len(false),
                "rejects": rejects,
                "latency_ms": in_ms(self.latencies),
            }
            details = self.wrong + false + [f"undecided outside faults: {part.result}" for part in outside]
            details += [f"lost: {key}" for key in lost] + [f"unanswered: {key}" for key in unanswered]
            details += [f"{kind}: {words}" for kind, found in about.items() for words in found]
            details += [f"one picture for {len(names)} parts: {key}, {sorted(names)[:4]}" for key, names in shared.items()]
            details += [f"overdue: {words}" for words in self.overdue] + self.given_up
            details += [f"unseen: {words}" for words in unseen]
            details += [f"no outcome: {words}" for words in unfinished]
            details += self.duplicates + self.out_of_order
            return figures, details
