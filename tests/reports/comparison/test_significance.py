"""Intervals and tests against scipy's own, against closed forms, and against a plain bootstrap."""

import math

import numpy as np
import pytest
from scipy import stats

from reports.comparison.significance import (
    limits_of,
    mean_interval,
    paired_images,
    paired_seeds,
    read_predictions,
    same_images,
    spread,
)

FIRST = {0: 0.9124, 1: 0.9100, 2: 0.9121, 3: 0.9088, 7: 0.5}
SECOND = {0: 0.9066, 1: 0.9107, 2: 0.9090, 3: 0.9052, 9: 0.1}


def test_the_interval_of_a_mean_is_scipys():
    values = list(FIRST.values())
    assert mean_interval(values) == pytest.approx(
        stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values)), abs=1e-12
    )
    assert mean_interval([1.0, 3.0]) == pytest.approx((2 - 12.7062047362, 2 + 12.7062047362))  # t of a table, s/√2 = 1
    found = spread(values)
    assert (found.n, found.lowest, found.highest) == (5, 0.5, 0.9124)
    assert spread([0.25]).interval is None


def test_seeds_are_paired_over_those_that_both_have():
    found = paired_seeds(FIRST, SECOND)
    assert found.n == 4
    one, other = [FIRST[s] for s in range(4)], [SECOND[s] for s in range(4)]
    reference = stats.ttest_rel(one, other)
    interval = reference.confidence_interval(0.95)
    assert found.interval == pytest.approx((interval.low, interval.high), abs=1e-12)
    assert found.p == pytest.approx(reference.pvalue)
    assert found.difference == pytest.approx(sum(one) / 4 - sum(other) / 4)
    assert (found.first_higher, found.second_higher) == (3, 1)
    assert found.sign_p == pytest.approx(2 * (math.comb(4, 0) + math.comb(4, 1)) / 2**4)
    assert paired_seeds({0: 1.0}, {0: 2.0}) is None and paired_seeds({0: 1.0, 1: 1.0}, {2: 2.0, 3: 1.0}) is None
    equal = paired_seeds({0: 0.5, 1: 0.6}, {0: 0.5, 1: 0.6})
    assert (equal.p, equal.sign_p, equal.interval) == (None, None, (0.0, 0.0))


def test_mcnemar_is_the_closed_form_and_the_bootstrap_scipys():
    generator = np.random.default_rng(5)
    first, second = generator.random(1500) < 0.93, generator.random(1500) < 0.90
    found = paired_images(first, second)
    b, c = int((first & ~second).sum()), int((second & ~first).sum())
    tail = sum(math.comb(b + c, k) for k in range(min(b, c) + 1)) / 2 ** (b + c)
    assert found.p == pytest.approx(min(1.0, 2 * tail))
    assert (found.only_first, found.only_second) == (b, c)
    assert (found.first, found.second) == (first.mean(), second.mean())
    plain = stats.bootstrap(
        (first.astype(float), second.astype(float)), lambda x, y, axis: x.mean(axis) - y.mean(axis), paired=True,
        method="percentile", n_resamples=10_000, rng=np.random.default_rng(1), vectorized=True, batch=500,
    ).confidence_interval  # fmt: skip
    assert found.interval == pytest.approx((plain.low, plain.high), abs=0.0012)  # both are drawn
    assert paired_images(first, second) == found, "the draws are the same every time"
    assert paired_images(first, first).p == 1.0 and paired_images(first, first).interval == (0.0, 0.0)


def test_predictions_are_paired_by_key_whatever_their_order(tmp_path):
    texts = {
        "one": "key,target,prediction,p\nb,cat,dog,1\na,cat,cat,1\nc,dog,dog,1\n",
        "two": "prediction,path,target\ncat,a,cat\ncat,b,cat\ncat,c,dog\n",
        "fewer": "key,target,prediction\na,cat,cat\n",
        "other": "key,target,prediction\na,dog,cat\nb,cat,cat\nc,dog,cat\n",
        "twice": "key,target,prediction\na,cat,cat\na,cat,cat\n",
        "columns": "file,label\na,cat\n",
        "empty": "key,target,prediction\n",
    }
    tables = {}
    for name, words in texts.items():
        (tmp_path / name).write_text(words)
    for name in ("one", "two", "fewer", "other"):
        tables[name] = read_predictions(tmp_path / name)
    found = same_images(tables["one"], tables["two"])
    assert (found.only_first, found.only_second, found.first, found.images) == (1, 1, pytest.approx(2 / 3), 3)
    with pytest.raises(ValueError, match="2 images stand in only one"):
        same_images(tables["one"], tables["fewer"])
    with pytest.raises(ValueError, match="1 images have another true class"):
        same_images(tables["one"], tables["other"])
    for name, reason in {"twice": "a twice", "columns": "no columns", "empty": "no image", "none": "cannot"}.items():
        with pytest.raises(ValueError, match=reason):
            read_predictions(tmp_path / name)


@pytest.mark.parametrize(
    ("metric", "ends"),
    {
        "test/accuracy": (0, 1),
        "val/accuracy_macro": (0, 1),
        "val/f1_macro": (0, 1),
        "test/mean_average_precision": (0, 1),
        "test/miou": (0, 1),
        "val/cohen_kappa": (-1, 1),
        "val/matthews_corrcoef": (-1, 1),
        "val/loss": (0, math.inf),
        "train_seconds": (0, math.inf),
        "val/mean_absolute_percentage_error": (0, math.inf),
        "val/mape": (-math.inf, math.inf),
        "val/mine": (-math.inf, math.inf),
    }.items(),
)
def test_an_interval_stays_within_what_a_metric_can_be(metric, ends):
    assert limits_of(metric) == ends
    values = [0.1, 0.9]
    low, high = mean_interval(values, ends)
    free = mean_interval(values)
    assert (low, high) == (max(ends[0], free[0]), min(ends[1], free[1])) and low < 0.5 < high
    found = paired_seeds({0: 0.9, 1: 0.1}, {0: 0.1, 1: 0.2}, ends)
    assert ends[0] - ends[1] <= found.interval[0] < found.interval[1] <= ends[1] - ends[0]
    assert mean_interval([-3.0, 2.0], ends) == mean_interval([-3.0, 2.0])  # another quantity than its name says
