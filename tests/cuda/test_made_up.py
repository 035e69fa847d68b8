"""The made-up device itself: it refuses what CUDA refuses, and notes what takes time there."""

import pytest

SETUP = """
import torch.nn.functional as F
cuda = torch.device("cuda")
host, x = torch.ones(3), torch.ones(3, device=cuda)
rows = torch.zeros(2, dtype=torch.int64, device=cuda)
images = torch.ones(2, 1, 4, 4, device=cuda, requires_grad=True)
torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
"""


@pytest.fixture
def said(made_up):
    """Return a function that does a line after `SETUP`, and returns the report of it alone."""

    def run(line):
        return made_up(code=f"{SETUP}device.forget()\n{line}\n")

    return run


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("x.sum().item()", "item"),
        ("bool(x[0] > 0)", "item"),
        ("x.tolist()", "copy to the host of 3 float32"),
        ("x.cpu()", "copy to the host of 3 float32"),
        ("host.copy_(x)", "copy to the host of 3 float32"),
        ("host.to(cuda)", "copy to the device of 3 float32"),
        ("x.copy_(host)", "copy to the device of 3 float32"),
        ("torch.tensor([1, 2], device=cuda)", "copy to the device of 2 int64"),
        ("torch.nn.Linear(1, 1, bias=False).to(cuda)", "copy to the device of 1×1 float32"),
        ("x[x > 0]", "index by a mask"),
        ("x[x > 0] = x.sum()", "index_put_ by a mask"),
        ("x[torch.tensor([0])]", "index by indices on the CPU"),
        ("x[torch.tensor([0])] = 1.0", "index_put_ by indices on the CPU"),
        ("x[rows] = 1.0", "index_put_ of a number"),
        ("x[0] = 1.0", "copy to the device of a number"),
        ("x.nonzero()", "nonzero"),
        ("x.unique()", "_unique2"),
        ("rows.repeat_interleave(rows)", "repeat_interleave"),
        ("torch.equal(x, x)", "equal"),
        ("torch.cuda.synchronize()", "torch.cuda.synchronize"),
        ("torch.cuda.current_stream().synchronize()", "synchronize"),
    ],
)
def test_the_host_waits_where_it_must_know(said, line, what):
    (wait,) = said(line).waits()
    assert what in wait
    assert "code:9 in <module>" in wait


@pytest.mark.parametrize(
    "line",
    [
        "host.to(cuda, non_blocking=True)",
        "x.to('cpu', non_blocking=True)",
        "x.copy_(host, non_blocking=True)",
        "torch.zeros(3, device=cuda)",
        "x.new_zeros(3)",
        "x[rows] = x[rows]",
        "x[:2] = 1.0",
        "x[x > 0] = 1.0",
        "rows.repeat_interleave(rows, output_size=0)",
        "F.cross_entropy(x.view(1, 3), rows[:1])",
    ],
)
def test_the_host_goes_on_elsewhere(said, line):
    report = said(line)
    assert not report.error, report.error
    assert report.waits() == []


@pytest.mark.parametrize(
    "line",
    [
        "x + host",
        "torch.cat([x, host])",
        "x.index_select(0, torch.tensor([0]))",
        "host[rows]",
        "x[rows] = torch.ones(2)",
        "torch.nn.Linear(3, 1)(x)",
        "torch.stack([x[0], torch.tensor(1.0)])",
    ],
)
def test_tensors_on_two_devices_are_refused(said, line):
    (fault,) = said(line).faults
    assert "Expected all tensors to be on the same device" in fault
    assert fault.endswith("at code:9 in <module>")


def test_a_number_of_the_host_is_taken(said):
    report = said("x * torch.tensor(2.0) + torch.where(x > 0, x, torch.tensor(0.0))")
    assert (report.error, report.faults) == (None, [])


@pytest.mark.parametrize(
    "line", ["x.uniform_(generator=g)", "torch.randperm(3, generator=g, device=cuda)"]
)
def test_a_generator_of_the_host_is_refused(said, line):
    (fault,) = said(f"g = torch.Generator(); {line}").faults
    assert "Expected a 'cuda' device type for generator" in fault


def test_a_copy_that_has_not_arrived_is_not_read(said):
    (fault,) = said("there = x.to('cpu', non_blocking=True); there + 1").faults
    assert "add of what is on its way" in fault
    late = said("there = x.to('cpu', non_blocking=True); torch.cuda.synchronize(); there + 1")
    assert late.faults == []


def test_the_device_draws_from_a_generator_of_its_own(said):
    line = """
def draw(seed):
    with torch.random.fork_rng(devices=[cuda]), torch.cuda.device(cuda):
        torch.default_generator.manual_seed(0)
        torch.cuda.manual_seed(seed)
        return torch.rand(3, device=cuda).cpu()
assert torch.equal(draw(1), draw(1)) and not torch.equal(draw(1), draw(2))
torch.default_generator.manual_seed(0)
first = torch.rand(3)
torch.default_generator.manual_seed(0)
torch.rand(3, device=cuda)
assert torch.equal(first, torch.rand(3))  # the host's goes on as if nothing had been drawn
"""
    assert not said(line).error


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (
            "F.grid_sample(images, torch.zeros(2, 4, 4, 2, device=cuda)).sum().backward()",
            "grid_sampler_2d_backward",
        ),
        (
            "F.interpolate(images, 8, mode='bilinear').sum().backward()",
            "upsample_bilinear2d_backward",
        ),
        ("F.adaptive_avg_pool2d(images, 2).sum().backward()", "_adaptive_avg_pool2d_backward"),
        ("images.index_select(0, rows).sum().backward()", "index_add of several"),
        (
            "images.flatten(2).gather(2, rows.expand(2, 1, 2)).sum().backward()",
            "scatter_add of several",
        ),
        ("x[rows] = torch.ones(2, device=cuda)", "index_put of several"),
        ("x.cumsum(0)", "cumsum"),
        ("torch.bincount(rows, x[:2])", "bincount with weights"),
        ("torch.backends.cudnn.deterministic = False\nF.conv2d(images, images)", "a convolution"),
        (
            "F.max_pool2d(images.contiguous(memory_format=torch.channels_last).expand(2, 2, 4, 4)"
            ".contiguous(memory_format=torch.channels_last), 3, 1).sum().backward()",
            "max_pool2d",
        ),
    ],
)
def test_bytes_depend_on_the_order_of_threads(said, line, what):
    report = said(line)
    assert not report.error, report.error
    (met,) = report.atomics()
    assert what in met


@pytest.mark.parametrize(
    "line",
    [
        "images[rows].sum().backward()",  # sorted
        "images.index_select(0, torch.arange(2, device=cuda)).sum().backward()",  # each alone
        "x[rows] = 1.0",
        "rows.cumsum(0)",
        "F.max_pool2d(images, 3, 1).sum().backward()",
        "F.avg_pool2d(images, 2).sum().backward()",
        "F.conv2d(images, images).sum().backward()",
    ],
)
def test_bytes_depend_on_nothing_elsewhere(said, line):
    report = said(line)
    assert not report.error, report.error
    assert report.atomics() == []


def test_a_backward_pass_is_the_doing_of_a_line_of_the_forward_pass(said):
    report = said("y = images.index_select(0, rows)\n\ny.sum().backward()")
    assert "at backward of code:9 in <module>" in report.atomics()[0]


@pytest.mark.parametrize(
    ("line", "how"),
    [
        (
            "torch.backends.cudnn.conv.fp32_precision = 'ieee'\nF.conv2d(images, images)",
            "convolution in ieee",
        ),
        (
            "torch.backends.cudnn.conv.fp32_precision = 'tf32'\nF.conv2d(images, images)",
            "convolution in tf32",
        ),
        (
            "torch.backends.cuda.matmul.fp32_precision = 'tf32'\nx.view(1, 3) @ x.view(3, 1)",
            "mm in tf32",
        ),
        (
            "with torch.autocast('cuda', torch.bfloat16): x.view(1, 3) @ x.view(3, 1)",
            "mm in bfloat16",
        ),
    ],
)
def test_products_round_as_torch_is_told(said, line, how):
    restore = "\ntorch.backends.cuda.matmul.fp32_precision = 'none'"
    (rounded,) = said(line + restore).roundings()
    assert how in rounded
