"""v2e's names of parameters and options, and their equivalents here."""

from __future__ import annotations

V2E_NAMES = {
    "pos_thres": "threshold_on",
    "neg_thres": "threshold_off",
    "sigma_thres": "threshold_sigma",
    "leak_rate_hz": "leak_hz",
    "leak_jitter_fraction": "leak_jitter",
    "noise_rate_cov_decades": "leak_spread",
    "shot_noise_rate_hz": "shot_hz",
    "refractory_period": "refractory_us, in microseconds",
    "refractory_period_s": "refractory_us, in microseconds",
    "cs_lambda_pixels": "surround_px",
    "dvs_emulator_seed": "the seed (seed=, --seed)",
    "seed": "the seed (seed=, --seed)",
    "dvs_params": "a preset (EmulatorParams.preset, --preset)",
    "preset": "a preset (EmulatorParams.preset, --preset)",
    "timestamp_resolution": "not needed: events have exact times between frames; dvskit emulate "
        "--upsample adds frames",
    "auto_timestamp_resolution": "dvskit emulate --upsample, which adds frames",
    "slomo_model": "dvskit emulate --upsample, which adds frames",
    "disable_slomo": "what happens without dvskit emulate --upsample",
    "slowdown_factor": "dvskit emulate --upsample, which adds frames",
    "output_width": "the size (size=, --size WIDTHxHEIGHT)",
    "output_height": "the size (size=, --size WIDTHxHEIGHT)",
    "input_frame_rate": "the rate of frames (fps=, --fps)",
    "input_slowmotion_factor": "the rate of frames (fps=, --fps)",
    "start_time": "dvskit emulate --start",
    "stop_time": "dvskit emulate --stop",
}  # fmt: skip


def answer_for(name: str) -> str:
    """Return the equivalent of a v2e name as text; an empty text for any other name."""
    meant = V2E_NAMES.get(name.strip().lstrip("-").lower().replace("-", "_"))
    return "" if meant is None else f"v2e's {name.strip()} is {meant}"
