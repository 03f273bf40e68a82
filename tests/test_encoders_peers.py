"""The encoders beside their peers: snntorch and spikify; where a peer is another code is said."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dvskit.encoders import (
    bsa,
    contrast_threshold,
    decode_bsa,
    decode_hsa,
    decode_step_forward,
    delta,
    hsa,
    moving_window,
    run_delta,
    step_forward,
    temporal_contrast,
)
from tests.test_encoders_signals import walks


def exact_walks(steps: int = 300, channels: int = 12, seed: int = 0) -> torch.Tensor:
    """Walks of multiples of 1/1024: sums and means of them are exact, whatever their order."""
    return (walks(steps, channels, seed) * 1024).round() / 1024


def same(ours: torch.Tensor, theirs: NDArray[np.int8]) -> bool:
    assert 0.02 < ours.abs().mean() < 0.9
    return np.array_equal(ours.numpy(), theirs)


@pytest.mark.parametrize("threshold", [0.03125, 0.0625])
def test_changes_are_those_of_snntorch(threshold):
    peer = pytest.importorskip("snntorch.spikegen").delta
    signal = exact_walks().to(torch.float32)
    on_only = partial(delta, threshold=threshold, threshold_off=torch.inf)
    assert torch.equal(on_only(signal), peer(signal, threshold, padding=True))
    both = peer(signal, threshold, padding=True, off_spike=True)
    assert torch.equal(delta(signal, threshold=threshold), both)
    # Without padding theirs compares the first sample with 0.
    zero = torch.zeros(signal.shape[1:])
    from_zero = peer(signal, threshold, off_spike=True)
    assert torch.equal(run_delta(signal, zero, threshold=threshold)[0], from_zero)


def test_step_forward_is_that_of_spikify():
    peer = pytest.importorskip("spikify.encoders.temporal.contrast").step_forward
    signal = walks(300, 12, seed=1)
    for threshold in (0.03, 0.08):
        ours = step_forward(signal, threshold=threshold)
        assert same(ours, peer(signal.numpy(), threshold)[0])
    thresholds = np.linspace(0.02, 0.1, 12)
    ours = step_forward(signal, threshold=torch.from_numpy(thresholds))
    assert same(ours, peer(signal.numpy(), thresholds)[0])


def test_decoded_steps_are_those_of_spikify():
    peer = pytest.importorskip("spikify.decoders.temporal.contrast").contrast_decoder
    signal = walks(300, 12, seed=1)
    spikes = step_forward(signal, threshold=0.03)
    ours = decode_step_forward(spikes, threshold=0.03, start=signal[0])
    theirs = peer(spikes.numpy(), np.full(12, 0.03), signal[0].numpy())
    assert ours.numpy() == pytest.approx(theirs, abs=1e-13)


@pytest.mark.parametrize("window", [1, 4, 7])
def test_moving_windows_are_those_of_spikify(window):
    peer = pytest.importorskip("spikify.encoders.temporal.contrast").moving_window
    signal = exact_walks(seed=2)
    ours = moving_window(signal, window=window, threshold=0.04)
    assert same(ours, peer(signal.numpy(), window, 0.04)[0])


def test_temporal_contrast_is_that_of_spikify_one_step_later():
    """Spikify has the spike of a change in the step before it, and counts the last change twice.

    So a sample more that goes on with the last change gives its spikes one step later. Its mean
    keeps its sign: the signals here rise.
    """
    peer = pytest.importorskip("spikify.encoders.temporal.contrast").threshold_based_representation
    signal = exact_walks(seed=3) + torch.arange(300)[:, None] / 256
    longer = torch.cat([signal, 2 * signal[-1:] - signal[-2:-1]])
    for factor in (0.5, 1.0):
        spikes, threshold = peer(signal.numpy(), factor)
        found = contrast_threshold(longer, factor=factor)
        assert found.numpy() == pytest.approx(threshold, abs=1e-15)
        assert same(temporal_contrast(longer, factor=factor)[1:], spikes)
    # Of the falling signal theirs is below ours by twice the mean.
    _, threshold = peer(-signal.numpy(), 0.5)
    mean = longer.diff(dim=0).mean(0)
    ours = contrast_threshold(-longer, factor=0.5) - 2 * mean
    assert ours.numpy() == pytest.approx(threshold, abs=1e-15)


def test_hough_s_spikes_are_those_of_spikify():
    """Spikify divides signals above 1 by their largest value; these stay below."""
    peer = pytest.importorskip("spikify.encoders.temporal.deconvolution").hough_spiker
    signal = walks(300, 12, seed=4)
    spikes, bank, shift, norm = peer(signal.numpy(), 9, 0.15, window_type="hamming")
    assert not shift.any()
    assert (norm == 1).all()
    response = torch.from_numpy(bank[:, 0].copy())
    ours = hsa(signal, response=response)
    assert same(ours, spikes)
    decoder = pytest.importorskip("spikify.decoders.temporal.deconvolution").deconvolution_decoder
    theirs = decoder(spikes, bank, shift, norm)
    assert decode_hsa(ours, response=response).numpy() == pytest.approx(theirs, abs=1e-13)


@pytest.mark.parametrize("threshold", [0.7, 0.9])
def test_ben_s_spikes_are_those_of_spikify(threshold):
    """Spikify scales the filter for signals above 1; these stay below."""
    peer = pytest.importorskip("spikify.encoders.temporal.deconvolution").bens_spiker
    signal = walks(300, 12, seed=5)
    spikes, bank, shift = peer(signal.numpy(), 9, 0.15, threshold, window_type="hamming")
    response = torch.from_numpy(bank[:, 0].copy())
    ours = bsa(signal, response=response, threshold=threshold)
    assert same(ours, spikes)
    decoder = pytest.importorskip("spikify.decoders.temporal.deconvolution").deconvolution_decoder
    theirs = decoder(spikes, bank, shift)
    assert decode_bsa(ours, response=response).numpy() == pytest.approx(theirs, abs=1e-13)
