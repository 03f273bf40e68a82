"""What is launched on a GPU, and when: compiled for one where there is none."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from dvskit.errors import ConfigError
from dvskit.neurons import ALIF, LIF, gpu
from dvskit.neurons.operator import why_not_fused
from tests.test_neurons_gpu import currents, layer_of, off_gpu, start_of, triton_only


def test_scratch_is_bounded_and_none_for_the_plain_neuron():
    d = LIF().dynamics
    rows, programs = gpu._scratch(d, torch.empty(50, 1_000_000, device="meta"), (), 512)
    assert rows == [None] * 5
    assert programs == 1954
    with FakeTensorMode():
        for x in (torch.empty(50, 10_000_000), torch.empty(50, 10_000_000).bfloat16()):
            rows, programs = gpu._scratch(ALIF().dynamics, x, ("beta",), 512)
            used = sum(row.numel() * 4 for row in rows if row is not None)
            assert gpu.SCRATCH / 2 < used <= gpu.SCRATCH
        rows, programs = gpu._scratch(ALIF().dynamics, torch.empty(1_000_000, 600), (), 128)
        assert programs == 1


class Recorder:
    """In place of a kernel: what it is launched with."""

    def __init__(self):
        self.launches = []

    def __getitem__(self, grid):
        return lambda *args, **options: self.launches.append((args, options))


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


@pytest.mark.slow
@triton_only
@off_gpu
@pytest.mark.parametrize(
    "case",
    [
        ("LIF", "soft", True, 0, 0, "float32"),
        ("PLIF", "hard", False, 1, 0, "float16"),
        ("all learned, signed", "soft", False, 2, 2, "bfloat16"),
        ("all learned, adaptive", "hard", True, 3, 1, "float32"),
        ("all learned, synaptic", "none", True, 4, 0, "bfloat16"),
    ],
    ids=str,
)
def test_the_kernels_compile_for_a_gpu_without_contracted_operations(case, monkeypatch, tmp_path):
    from dvskit.neurons import triton_kernels

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    layer = layer_of(case, "torch")
    d, x = layer.dynamics, currents(4, 2, 5, 7, dtype=getattr(torch, case[-1]))
    state = start_of(layer, x.shape[1:])
    for name, launch in (
        ("neurons_forward", lambda: gpu.forward(d, x, state)),
        (
            "neurons_backward",
            lambda: gpu.backward(d, x, state, x, (state.v, None, None), list(d.tensors())),
        ),
    ):
        kernel, recorder = getattr(triton_kernels, name), Recorder()
        with monkeypatch.context() as patched:
            patched.setattr(triton_kernels, name, recorder)
            launch()
        ptx = compiled_for_a_gpu(kernel, *recorder.launches[0])
        assert "mul.rn.f32" in ptx or case[1] == "none"
        assert "fma" not in ptx
        assert ".ftz" not in ptx


def on_cuda(*shape, dtype=torch.float32):
    """A tensor that says it is on a GPU, within a FakeTensorMode."""
    return torch.empty(*shape, device="cuda", dtype=dtype)


def test_a_tensor_on_a_gpu_is_for_the_kernels_where_triton_works(monkeypatch):
    failure = [None]
    monkeypatch.setattr(gpu, "_INSTALLED", True)
    monkeypatch.setattr(gpu, "_failure", lambda device: failure[0])
    d = LIF().dynamics
    with FakeTensorMode():
        assert why_not_fused(on_cuda(3, 4), d) is None
        assert why_not_fused(on_cuda(3, 4, dtype=torch.float16), d) is None
        assert "not torch.float64" in why_not_fused(on_cuda(3, 4, dtype=torch.float64), d)
        failure[0] = "Triton fails"
        assert why_not_fused(on_cuda(3, 4), d) == "Triton fails"
        monkeypatch.setattr(gpu, "_INSTALLED", False)
        assert "Triton, which compiles them, is not installed" in why_not_fused(on_cuda(3, 4), d)
        with pytest.raises(ConfigError, match="Triton"):
            LIF(backend="fused")(on_cuda(3, 4))
        spikes = LIF()(on_cuda(3, 4))  # in plain torch
    assert spikes.device.type == "cuda"


@triton_only
def test_what_triton_fails_with_is_the_reason_for_plain_torch(monkeypatch):
    from dvskit.neurons import triton_kernels

    able = [(8, 0)]
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: able[0])
    failure, kernel = gpu._failure.__wrapped__, Recorder()
    monkeypatch.setattr(triton_kernels, "neurons_forward", kernel)
    assert failure(torch.device("cpu")) is None
    assert len(kernel.launches) == 1
    monkeypatch.setattr(triton_kernels, "neurons_forward", None)  # cannot be launched
    assert "Triton fails on cpu with TypeError: 'NoneType'" in failure(torch.device("cpu"))
    able[0] = (6, 1)
    assert "compute capability 7.0, not (6, 1)" in failure(torch.device("cpu"))


def test_triton_is_imported_by_the_kernels_only_and_these_when_they_are_called():
    for file in Path(gpu.__file__).parent.glob("*.py"):
        body = ast.parse(file.read_text(encoding="utf-8")).body
        first = [
            ast.unparse(node) for node in body if isinstance(node, ast.Import | ast.ImportFrom)
        ]
        if not file.stem.startswith("triton"):
            assert not any("triton" in line for line in first), file.name
