"""How many requests a server gets at once: as many as make it faster, fewer when it says that these are too many."""

from dataclasses import dataclass

# A round has at least so many replies, or its rate would be noise.
_ROUND = 8
# A larger limit is kept when it makes the server faster by this much; doubling may gain 100 %, a probe 25 %.
_GAIN, _PROBE_GAIN = 1.1, 1.05
# Rounds at the limit found before a quarter more is tried again: servers get replicas, neighbours leave.
_PATIENCE = 10


@dataclass(frozen=True)
class Ticket:
    """What a request was sent under; its answer counts only while the same limit holds."""

    generation: int


class Limit:
    """Requests in flight at one server, found by trying, between 1 and `most`.

    A round is as many replies as the limit, all to requests that were sent under it. Its rate is, by Little's law, the
    mean number in flight times tokens over seconds in flight: it needs no clock and holds for replies of any length.
    The limit doubles as long as the rate rises, goes back once it does not (the knee), and probes again now and then.
    Pressure (429, 503, a timeout, a lost connection) takes a quarter off, once a round; it is won back by an eighth a
    round.
    """

    def __init__(self, most: int, start: int) -> None:
        self.most = most
        self.value = max(1, min(start, most))
        self.in_flight = 0
        self._generation = 0
        self._growth = 2.0
        self._accepted: tuple[int, float] | None = None
        self._settled = 0
        self._ceiling = 0
        self._start_round()

    @property
    def free(self) -> bool:
        """Whether one more request may go out."""
        return self.in_flight < self.value

    def send(self) -> Ticket:
        """One more request is in flight."""
        self.in_flight += 1
        return Ticket(self._generation)

    def answered(self, ticket: Ticket, seconds: float, tokens: int) -> None:
        """A request came back well, after so many seconds and with so many tokens (0 where the server tells none)."""
        in_flight = self.in_flight
        self.in_flight -= 1
        if ticket.generation != self._generation:
            return
        self._replies += 1
        self._together += in_flight
        self._seconds += seconds
        self._tokens += max(tokens, 1)
        if self._replies >= max(self.value, _ROUND):
            self._judge((self._together / self._replies) * self._tokens / max(self._seconds, 1e-9))

    def pressed(self, ticket: Ticket) -> None:
        """A request came back with a sign that the server has too many."""
        self.in_flight -= 1
        if ticket.generation == self._generation:
            self._ceiling = max(self._ceiling, self.value)
            self._accepted = None
            self._set(max(1, self.value * 3 // 4))

    def lost(self) -> None:
        """A request came back with a failure that says nothing of the load."""
        self.in_flight -= 1

    def _judge(self, rate: float) -> None:
        if self._ceiling:  # winning back what pressure took
            if self.value < self._ceiling:
                self._set(min(self._ceiling, self.value + max(1, self.value // 8)))
            else:
                self._ceiling, self._accepted, self._growth = 0, (self.value, rate), 1.25
                self._settle()
            return
        before = self._accepted
        needed = _GAIN if self._growth >= 2 else _PROBE_GAIN
        if before is not None and self.value > before[0] and rate < needed * before[1]:
            self._growth = 1.25
            self._settle(back_to=before[0])
            return
        self._accepted = (self.value, rate)
        if self._settled and (before is None or self.value <= before[0]):
            self._settled += 1
            if self._settled <= _PATIENCE or self.value >= self.most:
                self._start_round()
                return
        if self.value >= self.most:
            self._settle()
        else:
            self._settled = 0
            self._set(min(self.most, max(self.value + 1, int(self.value * self._growth))))

    def _settle(self, back_to: int | None = None) -> None:
        self._settled = 1
        if back_to is None:
            self._start_round()
        else:
            self._set(back_to)

    def _set(self, value: int) -> None:
        self.value = value
        self._generation += 1
        self._start_round()

    def _start_round(self) -> None:
        self._replies = self._together = self._tokens = 0
        self._seconds = 0.0
