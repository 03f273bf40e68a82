"""Samples as data sets of torch: the same tensors by number, in any process and any order."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tonic.collation import PadTensors
from torch.utils.data import DataLoader

from dvskit.datasets import Encode, ImageChanges, collate_events, collate_tensors
from dvskit.errors import ConfigError, FormatError, ShapeError
from dvskit.filters import Crop, Fit, Vary
from dvskit.tensors import Counts, PointSet
from tests.drawn_samples import DrawnSamples
from tests.laws import refused
from tests.test_loader import equal
from tests.test_samples_items import images

COUNTS = Counts(bins=5, bin_us=500, outside="ignore")
VARY = Vary(shift_px=2, drop=0.4, time_scale=0.3)
POINTS = PointSet(points=20)


def every(data) -> list[tuple[torch.Tensor, int]]:
    return [data[number] for number in range(len(data))]


def alike(a, b) -> bool:
    return all(torch.equal(x, y) and n == m for (x, n), (y, m) in zip(a, b, strict=True))


def test_an_item_is_the_tensor_and_the_class_of_a_sample():
    samples = DrawnSamples(9, draws=False)
    data = samples.dataset(COUNTS)
    assert len(data) == len(list(data)) == 9
    assert data.classes == samples.classes
    assert data.targets.tolist() == samples.labels.tolist()
    for number in range(9):
        tensor, label = data[number]
        assert torch.equal(tensor, COUNTS(samples.events(number)))
        assert (label, type(label)) == (samples.labels[number], int)
    assert alike([data[-1], data[np.int64(2)]], [data[8], data[2]])
    for number in (9, -10):
        with refused(IndexError, 9):
            data[number]
    assert samples.dataset()[4] == (samples.events(4), samples.labels[4])
    cropped = samples.dataset(change=Crop(1, 1, 4, 3))[4][0]
    assert cropped == Crop(1, 1, 4, 3)(samples.events(4))


def test_size_start_and_change_are_applied_to_each_sample():
    samples = DrawnSamples(4, draws=False, size=(16, 12))
    events = samples.events(2)
    half = COUNTS(Fit((8, 6))(events), start_us=900)
    assert torch.equal(samples.dataset(COUNTS, size=(8, 6), start_us=900)[2][0], half)
    on = samples.dataset(COUNTS, change=lambda events: events[events.p])[2][0]
    assert torch.equal(on, COUNTS(events[events.p]))


@pytest.mark.parametrize(
    ("draws", "change", "representation"),
    [(True, None, COUNTS), (False, VARY, POINTS), (True, VARY, COUNTS), (False, Vary(), POINTS)],
)
def test_what_is_drawn_follows_from_the_seed_the_number_and_the_epoch(
    draws, change, representation
):
    def of(seed):
        return DrawnSamples(6, draws=draws).dataset(representation, change=change, seed=seed)

    data = of(3)
    first = every(data)
    assert alike(every(data)[::-1], [data[k] for k in range(5, -1, -1)])
    assert alike(every(data), first)
    assert alike(every(of(3)), first)
    assert not alike(every(of(4)), first)
    data.set_epoch(1)
    second = every(data)
    assert not any(torch.equal(a, b) for (a, _), (b, _) in zip(first, second, strict=True))
    again = pickle.loads(pickle.dumps(data))
    again.set_epoch(2)  # of its own
    assert not alike(every(again), every(data))
    assert alike(every(data), second)
    data.set_epoch(0)
    assert alike(every(data), first)


def test_without_chance_seed_and_epoch_change_nothing():
    data = DrawnSamples(4).without_draws().dataset(POINTS, seed=1)
    first = every(data)
    data.set_epoch(5)
    assert alike(every(data), first)


@pytest.mark.parametrize("start_us", [None, 900])
def test_vary_counts_times_from_the_start(start_us):
    samples = DrawnSamples(2, draws=False)  # their first events are after 1000 us
    vary = Vary(time_scale=0.5, drop=0.5)
    events = samples.events(1)
    early_us = events.t[0] if start_us is None else start_us
    shifted = replace(events, t=events.t - early_us, size=events.sensor_size)
    changed = vary.draw(np.random.default_rng((7, 0, 1)))(shifted)
    data = samples.dataset(COUNTS, change=vary, start_us=start_us, seed=7)
    assert torch.equal(data[1][0], COUNTS(changed, start_us=0))
    if start_us is None:
        assert samples.dataset(change=vary, seed=7)[1][0] == changed


def test_processes_of_a_dataloader_make_the_same_and_see_the_epoch():
    data = DrawnSamples(10).dataset(COUNTS, change=VARY, seed=2)
    loader = DataLoader(
        data,
        batch_size=4,
        num_workers=2,
        multiprocessing_context="fork",
        persistent_workers=True,
        collate_fn=collate_tensors,
    )
    for epoch in (0, 1):
        data.set_epoch(epoch)
        wanted = every(data)
        assert equal(list(loader), [collate_tensors(wanted[k : k + 4]) for k in (0, 4, 8)])


def test_images_become_spikes(tmp_path: Path):
    stills = images(tmp_path)
    encode = Encode("poisson", 7, (6, 8), changes=ImageChanges(shift_px=1))
    data = stills.dataset(encode, seed=3)
    tensor, label = data[3]
    assert (tensor.shape, tensor.dtype, label) == ((7, 2, 8, 6), torch.uint8, 1)
    assert torch.equal(tensor, encode(stills.image(3), np.random.default_rng((3, 0, 3))))
    data.set_epoch(1)
    assert not torch.equal(data[3][0], tensor)


def test_an_error_names_the_sample():
    class Bad(DrawnSamples):
        def events(self, number, rng=None):
            raise FormatError("damaged")

    with refused(FormatError, "s2", "damaged"):
        Bad(4).dataset()[2]
    with refused(ShapeError, "s1"):
        DrawnSamples(4).dataset(Counts(bins=2, bin_us=10))[1]


def test_wrong_calls_are_refused(tmp_path: Path):
    samples = DrawnSamples(4)
    for call, named in (
        (lambda: samples.dataset("counts"), "'counts'"),
        (lambda: samples.dataset(start_us=5), "start_us = 5"),
        (lambda: samples.dataset(change=3), 3),
        (lambda: samples.dataset(seed=-1), "seed = -1"),
        (lambda: samples.dataset().set_epoch(-1), "epoch = -1"),
        (lambda: images(tmp_path).dataset(COUNTS), "Encode"),
    ):
        with refused(ConfigError, named):
            call()


# -- batches of torch's DataLoader


def of_steps(*steps: int, dtype=torch.float32) -> list[tuple[torch.Tensor, int]]:
    return [(torch.rand(n, 2, 3, 4).mul(9).to(dtype), n % 3) for n in steps]


@pytest.mark.parametrize("steps", [(5, 5), (3, 7, 1), (0, 4), (6,)])
def test_tensors_are_padded_as_tonic_does_with_time_first(steps):
    batch = of_steps(*steps)
    tensor, labels = collate_tensors(batch)
    theirs, targets = PadTensors(batch_first=False)(batch)
    assert torch.equal(tensor, theirs)
    assert torch.equal(labels, targets)
    assert tensor.shape == (max(steps), len(steps), 2, 3, 4)


def test_arrays_sparse_tensors_and_any_dtype_are_collated():
    batch = of_steps(3, 5, dtype=torch.int16)
    whole = collate_tensors(batch)
    assert (whole[0].dtype, whole[1].dtype) == (torch.int16, torch.int64)
    assert equal([collate_tensors([(t.numpy(), n) for t, n in batch])], [whole])
    assert equal([collate_tensors([(t.to_sparse(), torch.tensor(n)) for t, n in batch])], [whole])


def test_tensors_that_do_not_fit_are_refused():
    odd = torch.zeros(3, 2, 3, 5)
    with refused(ShapeError, "(T, 2, 3, 4)", "(T, 2, 3, 5)"):
        collate_tensors([*of_steps(3), (odd, 0)])
    with refused(ShapeError, "int16"):
        collate_tensors([*of_steps(3), *of_steps(3, dtype=torch.int16)])
    with pytest.raises(ShapeError):
        collate_tensors([(torch.tensor(1.0), 0)])


def test_events_are_collated_in_processes():
    samples = DrawnSamples(5, draws=False)
    loader = DataLoader(samples.dataset(), 2, num_workers=1, collate_fn=collate_events)
    found = list(loader)
    assert [e for events, _ in found for e in events] == [samples.events(k) for k in range(5)]
    assert torch.cat([labels for _, labels in found]).tolist() == samples.labels.tolist()
