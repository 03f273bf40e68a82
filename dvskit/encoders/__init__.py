"""Values and signals -> spike tensors with time first, and back.

Values in [0, 1], such as the pixels of an image, become spikes over a number of steps:

    poisson, signed_poisson        a spike in each step with the probability of the value
    latency                        one spike, earlier for brighter; linear or logarithmic
    rank_order                     one spike, in the order of the values
    population, population_latency neurons with Gaussian receptive fields share each value

Signals (T, ...), of any number of channels, become spikes -1, 0, 1 (hsa and bsa: 0, 1) of the same
shape:

    delta                          the change from the last sample is a threshold or more
    temporal_contrast              the change stands out among all changes of the signal
    step_forward                   a baseline follows the signal, one threshold per spike
    moving_window                  the signal leaves the mean of its recent past
    hsa, bsa                       the signal as a sum of impulse responses of a filter

`decode_<name>` returns values or signals, `reconstruction_error` measures their error, and
`two_channels` converts signed spikes to OFF and ON channels. Random spikes use torch's default
generator, or the generator or seed that is passed. Outputs keep the dtype and device of the input
(decoded integers are float32); spikes have no gradient. A threshold is a number, or a tensor that
broadcasts against one time step.

All raise ShapeError for integers where floats are expected, a tensor without time, and arguments
that do not fit one time step; ConfigError for NaN, infinities and values out of range.

    sine = torch.sin(torch.linspace(0, 12.56, 1000))
    spikes = step_forward(sine, threshold=0.05)  # (1000,), -1, 0 or 1
    decoded = decode_step_forward(spikes, threshold=0.05, start=sine[0])
    reconstruction_error(sine, decoded).snr_db  # above 25
"""

from dvskit.encoders.names import register_encoder
from dvskit.encoders.signals import (
    ReconstructionError,
    bsa,
    contrast_threshold,
    decode_bsa,
    decode_delta,
    decode_hsa,
    decode_moving_window,
    decode_step_forward,
    decode_temporal_contrast,
    delta,
    hsa,
    low_pass,
    moving_window,
    reconstruction_error,
    run_delta,
    run_step_forward,
    step_forward,
    temporal_contrast,
    two_channels,
)
from dvskit.encoders.values import (
    LatencyLaw,
    ReceptiveFields,
    decode_latency,
    decode_poisson,
    decode_population,
    decode_rank_order,
    latency,
    linear_latency,
    linear_value,
    log_latency,
    log_value,
    poisson,
    population,
    population_latency,
    rank_order,
    signed_poisson,
)

__all__ = [
    "LatencyLaw",
    "ReceptiveFields",
    "ReconstructionError",
    "bsa",
    "contrast_threshold",
    "decode_bsa",
    "decode_delta",
    "decode_hsa",
    "decode_latency",
    "decode_moving_window",
    "decode_poisson",
    "decode_population",
    "decode_rank_order",
    "decode_step_forward",
    "decode_temporal_contrast",
    "delta",
    "hsa",
    "latency",
    "linear_latency",
    "linear_value",
    "log_latency",
    "log_value",
    "low_pass",
    "moving_window",
    "poisson",
    "population",
    "population_latency",
    "rank_order",
    "reconstruction_error",
    "register_encoder",
    "run_delta",
    "run_step_forward",
    "signed_poisson",
    "step_forward",
    "temporal_contrast",
    "two_channels",
]
