"""Draw the figures of the article on spiking networks anew, each from the code that it describes.

    python samples/article.py OUT                  # OUT/index.html and its PNGs
    python samples/article.py OUT --mnist FOLDER   # with a digit of MNIST, not a drawn one

The article is D. Korakovounis, "Spiking Neural Networks: where neuroscience meets artificial
intelligence" (theaisummer.com, 2021). Below each figure the page says what it shows, for which
passage it stands, and where the article's own numbers are slips.
"""

from __future__ import annotations

import argparse
import html
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import article_figures as figures
from matplotlib.figure import Figure


@dataclass(frozen=True)
class Shown:
    """A figure of the page: its file, how it is drawn, what it shows, its passage, and slips."""

    name: str
    title: str
    draw: Callable[[], Figure]
    words: str
    passage: str
    slip: str = ""


def shown(mnist: Path | None) -> tuple[Shown, ...]:
    """Return the figures in the order of the article."""
    return (
        Shown("response.png", "One input of 0.8", figures.one_input,
              "The potential jumps by 0.8 and decays as the RC circuit does; it stays below the "
              "threshold, so that the neuron neither fires nor resets.",
              "“Leaky Integrate and Fire”: the response to one input spike of 0.8."),
        Shown("three-neurons.png", "Three neurons, one input", figures.three_neurons,
              "The first forgets too fast to fire, the second fires once at 635 ms, the third fires"
              " at the packed events of 0 to 200 and 600 to 800 ms.",
              "“Leaky Integrate and Fire”: three neurons with decays 1/200 and 1/400 and weights "
              "0.5 and 0.35.",
              "It writes the decays as 0.05 and 0.025; 1/200 is 0.005 and 1/400 is 0.0025. It names"
              " the first three input spikes only; here a step is 0.5 ms and the other spikes are "
              "chosen so that all of its three sentences hold."),
        Shown("poisson.png", "Poisson encoding", figures.poisson_counts,
              "The number of spikes grows with r, 125 on average at r = 32/256; the more steps, the"
              " nearer their share comes to the value.",
              "“Images to spiketrains”, and num_steps of “Implementation in Python”.",
              "With a probability of r a step (it writes “r dt”, which contradicts its own count "
              "r T / dt = 125) counts are binomial, which is near a Gaussian and Poisson’s law."),
        Shown("square.png", "An image as spikes", figures.square_encoded,
              "By rate, a darker pixel fires more often; by time, each fires once, the darker the "
              "sooner.",
              "“Rank Order Coding and Population Order Coding”: the 2x2 image, 1 ms in steps of "
              "0.02 ms, 255 being black."),
        Shown("cloud.png", "A gesture as a cloud of events", figures.event_cloud,
              "Each event is a point in space and time, yellow if early and purple if late; the "
              "polarity is left out.",
              "“Dynamic Vision Sensors”: the cloud of a gesture."),
        Shown("camera.png", "Standard camera and event camera", figures.camera_beside,
              "The camera sees everything at one time; the event camera sees what changes, up or "
              "down.",
              "“Dynamic Vision Sensors”: a standard camera beside a DVS.",
              "Its formula of ΔL lacks an L: ΔL(x, t) = L(x, t) − L(x, t − Δt)."),
        Shown("stdp.png", "STDP’s window", figures.window_of_stdp,
              "A synapse grows if its spike comes before the neuron’s and shrinks if it comes "
              "after, the more the nearer they are.",
              "“Synaptic Time Dependent Plasticity”: Δw is the sum of W over all pairs of spikes.",
              "The name of the rule is spike-timing-dependent plasticity."),
        Shown("spikeprop.png", "One neuron, two classes", figures.two_classes,
              "Trained by SpikeProp, a single neuron answers 50 ms for the first class and 75 ms "
              "for the second.",
              "“Synaptic Time Dependent Plasticity”: SpikeProp’s example of one neuron."),
        Shown("mnist.png", "The network for MNIST", partial(figures.network_spikes, mnist),
              "The hidden neurons’ spikes, the output neurons’ spikes and their potentials over 25 "
              "steps: the digit’s own output rises above the others.",
              "“Implementation in Python”: 784-1000-10, beta 0.95.",
              "The article’s listing lacks the transform to tensors, the two appends and the "
              "optimizer’s step; samples/article-mnist.toml has them."),
    )  # fmt: skip


STYLE = """body{max-width:46rem;margin:2rem auto;padding:0 1rem;color:#1b1d26}
body{font:16px/1.5 sans-serif}
figure{margin:2.5rem 0}img{width:100%;height:auto}h2{font-size:1.1rem;margin:0 0 .5rem}
p{margin:.3rem 0}.passage,.slip{font-size:.9rem;color:#55586a}"""


def page(items: tuple[Shown, ...]) -> str:
    """Return the page's HTML."""
    parts = [
        "<!doctype html>", '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>The article’s figures, drawn anew</title><style>{STYLE}</style></head><body>",
        "<h1>The article’s figures, drawn anew</h1>",
        "<p>D. Korakovounis, <i>Spiking Neural Networks: where neuroscience meets artificial "
        "intelligence</i>, theaisummer.com, 2021. Each figure is made by the code that it is "
        "about.</p>",
    ]  # fmt: skip
    for each in items:
        parts += [
            f'<figure><h2>{html.escape(each.title)}</h2><img src="{each.name}" alt="'
            f'{html.escape(each.words)}"><figcaption><p>{html.escape(each.words)}</p>'
            f'<p class="passage">Stands for {html.escape(each.passage)}</p>'
        ]
        if each.slip:
            parts.append(f'<p class="slip">Set right: {html.escape(each.slip)}</p>')
        parts.append("</figcaption></figure>")
    return "\n".join([*parts, "</body></html>", ""])


def main() -> None:
    """Draw all figures and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--mnist", type=Path, help="the folder of MNIST's IDX files")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    items = shown(given.mnist)
    for each in items:
        each.draw().savefig(given.out / each.name)
        print(given.out / each.name)
    (given.out / "index.html").write_text(page(items), encoding="utf-8")
    print(given.out / "index.html")


if __name__ == "__main__":
    main()
