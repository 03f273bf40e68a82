"""The kernels for GPUs where there is none: interpreted, compiled, and what they are launched with.

Triton's interpreter has to be asked for before Triton is imported, so that it runs in a child
process. It rounds float32 to bfloat16 by cutting bits off, which a GPU does not.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from dvskit.errors import ConfigError
from dvskit.neurons import LIF, gpu
from dvskit.neurons.operator import BACKENDS, why_not_fused
from tests import test_neuron_kernels
from tests.laws import refused
from tests.neuron_cases import NEURONS, currents, layer_of, passed, start_of

triton_only = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is not installed"
)
interpreted = pytest.mark.skipif(
    not test_neuron_kernels.INTERPRETED, reason="in a child process, in Triton's interpreter"
)
compiled = pytest.mark.skipif(
    test_neuron_kernels.INTERPRETED or torch.cuda.is_available(),
    reason="where there is neither a GPU nor the interpreter",
)


@pytest.mark.slow(seconds=12)
@triton_only
@compiled
def test_the_laws_of_kernels_hold_in_tritons_interpreter():
    words = ("-k", "kernels-on or interpreter", test_neuron_kernels.__file__, __file__)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", *words],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


@triton_only
@interpreted
@pytest.mark.parametrize("memory", [1, 16 * 4 * 5 * 8])
def test_programs_that_take_turns_give_the_numbers_of_one_in_the_interpreter(memory, monkeypatch):
    monkeypatch.setitem(BACKENDS, "cpu", gpu)
    for name, dtype in (("signed ALIF", torch.float32), ("all learned, synaptic", torch.bfloat16)):
        x = currents(5, 2, 5, 7, dtype=dtype)
        layer = NEURONS[name](refractory=1, backend="fused")
        whole = passed(layer, x, torch.ones_like(x))
        with monkeypatch.context() as patched:  # blocks of 16 of 70 neurons, in little memory
            patched.setattr(gpu, "block_of", lambda neurons: 16)
            patched.setattr(gpu, "SCRATCH", memory)
            turned = passed(layer, x, torch.ones_like(x))
        assert torch.equal(turned[0], whole[0])
        for index in (1, 2):
            assert all(torch.equal(turned[index][key], whole[index][key]) for key in whole[index])


@triton_only
@interpreted
def test_half_precision_is_that_of_plain_torch_in_the_interpreter(monkeypatch):
    monkeypatch.setitem(BACKENDS, "cpu", gpu)
    case = ("signed", "soft", False, 1, 2, "float16")
    x, gs = currents(6, 2, 5, 7).half(), currents(6, 2, 5, 7, seed=1).half()
    ours = passed(layer_of(case, "fused"), x, gs)
    assert ours[0].dtype == torch.float16
    test_neuron_kernels.assert_same(ours, passed(layer_of(case, "torch"), x.float(), gs.float()))


class Recorder:
    """In place of a kernel: what it is launched with."""

    def __init__(self):
        self.launches = []

    def __getitem__(self, grid):
        return lambda *args, **options: self.launches.append((grid, args, options))


def launched(monkeypatch, name, launch):
    """The kernel of a name, and (grid, arguments, options) of its launch."""
    from dvskit.neurons import triton_kernels

    kernel, recorder = getattr(triton_kernels, name), Recorder()
    with monkeypatch.context() as patched:  # a launch needs a GPU
        patched.setattr(triton_kernels, name, recorder)
        launch()
    return kernel, recorder.launches[0]


def compiled_for_a_gpu(kernel, args, options):
    """The PTX of a launch, without a GPU."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    given = {**dict(zip(kernel.arg_names, args, strict=False)), **options}
    names = {torch.float32: "*fp32", torch.bfloat16: "*bf16", torch.float16: "*fp16"}
    signature, constants = {}, {}
    for name in kernel.arg_names:
        value = given[name]
        if isinstance(value, torch.Tensor):
            signature[name] = names.get(value.dtype, "*i32")
        elif name.islower() and value is not None:
            signature[name] = "fp32" if isinstance(value, float) else "i32"
        else:
            signature[name], constants[name] = "constexpr", value
    chosen = {name: options[name] for name in ("num_warps", "enable_fp_fusion")}
    source = ASTSource(kernel, signature, constants)
    target = GPUTarget("cuda", 80, 32)
    return triton.compile(source, target=target, options=chosen).asm["ptx"]


@pytest.mark.slow(seconds=3)
@triton_only
@compiled
@pytest.mark.parametrize(
    "case",
    [
        ("PLIF", "hard", False, 1, 0, "float16"),
        ("all learned, adaptive", "soft", True, 3, 1, "bfloat16"),
    ],
    ids=str,
)
def test_the_kernels_compile_for_a_gpu_without_contracted_operations(case, monkeypatch, tmp_path):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    layer = layer_of(case, "torch")
    d, x = layer.dynamics, currents(4, 2, 5, 7, dtype=getattr(torch, case[-1]))
    state = start_of(layer, x.shape[1:])
    ends = x, state.v, None, None
    for name, launch in (
        ("neurons_forward", lambda: gpu.forward(d, x, state)),
        ("neurons_backward", lambda: gpu.backward(d, x, state, ends, list(d.tensors()))),
    ):
        kernel, (_, args, options) = launched(monkeypatch, name, launch)
        ptx = compiled_for_a_gpu(kernel, args, options)
        assert "mul.rn.f32" in ptx
        assert "fma" not in ptx
        assert ".ftz" not in ptx


def on_cuda(*shape, dtype=torch.float32):
    """A tensor that says it is on a GPU, within a FakeTensorMode."""
    return torch.empty(*shape, device="cuda", dtype=dtype)


def test_a_tensor_on_a_gpu_is_for_the_kernels_where_triton_works(monkeypatch):
    # There is no GPU on which Triton works or fails: what a trial finds is patched.
    failure = [None]
    monkeypatch.setattr(gpu, "_INSTALLED", True)
    monkeypatch.setattr(gpu, "_failure", lambda device: failure[0])
    d = LIF().dynamics
    with FakeTensorMode():
        assert why_not_fused(on_cuda(3, 4), d) is None
        assert why_not_fused(on_cuda(3, 4, dtype=torch.float16), d) is None
        assert "torch.float64" in why_not_fused(on_cuda(3, 4, dtype=torch.float64), d)
        failure[0] = "Triton fails"
        assert why_not_fused(on_cuda(3, 4), d) == "Triton fails"
        monkeypatch.setattr(gpu, "_INSTALLED", False)
        with refused(ConfigError, "Triton"):
            LIF(backend="fused")(on_cuda(3, 4))
        spikes = LIF()(on_cuda(3, 4))  # in plain torch
    assert spikes.device.type == "cuda"


@triton_only
def test_what_triton_fails_with_is_the_reason_for_plain_torch(monkeypatch):
    from dvskit.neurons import triton_kernels

    able = [(8, 0)]
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: able[0])
    failure, kernel = gpu._failure.__wrapped__, Recorder()  # without its cache
    monkeypatch.setattr(triton_kernels, "neurons_forward", kernel)
    assert failure(torch.device("cpu")) is None
    assert len(kernel.launches) == 1
    monkeypatch.setattr(triton_kernels, "neurons_forward", None)  # cannot be launched
    assert "TypeError" in failure(torch.device("cpu"))
    able[0] = (6, 1)
    assert "(6, 1)" in failure(torch.device("cpu"))
