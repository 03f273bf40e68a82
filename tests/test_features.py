"""Features of time surfaces: against a slow twin, however streams are cut, and what they learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dvskit.errors import ConfigError, EventsError, ShapeError
from dvskit.events import Events
from dvskit.tensors import FeatureCounts, FeatureLayer, Features, fit_features
from tests.laws import refused
from tests.test_tensors import Blocks, random_events


def layer(surfaces: Any = "separate", **changes: Any) -> FeatureLayer:
    given = {"n_features": 7, "patch": 5, "tau_us": 4_000, "eta": 0.01}
    return FeatureLayer(surfaces=surfaces, **(given | changes))


class Twin:
    """One pass through a layer, event by event, in float64, as the definition reads."""

    def __init__(self, chosen: FeatureLayer, channels: int, size: tuple[int, int]) -> None:
        self.layer = chosen
        self.last = np.full((channels if chosen.surfaces != "merged" else 1, *size[::-1]), -np.inf)

    def patch(self, t: int, x: int, y: int, channel: int) -> NDArray[np.float64] | None:
        plane = 0 if self.layer.surfaces == "merged" else channel
        self.last[plane, y, x] = t
        radius = self.layer.patch // 2
        planes = self.last[plane : plane + 1] if self.layer.surfaces == "separate" else self.last
        _, height, width = planes.shape
        if not (radius <= x < width - radius and radius <= y < height - radius):
            return None
        near = planes[:, y - radius : y + radius + 1, x - radius : x + radius + 1]
        value = np.exp((near - t) / self.layer.tau_us).ravel()
        return value / np.linalg.norm(value)


def found_by_twin(features: Features, events: Events) -> list[int]:
    found, channels = events.p.astype(int).tolist(), 2
    for fitted in features.layers:
        twin, deeper = Twin(fitted.layer, channels, events.sensor_size), []
        columns = (each.tolist() for each in (events.t, events.x, events.y))
        for t, x, y, channel in zip(*columns, found, strict=True):
            patch = None if channel < 0 else twin.patch(t, x, y, channel)
            if patch is None:
                deeper.append(-1)
                continue
            group = channel if fitted.layer.surfaces == "separate" else 0
            flat = fitted.weights[group].reshape(fitted.weights.shape[1], -1)
            deeper.append(group * len(flat) + int((flat @ patch).argmax()))
        found, channels = deeper, fitted.channels
    return found


def fitted_by_twin(
    chosen: FeatureLayer, recordings: list[Events], seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    rng = np.random.default_rng(seed)
    shape = chosen.shape(2)
    weights = rng.random(shape, np.float32).reshape(*shape[:2], -1).astype(float)
    weights /= np.linalg.norm(weights, axis=2, keepdims=True)
    thresholds = rng.random(shape[:2], np.float32).astype(float)
    seen = missed = 0
    for events in recordings:
        twin = Twin(chosen, 2, events.sensor_size)
        columns = (each.tolist() for each in (events.t, events.x, events.y, events.p.astype(int)))
        for t, x, y, channel in zip(*columns, strict=True):
            patch = twin.patch(t, x, y, channel)
            if patch is None:
                continue
            group, seen = channel if chosen.surfaces == "separate" else 0, seen + 1
            distance = 1 - weights[group] @ patch
            distance[distance >= thresholds[group]] = np.inf
            best = int(distance.argmin())
            if np.isinf(distance[best]):
                thresholds[group] += chosen.delta_e
                missed += 1
                continue
            new = (1 - chosen.eta) * weights[group, best] + chosen.eta * patch
            weights[group, best] = new / np.linalg.norm(new)
            thresholds[group, best] -= chosen.delta_i
    return weights.reshape(shape), thresholds, missed / seen


@pytest.mark.parametrize(
    ("surfaces", "changes"),
    [
        ("separate", {}),
        ("separate", {"n_features": 18, "tau_us": 200.0}),
        ("joined", {"patch": 1}),
        ("joined", {}),
        ("merged", {"n_features": 18, "tau_us": 200.0}),
    ],
)
def test_features_are_learned_and_found_as_by_their_definition(
    surfaces: str, changes: dict[str, Any]
) -> None:
    chosen = layer(surfaces, **changes)
    recordings = [random_events(900, seed=1), random_events(500, seed=2)]
    features = fit_features(recordings, chosen, seed=4)
    (fitted,) = features.layers
    weights, thresholds, missed = fitted_by_twin(chosen, recordings, seed=4)
    np.testing.assert_allclose(fitted.weights, weights, atol=2e-5)
    np.testing.assert_allclose(fitted.thresholds, thresholds, atol=2e-5)
    assert fitted.missed == pytest.approx(missed)
    events = random_events(600, seed=3)
    assert features.transform(events).tolist() == found_by_twin(features, events)


def test_a_layer_learns_from_the_features_of_the_one_before() -> None:
    events = random_events(1_500, seed=5)
    layers = [layer("joined", n_features=4, patch=3), layer("joined", tau_us=9_000)]
    features = fit_features(events, layers, seed=1)
    assert features.layers[0].channels == 4
    assert features.images.shape == (7, 4, 5, 5)
    found = features.transform(events)
    assert found.tolist() == found_by_twin(features, events)
    assert set(found.tolist()) > {-1, 0}


def test_long_pauses_and_late_clocks_change_nothing_but_the_age_of_events() -> None:
    events = random_events(700, seed=8)
    features = fit_features(events, layer(tau_us=50.0), seed=1)  # the surface's unit changes often
    late = Events(
        t=events.t + (1 << 50), x=events.x, y=events.y, p=events.p, size=events.sensor_size
    )
    assert np.array_equal(features.transform(late), features.transform(events))
    apart = Events(t=events.t * 10**9, x=events.x, y=events.y, p=events.p, size=events.sensor_size)
    assert features.transform(apart).tolist() == found_by_twin(features, apart)


def test_counts_of_features_are_those_of_each_bin_and_cell() -> None:
    events = random_events(900, seed=10)
    features = fit_features(events, layer())
    chosen = FeatureCounts(fitted=features, bins=3, bin_us=9_000, cell_px=4, outside="ignore")
    found, first = features.transform(events), int(events.t[0])
    expected = np.zeros(chosen.shape(events.sensor_size))
    for t, x, y, k in zip(events.t, events.x, events.y, found, strict=True):
        if k >= 0 and (t - first) // 9_000 < 3:
            expected[(t - first) // 9_000, k, y // 4, x // 4] += 1
    np.testing.assert_array_equal(chosen(Blocks(events, 50)).numpy(), expected)
    with refused(ShapeError):
        FeatureCounts(fitted=features, bins=3, bin_us=9_000)(events)
    assert FeatureCounts(fitted=features).bins == 1
    assert not FeatureCounts(fitted=features)(Events.empty(events.sensor_size)).any()
    out = torch.ones(chosen.shape(events.sensor_size))
    assert torch.equal(chosen(events, out=out), torch.from_numpy(expected).float())


def test_a_generator_of_recordings_is_read_for_each_epoch() -> None:
    recordings = [random_events(400, seed=1), random_events(300, seed=2)]
    several = fit_features(iter(recordings), layer(), epochs=2)
    again = fit_features([(each, "label") for each in recordings], layer(), epochs=2)
    assert np.array_equal(several.layers[0].weights, again.layers[0].weights)


@pytest.mark.parametrize(
    ("make", "error", "named"),
    [
        (lambda: FeatureLayer(patch=4), ConfigError, "patch = 4"),
        (lambda: FeatureLayer(n_features=0), ConfigError, "n_features = 0"),
        (lambda: FeatureLayer(tau_us=0), ConfigError, "tau_us = 0"),
        (lambda: FeatureLayer(eta=2), ConfigError, "eta = 2"),
        (lambda: FeatureLayer(surfaces="both"), ConfigError, "both"),  # type: ignore[arg-type]
        (lambda: fit_features([], layer()), EventsError, "no event"),
        (lambda: fit_features(random_events(9, seed=1), []), ConfigError, "layers"),
        (lambda: fit_features([], layer(n_features=1 << 24)), ConfigError, "too large"),
        (lambda: fit_features([], layer(), epochs=0), ConfigError, "epochs = 0"),
    ],
)
def test_layers_that_cannot_be_learned_are_an_error(make: Any, error: type, named: str) -> None:
    with refused(error, named):
        make()
