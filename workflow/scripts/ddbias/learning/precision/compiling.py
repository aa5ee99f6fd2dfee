"""Compiled networks, rounded to bfloat16: what is common to the fast ways of distillers and evaluations.

On a processor: channels-last and compiled, in micro-batches of 32 images whose activations stay in the cache (instance,
layer and group norm are per sample, so micro-batches change nothing mathematically), in bfloat16 where that is faster
than float32 (`ddbias.learning.device.fast_dtype`).

On a GPU: `captured` functions, in bfloat16: one batch of all classes, each function compiled and captured as one CUDA
graph for a shape of its inputs, so that a step starts a handful of graphs instead of hundreds of kernels. What a graph
returns lies where its next run writes, so it is cloned; parameters are refreshed in place, and inputs are copied in, so
a capture stays valid.
`graphed` captures the kernels of ``exact`` as they are.

**No part of the way on a GPU has run on a GPU yet**: tests run its functions on the CPU, captured by nothing; capture,
speed and memory are not measured.
"""

from __future__ import annotations

import copy
import functools
import gc
import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from ddbias.base.log import logger
from ddbias.learning import device as devices
from ddbias.learning.networks import own
from ddbias.learning.networks.group_norm import GroupNorm

Way = TypeVar("Way")

MICRO_BATCH = 32
CAPTURED_IMAGES = 4096  # most images of one batch on a GPU; by arithmetic, not measured, about 1 MB each with gradients
SHAPES = 32  # for which a function is compiled; of more, torch would run those that are new uncompiled
CAPTURED_CALLS = 3  # the first run of a captured function warms up, the second is recorded, the third is replayed
MOST_APART = 0.3  # distance of what a network gives fast and exactly, relative to the latter; a cosine of .95
MOST_APART_EXACT = 0.001  # of what it gives with the same kernels in a graph


class ReshapedPooling(nn.Module):
    """2 x 2 average pooling by reshaping.

    The compiler turns its derivative into plain reads; for that of ``nn.AvgPool2d`` it tests borders at every pixel,
    which took a fifth of the backward pass.
    """

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return images (B, C, H // 2, W // 2) of images (B, C, H, W)."""
        count, maps, height, width = images.shape
        height, width = height // 2, width // 2
        images = images[:, :, : 2 * height, : 2 * width]
        return images.reshape(count, maps, height, 2, width, 2).mean((3, 5))  # (B, C, H // 2, W // 2)


def network_obstacle(network: nn.Module, device: torch.device) -> str | None:
    """Return why `network` cannot compute fast on `device`, or None."""
    return copy_obstacle(network) or devices.machine_obstacle(device)


def copy_obstacle(network: nn.Module) -> str | None:
    """Return why a copy of `network` as a function of its parameters and images would not be the same, or None."""
    # In training an image's embedding then depends on its batch, so micro-batches would change it.
    if has_batch_norm(network):
        return "the network has batch norm"
    # Its copy is in evaluation mode, which drops nothing.
    return "the network is random in training, as with dropout" if own.is_random(network) else None


def has_batch_norm(network: nn.Module) -> bool:
    """Tell whether a network has batch norm, in whatever mode it is now."""
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules())


def shares_statistics(network: nn.Module) -> bool:
    """Tell whether batch norm takes the statistics of the batch, in the mode it is in, so that none may be split."""
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    return any(module.training or module.running_mean is None for module in norms)


def captures(device: torch.device) -> bool:
    """Tell whether `device` is a GPU, whose fast implementation is all classes in one batch, as captured graphs."""
    return devices.kind(device).captures


def together(images: torch.Tensor) -> int:
    """Return how many of some images their device computes at a time, at most."""
    return MICRO_BATCH if devices.kind(images.device).micro_batches else CAPTURED_IMAGES


def fast_or_exact(
    exact: Way,
    fast: Callable[[], Way],
    probe: Callable[[Way], Sequence[torch.Tensor]],
    *,
    obstacle: str | None,
    instead: str,
    calls: int = 1,
    most: float = MOST_APART,
    what: str = "precision fast",
) -> Way:
    """Return the fast implementation if its results agree with the exact one's; else log this and return the exact.

    A network that normalises maps of few pixels, as VGG11 does on small images, magnifies the rounding. The probe must
    be the same whenever a job starts, so that a resumed one decides alike. Loads the compiler.

    Parameters
    ----------
    exact : object
    fast : callable
        Makes the fast way; only called if there is no obstacle.
    probe : callable
        Returns what a way gives, as tensors.
    obstacle : str or None
        Why the fast way need not be tried.
    instead : str
        What happens then, for the log.
    calls : int
        How often the fast way is tried, the last one being judged: `CAPTURED_CALLS` where graphs are captured.
    most : float
        Largest distance between the results of the two ways, relative to the exact one.
    what : str
        What is tried, for the log.
    """
    if not obstacle:
        made = functools.cache(fast)  # within the attempt, since some networks cannot be copied
        obstacle = _reject_reason(lambda: probe(made()), lambda: probe(exact), calls, most)
        if not obstacle:
            return made()
    logger.info("%s: %s, so %s", what, obstacle, instead)
    return exact


def same_in_graphs(plain: Way, graphs: Callable[[], Way], probe: Callable[[Way], Sequence[torch.Tensor]]) -> Way:
    """Return the way whose kernels are captured (`graphed`) if it gives what `plain` gives; see `fast_or_exact`."""
    return fast_or_exact(
        plain,
        graphs,
        probe,
        obstacle=None,
        instead="kernels are started one by one",
        most=MOST_APART_EXACT,
        what="CUDA graphs",
    )


def _reject_reason(
    fast: Callable[[], Sequence[torch.Tensor]], exact: Callable[[], Sequence[torch.Tensor]], calls: int, most: float
) -> str | None:
    """Return why the fast result is unusable, or None; computed last."""
    from torch._dynamo.exc import TorchDynamoException

    wanted = list(exact())
    try:
        for _ in range(calls):
            given = list(fast())
        # Compared in here, because a GPU reports what failed when somebody waits for it.
        alike = [bool((b - a).norm() <= most * a.norm()) for a, b in zip(wanted, given, strict=True)]
    except TorchDynamoException:
        return "torch cannot compile this network"
    except torch.OutOfMemoryError:
        return "the GPU has too little memory for it"
    except Exception as error:  # computed exactly it ran, so nothing of it is a mistake
        while error.__context__ is not None:  # what ends a capture hides what failed in it
            error = error.__context__
        return f"it does not run ({(str(error).splitlines() or [type(error).__name__])[0]})"
    return None if all(alike) else "its results for this network differ too much"


def rounded_copy(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Return a copy of `network` in a precision that compiles well; `refresh` gives it new parameters."""
    rounded = copy.deepcopy(network)
    for parent in list(rounded.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.AvgPool2d) and _halves(child):
                setattr(parent, name, ReshapedPooling())
            elif isinstance(child, GroupNorm) and (dtype != torch.float32 or child.weight.device.type == "cpu"):
                # The compiler spells torch's own out and fuses it; on a CPU `vmap` knows no memory formats.
                child.__class__ = nn.GroupNorm
            elif isinstance(child, nn.Conv2d) and _pads_more_than_it_sees(child):
                # Then torch pads the images itself, with zeros as before: where a convolution pads by 3, as published
                # for one channel, the gradient of its weights took a fifth of a training step.
                child.padding_mode = "constant"
    return rounded.eval().to(dtype, memory_format=torch.channels_last)


def _halves(layer: nn.AvgPool2d) -> bool:
    same = (layer.kernel_size, layer.stride, layer.padding, layer.ceil_mode, layer.divisor_override)
    return same == (2, 2, 0, False, None)


def _pads_more_than_it_sees(layer: nn.Conv2d) -> bool:
    if layer.padding_mode != "zeros" or isinstance(layer.padding, str):  # "same" or "valid"
        return False
    return max(layer.padding) >= max(layer.kernel_size)


def not_in_place(network: nn.Module) -> nn.Module:
    """Return `network` changed to overwrite nothing, which does not mix with derivatives of derivatives."""
    for module in network.modules():
        if getattr(module, "inplace", False):
            module.inplace = False
    return network


@torch.no_grad()
def refresh(rounded: nn.Module, network: nn.Module) -> None:
    """Give the copy the parameters and buffers of the network, rounded."""
    for slots, sources in ((rounded.parameters(), network.parameters()), (rounded.buffers(), network.buffers())):
        if slots := list(slots):
            torch._foreach_copy_(slots, list(sources))


def compiled(function: Callable) -> Callable:
    """Return `function` compiled, for fixed shapes, at its first call."""
    # In this process: helper processes of the compiler would outlive a killed job and take the other cores.
    return torch.compile(function, dynamic=False, recompile_limit=SHAPES, options={"compile_threads": 1})


def captured(function: Callable[..., Sequence[torch.Tensor]]) -> Callable[..., tuple[torch.Tensor, ...]]:
    """Return `function`, which returns tensors, compiled for fixed shapes and on a GPU captured as a CUDA graph.

    No input may require a gradient: a graph that waits for its backward pass would keep the next one from running.
    Source: torch's notes on CUDA graph trees.
    """
    # The mode reduce-overhead, which excludes options. A graph that cannot be captured is an error, which
    # `fast_or_exact` tells; else torch would start its kernels one by one, and say so where nobody looks.
    options = {"compile_threads": 1, "triton.cudagraphs": True, "triton.cudagraph_or_error": True}
    graph = torch.compile(function, dynamic=False, recompile_limit=SHAPES, options=options)
    ran: dict[object, bool] = {}  # by shapes: False where it cannot be captured

    def call(*given):
        leaves, _ = tree_flatten(given)
        key = _shapes(leaves)
        if ran.get(key, True):
            try:
                torch.compiler.cudagraph_mark_step_begin()  # nobody needs any more what the last one returned
                results = tuple(tensor.clone() for tensor in graph(*given))
            except Exception as error:
                if True not in ran.values():
                    raise  # of the first shape, which `fast_or_exact` tries
                _tell(error)
            else:
                ran[key] = True
                return results
        ran[key] = False
        return tuple(function(*given))

    return call


def _shapes(leaves: Sequence[object]) -> tuple:
    return tuple((leaf.shape, leaf.stride(), leaf.dtype) if torch.is_tensor(leaf) else leaf for leaf in leaves)


def _tell(error: Exception) -> None:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    logger.info("CUDA graphs: not for another number of images (%s), whose kernels are started one by one", reason)


def graphed(function: Callable[..., Sequence[torch.Tensor]]) -> Callable[..., tuple[torch.Tensor, ...]]:
    """Return `function`, which returns tensors, captured on a GPU as one CUDA graph for each shape of its inputs.

    The kernels are its own, so the bits are the same; they start together instead of one by one. Of more than `SHAPES`
    shapes the others are computed as before, and so are shapes after the first that cannot be captured. Source: torch's
    notes on CUDA graphs.
    """
    graphs: dict[object, tuple[list, Callable[[], Sequence[torch.Tensor]]] | None] = {}

    def call(*given):
        leaves, form = tree_flatten(given)
        key = _shapes(leaves)
        if key not in graphs and len(graphs) < SHAPES:
            read = [leaf.clone() if torch.is_tensor(leaf) else leaf for leaf in leaves]
            try:
                graphs[key] = read, _recorded(lambda: function(*tree_unflatten(read, form)))
            except Exception as error:
                if not graphs:
                    raise  # of the first shape, which `fast_or_exact` tries
                _tell(error)
                graphs[key] = None
        if graphs.get(key) is None:
            return tuple(function(*given))
        read, replay = graphs[key]
        pairs = [(slot, leaf) for slot, leaf in zip(read, leaves, strict=True) if torch.is_tensor(leaf)]
        torch._foreach_copy_(*map(list, zip(*pairs, strict=True)))
        return tuple(tensor.clone() for tensor in replay())

    return call


def _recorded(function: Callable[[], Sequence[torch.Tensor]]) -> Callable[[], Sequence[torch.Tensor]]:
    """Return what starts the kernels of `function` at once; its results lie where those of the last start lay.

    All captures have one stream, and so one workspace of cuBLAS, which lies in the memory of the graph that made it and
    is gone with it (pytorch issue 193402): each begins without one and leaves none. A graph that ends during a capture
    makes it fail (161037): graphs of ways that were given up lie in cycles, and are collected before.
    """
    here, aside = torch.cuda.current_stream(), torch.cuda.Stream()
    aside.wait_stream(here)
    with torch.cuda.stream(aside):
        for _ in range(CAPTURED_CALLS):  # what a first call sets up must not be recorded
            function()
    here.wait_stream(aside)
    graph, collects = torch.cuda.CUDAGraph(), gc.isenabled()
    gc.collect()
    gc.disable()
    torch._C._cuda_clearCublasWorkspaces()
    try:
        # Within a stream, since a capture that fails leaves the thread on its own.
        with torch.cuda.stream(here), torch.cuda.graph(graph):
            results = function()
    finally:
        torch._C._cuda_clearCublasWorkspaces()
        if collects:
            gc.enable()

    def replay() -> Sequence[torch.Tensor]:
        graph.replay()
        return results

    return replay


def micro_batches(images: torch.Tensor, dtype: torch.dtype, size: int = MICRO_BATCH) -> list[torch.Tensor]:
    """Split images (B, C, H, W) into channels-last batches of `size`, in one `dtype`, so that one graph is compiled.

    The last one is padded with copies of the first image, whose results must be dropped. Differentiable.
    """
    images = images.to(dtype, memory_format=torch.channels_last)
    if not devices.kind(images.device).micro_batches:
        return [images]
    _, channels, height, width = images.shape
    # Through rows of pixels: of one channel torch takes any stride for channels-last, and a graph is compiled for one.
    rows = filled(images.permute(0, 2, 3, 1).flatten(1), size)  # (B, H * W * C), padded
    return [part.unflatten(1, (height, width, channels)).permute(0, 3, 1, 2) for part in rows.split(size)]


def least_filled(counts: Sequence[int]) -> int:
    """Return the size of micro-batches with the least padding for batches of `counts`.

    From half of `MICRO_BATCH` to all of it, since smaller ones are slower; fewer images than that are one micro-batch.
    """
    largest = min(max(counts), MICRO_BATCH)
    sizes = range(largest, min(largest, MICRO_BATCH // 2) - 1, -1)
    return min(sizes, key=lambda size: sum(-count % size for count in counts))


def even_batches(images: torch.Tensor, most: int) -> Sequence[torch.Tensor]:
    """Split images (B, C, H, W) into as few batches of at most `most` as possible, of one shape, padded as above."""
    size = math.ceil(len(images) / math.ceil(len(images) / most))
    return filled(images, size).split(size)


def filled(values: torch.Tensor, size: int) -> torch.Tensor:
    """Return values (B, ...) padded to a multiple of `size` with copies of the first."""
    short = -len(values) % size
    return torch.cat([values, values[:1].expand(short, *values.shape[1:])]) if short else values
