"""The adviser's table, its borders, and that what it says can be typed."""

import itertools

import pytest

from models.analysis.advice import RATES, TABLE, advise, amount, batch_size, blind, rows, said, similarity
from models.analysis.separability import Probe
from settings.reading.compose import compose

SMALL, LARGE = [40] * 10, [900] * 10


def probe(linear, images=1000):
    return Probe(features=64, images=images, linear=linear, neighbours=linear)


CELLS = [
    (SMALL, "similar", "head_only"),
    (SMALL, "somewhat dissimilar", "partial"),
    (SMALL, "very dissimilar", None),
    (LARGE, "similar", "discriminative"),
    (LARGE, "somewhat dissimilar", "gradual"),
    (LARGE, "very dissimilar", "scratch"),
]


@pytest.mark.parametrize(("counts", "similar", "mode"), CELLS)
def test_each_cell_of_the_table(counts, similar, mode):
    advice = advise(counts, similar, optimizer="adamw")
    assert advice.mode == mode
    assert advice.cell == ("small" if counts is SMALL else "large", similar)
    assert advice.settings.get("transfer") == mode
    assert ("collect more data" in advice.reason) == (mode is None)
    if mode == "gradual":
        assert advice.settings["transfer.schedule"] == "everything"
    words = [f"{key}={value}" for key, value in advice.settings.items()]
    weights = [] if mode in ("scratch", None) else ["transfer.allow_random=true"]
    config = compose([*words, *weights])
    assert config.transfer.name == (mode or "scratch")
    assert config.optimizer.lr == RATES["adaptive"][mode or "full"]
    assert len(CELLS) == len(TABLE)


def test_size_needs_large_classes_and_many_images():
    assert amount([600] * 10) == "large"
    assert amount([600] * 5) == "small", "too few in all"
    assert amount([400] * 100) == "small", "too few in a class"
    assert amount([10, 10, 10, 10_000]) == "small", "one large class does not help the others"


def test_similarity_is_the_share_of_the_error_that_pretraining_takes_away():
    assert similarity(probe(0.9), probe(0.7), probe(0.8)) == ("similar", pytest.approx(0.5))
    assert similarity(probe(0.86), probe(0.7), probe(0.8)) == ("somewhat dissimilar", pytest.approx(0.3))
    assert similarity(probe(0.81), probe(0.7), probe(0.8)) == ("very dissimilar", pytest.approx(0.05))
    assert similarity(probe(0.7), probe(0.7), probe(0.8))[0] == "very dissimilar", "worse than pixels"
    assert similarity(probe(0.97), probe(0.95), probe(0.96))[0] == "similar", "solved as it is"
    assert similarity(probe(0.86, images=60), probe(0.8, images=60))[0] == "very dissimilar", "no more than chance"


def test_first_settings():
    assert [batch_size(n) for n in (5, 900, 1600, 3200, 10**6)] == [16, 16, 32, 64, 128]
    assert advise(SMALL, "similar", optimizer="sgd").settings["optimizer.lr"] == "0.03"
    modes = {mode for mode, _ in TABLE.values() if mode} | {"full"}
    assert all(set(rates) == modes for rates in RATES.values())
    for adaptive, sgd in zip(RATES["adaptive"].values(), RATES["sgd"].values(), strict=True):
        assert adaptive < sgd


def test_what_is_said_names_evidence_and_rules():
    probes = {"pretrained": probe(0.9), "untrained": probe(0.7), "pixels": probe(0.8)}
    similar, closed = similarity(*probes.values())
    assert [row[0] for row in rows(probes)] == ["pretrained", "untrained", "pixels"]
    assert [row[2].split()[0] for row in rows(probes)] == ["0.900", "0.700", "0.800"]
    assert rows(probes)[0][2] == "0.900 +- 0.009"
    text = "\n".join(said(probes, advise(SMALL, similar, optimizer="adamw"), closed))
    for part in (
        "50% off",
        "rule of thumb",
        "small and similar: transfer=head_only",
    ):
        assert part in text
    assert max(map(len, text.splitlines())) <= 130
    for counts, (size, others) in itertools.product([SMALL, LARGE], [("small", "partial"), ("large", "gradual")]):
        assert (others in blind(counts)[0]) == (amount(counts) == size)
