"""What a message of the soak's line says, against what was on the belt: each verdict is about its own part, and right.

The belt (soak_pictures.py) shows a numbered part for half a second. `Belt` tells which number was before the camera at a
time; a heat map's strip tells which one was judged; the number tells whether the part is bad.
"""

import base64
import collections
import datetime
import json
import math
import time

from soak_pictures import NUMBERS, is_bad

RESULT_BYTES_MAX = 1536
FPS = 30
FRAMES_A_PICTURE = 15
PICTURE_S = FRAMES_A_PICTURE / FPS
# A frame so far from its part's time is still its frame: that of the part before may be the nearest, and serves one part;
# with faults the window of the trigger, because frames may be missing; where only the arrival is known, the jitter buffer
# and the encoder too.
NEAR_S, WINDOW_S, ARRIVAL_S = 0.09, 0.12, 0.3
# A trigger without a time means the moment of its arrival: so much later than it was sent, and with faults so much.
WAY_S, WAY_MAX_S = 0.25, 1.0
# Of two parts with the same number in two runs: only a heat map that came so soon is about this one.
NEW_S = 5.0
BEGINS = 3  # of a run's first results at the gate each may be about the belt; then the run took a part for it
KEPT_S = 55.0
GATE = "gate"  # its camera sees by itself that something passes, on a belt of its own
SHOWS_CODE = ("belt", "left", "right", "pair")  # cameras that look at the belt
ALWAYS_BAD = ("snow", "wide")  # cameras whose picture looks like no reference


class Belt:
    """Which part was before the camera when; times are those of the monotonic clock."""

    def __init__(self):
        self.lives = []  # [first frame, end or None] of each conveyor

    def begin(self, at):
        self.lives.append([at, None])

    def end(self, at):
        if self.lives and self.lives[-1][1] is None:
            self.lives[-1][1] = at

    def shown(self, begin, end):
        """Numbers before the camera between two times; None where the belt was not there all the time."""
        for first, last in self.lives:
            if first <= begin and (last is None or end <= last):
                from_picture, to_picture = (math.floor((at - first) / PICTURE_S) for at in (begin, end))
                return {picture % NUMBERS for picture in range(from_picture, to_picture + 1)}
        return None

    def passes(self, until):
        """From when until when something was on a belt on which each second picture is the empty belt."""
        for first, last in self.lives:
            begin = first + PICTURE_S
            while begin + PICTURE_S < min(until, last or until):
                yield begin, begin + PICTURE_S
                begin += 2 * PICTURE_S


def passing(picture):
    """The number of the part that a picture of the gate's belt shows; None on an empty belt."""
    return picture // 2 if picture % 2 else None


class Line:
    """What all results of a line share."""

    def __init__(self, station, recipes, deadline_s):
        self.station, self.recipes, self.deadline_s = station, recipes, deadline_s


def seconds_of(text):
    """Seconds since 1970 of a time in UTC, with as many digits as it has."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    moment = datetime.datetime.strptime(whole, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=datetime.timezone.utc)
    return moment.timestamp() + float(f"0.{fraction or 0}")


def flaws(result, topic, size, line):
    """What a result says that cannot be so, whatever part it is about."""
    verdict, score, threshold = result["verdict"], result["score"], result["threshold"]
    evaluation = {"pass": 1, "fail": 2, "undecided": 3}.get(verdict)
    checks = {
        f"a result of {size} bytes, at most {RESULT_BYTES_MAX}": size <= RESULT_BYTES_MAX,
        f"historical is {result['historical']} on {topic}": result["historical"] == (topic == "result/late"),
        f"the verdict {verdict!r} with evaluation {result['evaluation']}": evaluation == result["evaluation"],
        f"reject is {result['reject']} with {verdict!r}": result["reject"] == (verdict != "pass"),
        f"the reason {result['reason']!r} with {verdict!r}": (result["reason"] is not None) == (verdict == "undecided"),
        f"the station {result['station']!r}": result["station"] == line.station,
        f"the recipe {result['recipe']!r}": result["recipe"] in line.recipes,
        f"the deadline {result['deadline_ms']} ms": result["deadline_ms"] == round(1000 * line.deadline_s),
        "a verdict within its deadline that says it missed it, or the other way round": agrees_about_time(result),
        "a map that has not a byte for each cell": map_is_whole(result),
    }
    if verdict != "undecided":
        checks["a verdict without a score or a threshold"] = is_number(score) and is_number(threshold)
        if is_number(score) and is_number(threshold):
            told = "fail" if score >= threshold else "pass"
            checks[f"{verdict!r} with the score {score} at the threshold {threshold}"] = told == verdict
            checks[f"the margin {result['margin']}"] = abs((result["margin"] or 0) - (score - threshold)) < 1e-4
    return [words for words, holds in checks.items() if not holds]


def is_number(value):
    return isinstance(value, (int, float)) and math.isfinite(value)


def agrees_about_time(result):
    """`deadline_met` of a judged part follows from its total; an undecided one is late or not by its reason."""
    if result["verdict"] == "undecided":
        return not (result["reason"] == "late" and result["deadline_met"])
    return result["deadline_met"] == (result["latency_ms"]["total"] <= result["deadline_ms"])


def map_is_whole(result):
    """A map has `w` columns and `h` rows, and `side` where they are as many."""
    told = result["map"]
    if told is None:
        return True
    columns, rows = told["w"], told["h"]
    side = columns if columns == rows else None
    return len(base64.b64decode(told["u8"], validate=True)) == columns * rows and told["side"] == side


class Sent:
    """A trigger that was given to the sender. Only some lines have the camera `wide`: others refuse it."""

    def __init__(self, at, has_time, camera=None):
        self.at, self.has_time, self.is_of_some = at, has_time, camera == "wide"

    def may_be_refused(self, now):
        """Pictures are not kept for longer than a minute."""
        return self.is_of_some or (self.has_time and now - self.at > KEPT_S)


class Content:
    """Books of what was judged; filled while the line runs, and read at its end."""

    def __init__(self, belt, passage, faults, to_wall_s):
        self.belt, self.passage, self.faults, self.to_wall_s = belt, passage, faults, to_wall_s
        self.numbers = {}  # (part_id, camera) -> what its heat map's strip says
        self.passed = {}  # seq at the gate -> (when its heat map came, what its strip says)

    def see(self, texts, number):
        """A heat map. `camera` in its texts is the one that saw the part; a pair's own name stands in the result."""
        if texts["camera"] == GATE:
            self.passed[int(texts["seq"])] = (time.monotonic(), number)
        else:
            self.numbers[(texts["part_id"], texts["camera"])] = number

    def span(self, sent, result, heard):
        """From when until when a part's frame may have been taken."""
        calm = not self.faults.is_active(sent.at, heard)
        near = NEAR_S if calm else WINDOW_S
        if result["captured_by"] == "arrival":
            near = max(near, ARRIVAL_S)
        way = 0 if sent.has_time else WAY_S if calm else WAY_MAX_S
        return sent.at - near, sent.at + near + way

    def judge(self, sent, result, heard):
        """(kind of error, words) of a judged part; nothing where all is right or the belt does not tell."""
        camera, verdict = result["camera"], result["verdict"]
        if verdict == "undecided":
            return
        if camera in ALWAYS_BAD:
            if verdict != "fail":
                yield "wrong_verdict", f"{verdict!r} about a picture that looks like no reference"
        elif camera in SHOWS_CODE:
            yield from self.judge_coded(sent, result, heard)
        yield from self.judge_time(sent, result, heard)

    def judge_coded(self, sent, result, heard):
        shown = self.belt.shown(*self.span(sent, result, heard))
        if shown is None:
            return
        truths = {is_bad(number) for number in shown}
        if len(truths) == 1 and (result["verdict"] == "fail") != truths.pop():
            yield "wrong_verdict", f"{result['verdict']!r} with {result['score']} about part {sorted(shown)}"
        seen_by = ("left", "right") if result["camera"] == "pair" else (result["camera"],)
        for camera in seen_by:
            number = self.numbers.get((result["part_id"], camera), shown)
            if number is None:
                yield "unreadable", "judged, and its picture shows no whole code"
            elif number is not shown and number not in shown:
                yield "wrong_part", f"about part {number}, and {sorted(shown)} was before the camera"

    def judge_time(self, sent, result, heard):
        """The result's own word about when its frame was taken."""
        if self.faults.is_active(sent.at, heard, ("clock_back",)):
            return
        begin, end = self.span(sent, result, heard)
        captured = seconds_of(result["captured_at"]) - self.to_wall_s
        if not begin - WINDOW_S <= captured <= end + WINDOW_S:
            yield "wrong_part", f"its frame was taken {captured - sent.at:+.3f} s from its trigger"

    def taken(self, result):
        return seconds_of(result["captured_at"]) - self.to_wall_s

    def mistaken(self, parts):
        """Runs that began while a part was before the gate's camera, and took it for the empty belt: since then what
        passes is the belt. A camera alone cannot know better; nothing else is said of their parts at the gate."""
        on_belt = collections.defaultdict(list)
        for result in sorted((part for part in parts if part["camera"] == GATE), key=lambda part: part["seq"]):
            shown = self.passage.shown(self.taken(result), self.taken(result))
            if shown is not None and result["captured_by"] == "sender":
                on_belt[result["run_id"]].append(passing(shown.pop()) is None)
        return {run for run, empty in on_belt.items() if any(empty[:BEGINS]) or 2 * sum(empty) > len(empty)}

    def judge_passed(self, result, heard):
        """(kind of error, words) of a part that no trigger asked for: its own frame says when it passed."""
        if result["verdict"] == "undecided" or result["captured_by"] != "sender":
            return
        captured = self.taken(result)
        shown = self.passage.shown(captured - NEAR_S, captured + NEAR_S)
        if shown is None or self.faults.is_active(captured, heard, ("clock_back",)):
            return
        there = {number for number in map(passing, shown) if number is not None}
        if not there:
            yield "wrong_part", f"nothing was before the gate's camera at {result['captured_at']}"
        elif {is_bad(number) for number in there} == {result["verdict"] != "fail"}:
            yield "wrong_verdict", f"{result['verdict']!r} with {result['score']} about part {sorted(there)} at the gate"
        came, number = self.passed.get(result["seq"], (0, None))
        if abs(came - heard) < NEW_S and number not in there:
            yield "wrong_part", f"about part {number}, and {sorted(there)} was before the gate's camera"

    def unseen(self, parts, until):
        """Parts that passed the gate while nothing was broken, and of which there is not exactly one result."""
        mistaken, seen = self.mistaken(parts), collections.defaultdict(list)
        for result in parts:
            if result["camera"] == GATE:
                seen[result["run_id"]].append(self.taken(result))
        lives = [(min(times), max(times)) for run, times in seen.items() if run in mistaken]
        times = sorted(at for run in seen for at in seen[run])
        for begin, end in self.passage.passes(until):
            is_excused = any(first - 4 <= begin and end <= last + 4 for first, last in lives)
            if is_excused or self.faults.is_active(begin - 4, end + 4):
                continue
            count = sum(begin - NEAR_S <= at <= end + NEAR_S for at in times)
            if count != 1:
                yield f"{count} results of what passed the gate from {begin:.2f} to {end:.2f}"

    def shared(self, parts):
        """Pictures that several parts of one camera were judged on."""
        groups = collections.defaultdict(set)
        for result in parts:
            if result["verdict"] != "undecided" and not result["views"]:
                # Frames that a busy machine hands over at once may have one time, and are not the same picture.
                picture = (result["captured_at"], result["score"], json.dumps(result["map"]))
                groups[(result["run_id"], result["camera"], *picture)].add(result["part_id"])
        return {key[:3]: names for key, names in groups.items() if len(names) > 1}


def first_of_schedule(path, to_wall_s):
    """When a conveyor's first frame is planned, by the monotonic clock; None before its first viewer."""
    try:
        with open(path) as schedule:
            line = schedule.readline()
    except FileNotFoundError:
        return None
    return seconds_of(json.loads(line)["from"]) - to_wall_s if line.endswith("\n") else None
