"""The images that a net is least sure of, on a page: what to look at first, and what to label next."""

import heapq
import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from reports import page
from reports.predictions import Prediction

MOST_REASONS = 200
"""Files that were not read; all of them stand in the table of predictions."""


class Gallery:
    """Keeps the images whose likeliest class is least likely, and counts the rest.

    Args:
        most: how many images to keep.
        class_names: K names.
    """

    def __init__(self, *, most: int, class_names: Sequence[str]) -> None:
        self._most = most
        self._class_names = class_names
        self._kept: list[tuple[float, int, Prediction]] = []  # a heap, the surest of them on top
        self._order = itertools.count()
        self._unread = 0
        self._reasons: list[tuple[str, str]] = []
        self._classes: Counter[int] = Counter()
        self._sure = 0.0

    def add(self, one: Prediction) -> None:
        """Look at one prediction."""
        if one.probabilities is None:
            self._unread += 1
            if len(self._reasons) < MOST_REASONS:
                self._reasons.append((one.name, str(one.reason)))
            return
        probability = float(one.probabilities.max())
        self._classes[int(one.probabilities.argmax())] += 1
        self._sure += probability
        if len(self._kept) == self._most:
            if -probability <= self._kept[0][0]:
                return
            heapq.heappop(self._kept)
        # A copy, because a picture is a view that keeps its whole batch in memory; the numbers differ, so that
        # predictions are never compared.
        heapq.heappush(self._kept, (-probability, -next(self._order), _copied(one)))

    @property
    def images(self) -> list[Prediction]:
        """The kept images, the least certain first; of equals the one met first."""
        return [one for _, _, one in sorted(self._kept, reverse=True)]

    def html(self, *, title: str, images: str) -> str:
        """Return the page; `images` says which were looked at."""
        count = self._classes.total()
        shares = [(self._class_names[index], number) for index, number in self._classes.most_common()]
        figures = [
            ("images", f"{count:,}", "with a prediction"),
            ("not read", f"{self._unread:,}", "files with a reason"),
            ("mean probability", f"{self._sure / count:.3f}" if count else "–", "of the likeliest class"),
        ]
        more = f"The first {MOST_REASONS} of {self._unread:,}." if self._unread > MOST_REASONS else ""
        return page.page(
            title=title,
            status="predictions",
            lead=f"{images} · {len(self._class_names)} classes",
            figures=figures,
            sections=[
                page.section(
                    "Least certain",
                    page.guesses(
                        [(one.name, one.image, self._likeliest(one)) for one in self.images if one.image is not None]
                    ),
                    note="Lowest probability of the likeliest class first; each as the net saw it, with its three "
                    "likeliest classes.",
                ),
                page.section("Predicted classes", page.facts({name: f"{number:,}" for name, number in shares[:50]})),
                page.section("Not read", page.facts(dict(self._reasons)), note=more),
            ],
        )

    def _likeliest(self, one: Prediction) -> list[tuple[str, float]]:
        assert one.probabilities is not None
        values, classes = one.probabilities.topk(min(3, len(self._class_names)))
        return [(self._class_names[k], value) for value, k in zip(values.tolist(), classes.tolist(), strict=True)]


def _copied(one: Prediction) -> Prediction:
    assert one.probabilities is not None and one.image is not None
    return replace(one, probabilities=one.probabilities.clone(), image=one.image.clone())
