"""Intervals and paired tests; the distributions are scipy's, imported when the first is asked for."""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

CONFIDENCE = 0.95
RESAMPLES = 10_000


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Values of several seeds: count, mean, 95 % t-interval of the mean (None for one value), extremes."""

    n: int
    mean: float
    interval: tuple[float, float] | None
    lowest: float
    highest: float


Limits = tuple[float, float]

LIMITS: dict[str, Limits] = {
    **dict.fromkeys(("kappa", "matthews", "corrcoef"), (-1.0, 1.0)),
    **dict.fromkeys(("accuracy", "precision", "recall", "f1", "specificity", "exact"), (0.0, 1.0)),
    **dict.fromkeys(("iou", "miou", "dice", "jaccard", "auroc", "map", "ece"), (0.0, 1.0)),
    **dict.fromkeys(("loss", "brier", "error", "seconds", "parameters", "steps", "epoch"), (0.0, math.inf)),
}
"""A word of a metric's name -> the values that it can have; the first that fits."""


def limits_of(metric: str) -> Limits:
    """The values that a metric can have, as far as its name tells."""
    words = metric.rpartition("/")[2].split("_")
    return next((ends for word, ends in LIMITS.items() if word in words), (-math.inf, math.inf))


def spread(values: Sequence[float], limits: Limits = (-math.inf, math.inf)) -> Spread:
    """Describe at least one value of a quantity with such limits."""
    found = np.asarray(values, dtype=np.float64)
    return Spread(
        n=len(found),
        mean=float(found.mean()),
        interval=mean_interval(values, limits) if len(found) > 1 else None,
        lowest=float(found.min()),
        highest=float(found.max()),
    )


def mean_interval(values: Sequence[float], limits: Limits = (-math.inf, math.inf)) -> tuple[float, float]:
    """95 % interval of the mean of at least two independent values (Student 1908), cut at what the mean can be.

    A value beyond the limits, of a metric that was taken for another by its name, lifts them.
    """
    from scipy import stats

    found = np.asarray(values, dtype=np.float64)
    mean, error = float(found.mean()), float(found.std(ddof=1)) / math.sqrt(len(found))
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(found) - 1)) * error
    low, high = limits if limits[0] <= found.min() and found.max() <= limits[1] else (-math.inf, math.inf)
    return max(low, mean - half), min(high, mean + half)


@dataclass(frozen=True, kw_only=True)
class PairedSeeds:
    """Two ideas over the same seeds: the mean difference, its t-interval, and which of them won how often.

    Args:
        n: seeds that both have.
        difference: mean of first minus second.
        interval: of that mean (paired t).
        p: of the paired t-test; None where all differences are equal.
        first_higher: seeds in which the first is higher.
        second_higher: seeds in which the second is higher.
        sign_p: of the exact sign test, ties left out; None where all are ties.
    """

    n: int
    difference: float
    interval: tuple[float, float]
    p: float | None
    first_higher: int
    second_higher: int
    sign_p: float | None


def paired_seeds(
    first: Mapping[int, float], second: Mapping[int, float], limits: Limits = (-math.inf, math.inf)
) -> PairedSeeds | None:
    """Compare seed -> value of two ideas over the seeds that both have; None where those are fewer than two."""
    seeds = sorted(first.keys() & second.keys())
    if len(seeds) < 2:
        return None
    from scipy import stats

    one, other = [first[seed] for seed in seeds], [second[seed] for seed in seeds]
    differences = np.subtract(one, other)
    higher, lower = int((differences > 0).sum()), int((differences < 0).sum())
    varies = float(np.ptp(differences)) > 0
    return PairedSeeds(
        n=len(seeds),
        difference=float(differences.mean()),
        interval=mean_interval(differences.tolist(), (limits[0] - limits[1], limits[1] - limits[0])),
        p=float(stats.ttest_rel(one, other).pvalue) if varies else None,
        first_higher=higher,
        second_higher=lower,
        sign_p=float(stats.binomtest(higher, higher + lower).pvalue) if higher + lower else None,
    )


@dataclass(frozen=True, kw_only=True)
class PairedImages:
    """Two runs over the same images: accuracies, paired bootstrap of their difference, McNemar's exact test.

    Args:
        images: how many.
        first: accuracy of the first.
        second: accuracy of the second.
        interval: 95 % percentile interval of first minus second over resampled images (Efron 1979).
        only_first: images that the first alone has right.
        only_second: images that the second alone has right.
        p: McNemar's exact test (1947): are the images that only one has right evenly shared?
    """

    images: int
    first: float
    second: float
    interval: tuple[float, float]
    only_first: int
    only_second: int
    p: float


def paired_images(first: np.ndarray, second: np.ndarray) -> PairedImages:
    """Compare two bool arrays (N,): which images each run has right.

    Of an image only the difference of the two counts, which is 1, -1 or 0; so resampling N images is drawing the
    counts of these three from a multinomial.
    """
    from scipy import stats

    images = len(first)
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    shares = np.array([only_first, only_second, images - only_first - only_second]) / images
    drawn = np.random.default_rng(0).multinomial(images, shares, size=RESAMPLES)
    differences = (drawn[:, 0] - drawn[:, 1]) / images
    low, high = np.quantile(differences, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    disagreed = only_first + only_second
    return PairedImages(
        images=images,
        first=float(first.mean()),
        second=float(second.mean()),
        interval=(float(low), float(high)),
        only_first=only_first,
        only_second=only_second,
        p=float(stats.binomtest(only_first, disagreed).pvalue) if disagreed else 1.0,
    )


def read_predictions(path: Path) -> dict[str, tuple[str, bool]]:
    """Image key -> (true class, whether the prediction is right) of a predictions.csv.

    Raises:
        ValueError: it cannot be read, has other columns, or no or the same image twice; the message says which.
    """
    found: dict[str, tuple[str, bool]] = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            columns = set(reader.fieldnames or ())
            name = "path" if "path" in columns else "key"
            if not {name, "target", "prediction"} <= columns:
                raise ValueError("has no columns path (or key), target and prediction")
            for row in reader:
                if row[name] in found:
                    raise ValueError(f"holds {row[name]} twice")
                found[row[name]] = row["target"], row["target"] == row["prediction"]
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"cannot be read ({error})") from error
    if not found:
        raise ValueError("holds no image")
    return found


def same_images(first: Mapping[str, tuple[str, bool]], second: Mapping[str, tuple[str, bool]]) -> PairedImages:
    """Compare two tables of `read_predictions`.

    Raises:
        ValueError: they are not about the same images with the same classes.
    """
    if first.keys() != second.keys():
        raise ValueError(f"{len(first.keys() ^ second.keys())} images stand in only one of the two")
    relabelled = sum(first[key][0] != second[key][0] for key in first)
    if relabelled:
        raise ValueError(f"{relabelled} images have another true class in the other")
    right = [np.array([table[key][1] for key in first], dtype=bool) for table in (first, second)]
    return paired_images(*right)
