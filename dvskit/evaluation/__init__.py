"""Evaluate models, and let them decide: on recordings, images and live streams.

model = dvskit.models.load_model("nmnist-signed-lif")    # a shipped model, or a folder
evaluate(model, "nmnist").accuracy                       # on samples it was not trained on
evaluate("article-mnist", "mnist").accuracy              # on the test images of IDX files
evaluate_over_time(model, "nmnist").settled_us           # time until decisions settle
evaluate_corrupted(model, "nmnist", "noise")             # a Result per noise level
count_operations(model, "nmnist").energy_j               # joules per sample
classify(model, dvskit.load_events("digit.bin"))         # {"0": 0.01, ...}
classify_windows(model, recording).windows               # one decision per window
for decision in decide(model, recording): ...            # one per bin, while events arrive
"""

from dvskit.evaluation.decisions import (
    Classified,
    Decision,
    classify,
    classify_image,
    classify_spans,
    classify_windows,
)
from dvskit.evaluation.judging import choose_reject, evaluate
from dvskit.evaluation.live import Live, LiveDecision, LiveRun, decide
from dvskit.evaluation.measures import (
    CORRUPTIONS,
    Corrupted,
    CorruptionKind,
    OverTime,
    evaluate_corrupted,
    evaluate_over_time,
)
from dvskit.evaluation.operations import (
    LayerOperations,
    NeuronUpdates,
    Observed,
    Operations,
    count_operations,
    observe,
    spiking_layers,
    weighted_layers,
)
from dvskit.models.doubt import Reject
from dvskit.models.scores import Result

__all__ = [
    "CORRUPTIONS",
    "Classified",
    "Corrupted",
    "CorruptionKind",
    "Decision",
    "LayerOperations",
    "Live",
    "LiveDecision",
    "LiveRun",
    "NeuronUpdates",
    "Observed",
    "Operations",
    "OverTime",
    "Reject",
    "Result",
    "choose_reject",
    "classify",
    "classify_image",
    "classify_spans",
    "classify_windows",
    "count_operations",
    "decide",
    "evaluate",
    "evaluate_corrupted",
    "evaluate_over_time",
    "observe",
    "spiking_layers",
    "weighted_layers",
]
