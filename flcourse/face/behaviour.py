"""What 68 points tell over time: blinks, PERCLOS, a driver's attention, expression against one's own calm face.

Each object watches one face; frames come with their time in seconds, at any rate.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np

from flcourse.face.measure import (
    AVERAGE,
    HeadPose,
    Measures,
    Meters,
    expression_meters,
    eye_openness,
    measure,
    mouth_openness,
)

# --- time: what is usual for a person, blinks, PERCLOS ---


class RollingQuantile:
    """What a number is like lately: a quantile of the samples of the last seconds, `first` counting as some of them.

    One thread at a time; can be pickled and copied, state and all.
    """

    EVERY = 0.1  # s between samples that are kept, however fast the video is

    def __init__(self, seconds: float, quantile: float = 0.5, first: float | None = None, weight: float = 0.0) -> None:
        self._seconds, self._quantile = seconds, quantile
        self._first = [] if first is None else [first] * round(weight / self.EVERY)  # counts as `weight` seconds seen
        self._samples: deque[tuple[float, float]] = deque()
        self.value: float | None = first

    def update(self, value: float, time: float) -> float:
        """Take in `value` at `time`, seconds; return what is usual now."""
        if not self._samples or time - self._samples[-1][0] >= self.EVERY:
            self._samples.append((time, value))
            while time - self._samples[0][0] > self._seconds:
                self._samples.popleft()
            # A small copy, sorted: faster than np.quantile on a few hundred numbers.
            ranked = sorted([*self._first, *(sample for _, sample in self._samples)])
            self.value = ranked[int(self._quantile * (len(ranked) - 1) + 0.5)]
        return value if self.value is None else self.value


class Blinks:
    """Counts a face's blinks, and tells how closed its eyes are, from eye openness over time.

    Eyes differ, and so do networks: of closed eyes the shipped one answers points that nearly touch, one that saw few
    closed eyes points 0.6 times as far apart as of the same eyes open. So both ends are the person's own: `open`, the
    upper quartile of the last half minute, and `shut`, a part of it, from the depth of the last blinks. A blink is a
    closure that begins above CLOSES, ends below OPENS and lasts LEAST to MOST seconds; more is eyes closed, less is
    noise.

    One thread at a time; can be pickled and copied, state and all.
    """

    LEAST_DEPTH = 0.88  # openness of closed eyes in parts of open ones, at most
    FIRST_DEPTH = 0.63  # until there are blinks: a network's that saw few closed eyes, so that its blinks are seen, too
    CLOSES, OPENS = 0.5, 0.3  # of `closure`; apart, so that noise near one of them does not count twice
    # s. Blinks of alert people take 0.1 to 0.4 s (Caffier, Erdmann and Ullsperger, 2003); from half a second on lid
    # closures are held for micro-sleep. A shorter dip is one noisy frame of 30 in a second.
    LEAST, MOST = 0.05, 0.5
    GAP = 0.4  # s without the face, after which nothing is known of what the eyes did
    WARM_UP = 0.5  # s, until the first open level can be trusted

    def __init__(self) -> None:
        self.count = 0
        self.closure = 0.0  # 0: open, 1: closed, held to that range
        self.closed_for = 0.0  # s, of the closure that lasts
        self._open = RollingQuantile(30.0, 0.75)
        self._depths: deque[float] = deque([self.FIRST_DEPTH], maxlen=9)
        self._began: float | None = None
        self._deepest, self._start, self._before = 1.0, None, -np.inf

    def update(self, openness: float, time: float) -> bool:
        """Take in the eye openness (mean of both eyes) at `time`, seconds; True where a blink has just ended."""
        if self._start is None:
            self._start = time
        if time - self._before > self.GAP:
            self._began = None
        self._before = time
        part = openness / max(self._open.update(openness, time), 1e-6)  # of the open eye
        shut = min(sorted(self._depths)[len(self._depths) // 2], self.LEAST_DEPTH)
        self.closure = float(np.clip((1 - part) / (1 - shut), 0, 1))
        blinked = False
        if self._began is None:
            if self.closure >= self.CLOSES and time - self._start >= self.WARM_UP:
                self._began, self._deepest = time, part
        elif self.closure > self.OPENS:
            self._deepest = min(self._deepest, part)
        else:
            blinked = self.LEAST <= round(time - self._began, 6) <= self.MOST
            if blinked:
                self._depths.append(max(self._deepest, 0.0))
                self.count += 1
            self._began = None
        self.closed_for = 0.0 if self._began is None else time - self._began
        return blinked


class RollingShare:
    """The share of the last `seconds` of seen time in which something was so; for PERCLOS, that the eyes were closed.

    Frames count by the time until the next, at most LONGEST: time in which the face was not seen counts for nothing.

    One thread at a time; can be pickled and copied, state and all.
    """

    LONGEST = 0.25  # s

    def __init__(self, seconds: float = 60.0) -> None:
        self._seconds = seconds
        self._spans: deque[tuple[float, float, bool]] = deque()  # when, how long, whether
        self._last: tuple[float, bool] | None = None
        self.seen = self._true = 0.0  # s

    def update(self, so: bool, time: float) -> float:
        """Take in whether it is so at `time`, seconds; return the share, 0 to 1 (0 where nothing was seen yet)."""
        if self._last is not None and time > self._last[0]:
            span = min(time - self._last[0], self.LONGEST)
            self._spans.append((time, span, self._last[1]))
            self.seen += span
            self._true += span * self._last[1]
        self._last = time, so
        while self._spans and time - self._spans[0][0] > self._seconds:
            _, span, was = self._spans.popleft()
            self.seen -= span
            self._true -= span * was
        return self.value

    def pause(self) -> None:
        """The next span starts with the next update: what lies between is unseen."""
        self._last = None

    @property
    def value(self) -> float:
        """The share now, 0 to 1."""
        return float(np.clip(self._true / self.seen, 0, 1)) if self._spans else 0.0


# --- a driver's attention ---

LEVELS = ("attentive", "tired", "warning")


@dataclass(frozen=True)
class Attention:
    """What a driver's face says at one moment."""

    level: str  # one of LEVELS
    reasons: tuple[str, ...]  # why it is not the first of them
    blinks: int  # since the face is watched
    per_minute: float  # blinks a minute, over the last minute
    perclos: float | None  # share of the last minute with eyes at least 80 % closed; None until enough is seen
    yawns: int  # in the last five minutes
    closure: float  # of the eyes now: 0 open, 1 closed
    closed_for: float  # s
    away_for: float  # s, that the head is turned from the road


class AttentionMeter:
    """Judges one driver's attention from their points over time: rules of thumb to learn from, not a safety device.

    warning: eyes closed for 1 s; head away from the road for 2 s, after which the risk of a crash has doubled (S.
    Klauer et al., "The Impact of Driver Inattention on Near-Crash/Crash Risk", DOT HS 810 594, 2006); or PERCLOS from
    15 %. tired: PERCLOS from 10 %, or three yawns in five minutes. PERCLOS is the share of a minute in which the eyes
    are at least 80 % closed (W. Wierwille et al., "Research on vehicle-based driver status/performance monitoring",
    DOT HS 808 247, 1994); drivers on a closed road showed 6 % when rested, and 10 % at their first micro-sleep (a talk
    at VSS 2012). A yawn is a mouth wide open for 2 s: speech closes it sooner, yawns last about 6 s. Away is 30 degrees
    to a side or 20 up or down from the person's usual pose, since a camera rarely stands where the road is. The limits
    without a source are ours.

    One thread at a time; can be pickled and copied, state and all.
    """

    CLOSED = 0.8
    CLOSED_FOR, AWAY_FOR = 1.0, 2.0  # s
    TIRED, DROWSY = 0.10, 0.15  # PERCLOS
    ENOUGH = 20.0  # s of eyes seen before PERCLOS means something
    YAW, PITCH = 30.0, 20.0  # degrees
    YAWN_OPENS, YAWN_ENDS, YAWN = 0.22, 0.15, 2.0  # mouth openness, and s
    YAWNS, YAWNS_WITHIN = 3, 300.0

    def __init__(self) -> None:
        self.blinks = Blinks()
        self.perclos = RollingShare(60.0)
        # 10 s of facing the camera to begin with: nobody's first glance aside becomes their road.
        self._yaw, self._pitch = (RollingQuantile(60.0, first=0.0, weight=10.0) for _ in range(2))
        self._blink_times: deque[float] = deque()
        self._yawn_times: deque[float] = deque()
        self._mouth_open: float | None = None  # since when
        self._yawned = False
        self._away: float | None = None
        self._start: float | None = None
        self._before = -np.inf

    def update(self, points: np.ndarray, pose: HeadPose | None, time: float) -> Attention:
        """Take in the points (68, 2), as little smoothed as can be, and the pose at `time`, seconds."""
        if self._start is None:
            self._start = time
        if time - self._before > Blinks.GAP:  # the face was lost: nothing lasts through that
            self._mouth_open = self._away = None
            self.perclos.pause()
        self._before = time
        away = self._is_away(pose, time)
        self._away = None if not away else time if self._away is None else self._away
        away_for = 0.0 if self._away is None else time - self._away
        if away:  # lids of a head turned away are foreshortened
            self.perclos.pause()
            self.blinks.closed_for = 0.0
        else:
            if self.blinks.update(float(eye_openness(points).mean()), time):
                self._blink_times.append(time)
            self.perclos.update(self.blinks.closure >= self.CLOSED, time)
        self._watch_mouth(float(mouth_openness(points)), time)
        _forget(self._blink_times, time - 60)
        _forget(self._yawn_times, time - self.YAWNS_WITHIN)
        perclos = self.perclos.value if self.perclos.seen >= self.ENOUGH else None
        level, reasons = self._judge(perclos, away_for)
        watched = max(10.0, min(60.0, time - self._start))  # s; before 10 s a rate would leap
        return Attention(
            LEVELS[level],
            tuple(reasons),
            self.blinks.count,
            60 * len(self._blink_times) / watched,
            perclos,
            len(self._yawn_times),
            self.blinks.closure,
            self.blinks.closed_for,
            away_for,
        )

    def _is_away(self, pose: HeadPose | None, time: float) -> bool:
        if pose is None:
            return False
        yaw, pitch = self._yaw.update(pose.yaw, time), self._pitch.update(pose.pitch, time)
        return abs(pose.yaw - yaw) > self.YAW or abs(pose.pitch - pitch) > self.PITCH

    def _watch_mouth(self, openness: float, time: float) -> None:
        if openness >= self.YAWN_OPENS and self._mouth_open is None:
            self._mouth_open, self._yawned = time, False
        elif openness < self.YAWN_ENDS:
            self._mouth_open = None
        if self._mouth_open is not None and not self._yawned and time - self._mouth_open >= self.YAWN:
            self._yawn_times.append(time)
            self._yawned = True

    def _judge(self, perclos: float | None, away_for: float) -> tuple[int, list[str]]:
        found = []
        if self.blinks.closed_for >= self.CLOSED_FOR:
            found.append((2, "eyes closed"))
        if away_for >= self.AWAY_FOR:
            found.append((2, "look at the road"))
        if perclos is not None and perclos >= self.TIRED:
            found.append((2 if perclos >= self.DROWSY else 1, f"PERCLOS {100 * perclos:.0f} %"))
        if len(self._yawn_times) >= self.YAWNS:
            found.append((1, f"{len(self._yawn_times)} yawns"))
        return max((level for level, _ in found), default=0), [reason for _, reason in found]


def _forget(times: deque[float], before: float) -> None:
    while times and times[0] < before:
        times.popleft()


# --- expression ---


class ExpressionMeter:
    """Reads one face's expression over time against the person's own calm face: the medians of the last half minute.

    At first the average face stands in for it, as strong as three seconds seen. A smile held for a quarter of a minute
    becomes the person's calm face: points alone cannot know better.

    One thread at a time; can be pickled and copied, state and all.
    """

    def __init__(self) -> None:
        self._calm = [RollingQuantile(30.0, first=float(first), weight=3.0) for first in AVERAGE]

    def update(self, points: np.ndarray, time: float) -> Meters:
        """Take in the points (68, 2) at `time`, seconds; return the meters now."""
        measures = measure(points)
        calm = Measures(*(usual.update(float(v), time) for usual, v in zip(self._calm, measures, strict=True)))
        return expression_meters(measures, calm)
