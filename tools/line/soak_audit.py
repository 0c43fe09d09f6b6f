"""The books of tools/soak: what was sent, accepted, answered and seen, and when something was broken on purpose.

Two independent views of the promises (docs/reliability.md): each accepted part of `ack/trigger` has exactly one result;
and the numbers of each (run, camera) are whole and in order, up to where `birth.previous` says that the run ended. All
times are this process's monotonic clock.
"""

import collections
import datetime
import json
import threading
import time

FRAME_BEFORE_S = 0.5  # a frame may be so much older than its part's trigger
GRACE_S = 3  # after a fault is over and the line has recovered
# A broker that dies may forget what it acknowledged so long before.
BROKER_FORGETS_S = 2
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

    def is_active(self, begin, end, kinds=None):
        """Whether one of them was active, or just over, at some time between."""
        with self.lock:
            return any(span["begin"] <= end and (span["recovered"] is None or begin <= span["recovered"] + GRACE_S)
                       for span in self.spans if kinds is None or span["kind"] in kinds)

    def count(self):
        with self.lock:
            return dict(sorted(collections.Counter(span["kind"] for span in self.spans).items()))


class Part:
    """What was heard of one (run_id, camera, seq)."""

    def __init__(self, result, topic, at):
        self.result, self.is_live, self.at, self.heard = result, topic == "result", at, at
        self.record = None  # a verdict that came after an undecided result


def content(result):
    """What a result says; whether it came in time is said by each sending anew."""
    return {key: value for key, value in result.items() if key not in ("historical", "given_up_before")}


def in_ms(seconds):
    """Their middle and their end; nothing of nothing."""
    ordered = sorted(seconds)
    return {f"p{share}": round(1000 * ordered[len(ordered) * share // 100]) for share in (50, 99)} if ordered else None


class Audit:
    def __init__(self, faults, deadline_s, gate_s):
        self.faults, self.deadline_s, self.gate_s, self.lock = faults, deadline_s, gate_s, threading.Lock()
        self.sent = {}  # trigger id -> when it was given to the sender
        self.confirmed = set()  # of those, acknowledged by the broker
        self.parts, self.runs = {}, {}  # (run, camera, seq) -> Part; (run, camera) -> last seq
        self.accepted, self.answers = {}, {}  # part -> trigger id; trigger id -> first answer
        self.of_trigger = collections.defaultdict(set)  # (trigger id, camera) -> parts
        self.highest = collections.Counter()  # (topic or "record", run, camera) -> seq
        self.rejected = collections.Counter()
        self.at_gate, self.gate_late = {}, []  # part -> when its gate was told of it; by how long after it was there
        self.resent = self.answered_again = self.balanced = 0
        self.duplicates, self.out_of_order, self.wrong = [], [], []
        self.latencies, self.heard_words = [], set()
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
            self.hear_result(topic, json.loads(payload), time.monotonic())
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
            if sent is not None and not self.faults.is_active(sent, sent + self.deadline_s, ("clock_back",)):
                self.wrong.append(f"a good trigger was rejected: {payload}")
            return
        if key is not None and key.startswith("bad"):
            self.wrong.append(f"a bad command was accepted: {payload}")
        for part in answer["parts"]:
            self.accepted[(part["run_id"], part["camera"], part["seq"])] = key
            self.ran_to(part["run_id"], part["camera"], part["seq"])
        first = self.answers.setdefault(key, payload)
        if first == payload:
            self.answered_again += first is not payload
        elif not self.two_daemons_had(key):
            self.duplicates.append(f"two answers for {key}: {first} and {payload}")

    def two_daemons_had(self, trigger):
        """Two daemons of one name cannot know each other's commands."""
        sent = self.sent.get(trigger, 0)
        return self.faults.is_active(sent, sent + self.deadline_s, ("two_daemons",))

    def hear_result(self, topic, result, now):
        of, seq = (result["run_id"], result["camera"]), result["seq"]
        self.ran_to(*of, seq)
        part = self.parts.get((*of, seq))
        if part is None:
            self.parts[(*of, seq)] = part = Part(result, topic, now)
            self.in_order(topic, of, seq)
            self.belongs(result, (*of, seq))
            self.measure(result, part)
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
        key, sent = (told["run_id"], told["camera"], told["seq"]), self.sent.get(told["part_id"], now)
        if key in self.at_gate and not self.faults.is_active(self.at_gate[key], now):
            self.duplicates.append(f"{key}: told to be at the gate again")
        self.at_gate[key] = now
        if not self.faults.is_active(sent, now):
            at = datetime.datetime.fromisoformat(told["at"].replace("Z", "+00:00"))
            self.gate_late.append(time.time() - at.timestamp())
        early = sent + self.gate_s - FRAME_BEFORE_S - now
        if early > 0 and not self.faults.is_active(sent, now, ("clock_back",)):
            self.wrong.append(f"{key}: told to be at the gate {early:.3f} s before it is")

    def rejects(self):
        """Gates that were told; of parts that pass, and of nobody at all; not told, though nothing was broken."""
        passed = [key for key in self.at_gate if key in self.parts and not self.parts[key].result["reject"]]
        known = [(key, part) for key, part in self.parts.items() if part.result["reject"] and part.is_live]
        untold = [key for key, part in known if key not in self.at_gate
                  and not self.faults.is_active(part.at - self.deadline_s, part.at + self.gate_s)]
        return {"told": len(self.at_gate), "passed": len(passed), "untold_outside_faults": len(untold),
                "late_ms": in_ms(self.gate_late)}

    def again(self, part, key, now):
        """At least once: explained where something was broken since it came first."""
        if self.faults.is_active(part.heard, now):
            self.resent += 1
        else:
            self.duplicates.append(f"{key}: came again and nothing was broken")

    def in_order(self, topic, of, seq):
        before = self.highest[(topic, *of)]
        if seq < before:
            self.out_of_order.append(f"{topic} {of}: {seq} after {before}")
        self.highest[(topic, *of)] = max(seq, before)

    def belongs(self, result, key):
        """A trigger has one part a camera."""
        trigger, camera = result["part_id"], result["camera"]
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
        self.judged_since[camera] = max(sent, self.judged_since.get(camera, 0))
        if not self.faults.is_active(sent, part.at):
            self.latencies.append(part.at - sent)

    def is_outside_faults(self, part):
        sent = self.sent.get(part.result["part_id"], part.at)
        return not self.faults.is_active(sent, sent + self.deadline_s)

    def missing(self):
        """Parts without a result, by both views."""
        by_number = {(*of, seq) for of, last in self.runs.items() for seq in range(1, last + 1)}
        return (by_number | set(self.accepted)) - set(self.parts)

    def unanswered(self):
        return self.confirmed - set(self.answers) - {key for _, key in self.rejected}

    def is_quiet(self):
        """All is answered and every part has its result."""
        with self.lock:
            return not self.missing() and not self.unanswered()

    def report(self, acked):
        """The figures; `acked` is when the broker acknowledged which result."""
        with self.lock:
            kinds = ("broker_kill", "session_lost")
            broker_lost = [key for key in self.missing() if key in acked
                           and self.faults.is_active(acked[key], acked[key] + BROKER_FORGETS_S, kinds)]
            lost = sorted(self.missing() - set(broker_lost))
            parts = self.parts.values()
            undecided = [part for part in parts if part.result["verdict"] == "undecided"]
            outside = [part for part in undecided if self.is_outside_faults(part)]
            unanswered = [key for key in self.unanswered()
                          if not self.faults.is_active(self.sent[key], self.sent[key] + self.deadline_s,
                                                       (*kinds, "two_daemons", "start"))]
            rejects = self.rejects()
            figures = {
                "triggers": len(self.confirmed),
                "accepted": len(self.accepted),
                "results": len(self.parts),
                "judged": len(self.parts) - len(undecided),
                "undecided": dict(sorted(collections.Counter(part.result["reason"] for part in undecided).items())),
                "undecided_outside_faults": len(outside),
                "late_results": sum(not part.is_live for part in parts),
                "late": sum(part.record is not None for part in parts),
                "lost": len(lost),
                "lost_by_broker": len(broker_lost),
                "duplicates": len(self.duplicates),
                "resent": self.resent,
                "balanced_metrics": self.balanced,
                "out_of_order": len(self.out_of_order),
                "answered_again": self.answered_again,
                "rejected": sum(self.rejected.values()),
                "unanswered": len(unanswered),
                "wrong": len(self.wrong) + rejects["passed"],
                "rejects": rejects,
                "latency_ms": in_ms(self.latencies),
            }
            details = self.wrong + [f"undecided outside faults: {part.result}" for part in outside]
            details += [f"lost: {key}" for key in lost] + [f"unanswered: {key}" for key in unanswered]
            details += self.duplicates + self.out_of_order
            return figures, details
