"""A filter with state and a parameter, without any base class."""

from dvskit.filters import register_filter


class EveryOther:
    """Keep one event in `of`."""

    def __init__(self, of: int = 2):
        self.of = of

    def start(self, size):
        at = 0  # of the next event to keep, in the next block

        def step(events):
            nonlocal at
            kept = events[at :: self.of]
            at = (at - len(events)) % self.of
            return kept

        return step


register_filter("every_other", EveryOther)
