"""What only a device shows: nothing waits for it, graphs replay, streams agree, addresses beyond 2^31, no infinities."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

import gpuaug
from gpuaug import Augmenter, Images, Policy, backends

from .pixels import pictures
from .steps import Row, Setting

POLICY = "simclr"
DTYPES = (torch.float32, torch.bfloat16)


class SkipError(Exception):
    """Why something is not checked."""


def jobs(setting: Setting) -> Iterator[tuple[str, Callable[[], Row]]]:
    """Each fact, to be checked; it raises where it is not so."""
    for name, check in FACTS.items():
        label = f"facts / {name}"
        yield label, lambda check=check, label=label: Row(label, text=check(setting))  # type: ignore[misc]


def need_cuda(setting: Setting) -> None:
    if not setting.cuda:
        raise SkipError("needs CUDA")


def installed(setting: Setting) -> list[str]:
    """Backends that make the whole policy here."""
    return [name for name in ("auto", "kornia") if name == "auto" or backends.installed(name, setting.device)]


def batch(setting: Setting, count: int, side: int) -> Images:
    return Images.from_tensor(pictures(count, side, side)).to(setting.device)


def size(setting: Setting) -> int:
    return 224 if setting.cuda else 48


def expect(truth: bool, otherwise: str) -> None:
    if not truth:
        raise AssertionError(otherwise)


def finite(setting: Setting) -> str:
    """Views of extreme pictures, of every kind of view of four policies."""
    extreme = [torch.full((40, 50, 3), value, dtype=torch.uint8) for value in (0, 255)]
    extreme += [torch.tensor([0, 0, 255], dtype=torch.uint8).repeat(60, 40, 1), torch.ones((1, 1, 3), dtype=torch.uint8)]
    stripes = torch.zeros((50, 50, 3), dtype=torch.uint8)
    stripes[::2, :, 2] = 255  # a bicubic crop overshoots at every line
    images = Images.from_list([*extreme, stripes] * 4).to(setting.device)
    seen = 0
    for name in ("simclr", "byol", "simclr_cifar", "mae")[: 1 if setting.quick else None]:
        policy = gpuaug.policy(name, size=32)
        for backend in installed(setting):
            for dtype in DTYPES:
                views = Augmenter(policy, backend, setting.device, dtype)(images, gpuaug.sample(policy, range(len(images))))
                expect(all(bool(v.isfinite().all()) for v in views), f"{backend}, {name}, {dtype}: a value is not finite")
                seen += len(views)
    return f"{seen} views of extreme pictures"


def same_bits(setting: Setting) -> str:
    """An image's view does not depend on the batch that it is in, nor on how often it is made."""
    count = 9
    images, policy = batch(setting, count, size(setting)), gpuaug.policy(POLICY, size=size(setting))
    for backend in installed(setting):
        augment = Augmenter(policy, backend, setting.device)
        together = augment(images, gpuaug.sample(policy, range(count)))[0]
        again = augment(images, gpuaug.sample(policy, range(count)))[0]
        expect(torch.equal(together, again), f"{backend}: made twice from the same draws, a view differs")
        for k in (0, 4, 8):
            single = Images(images[k].reshape(-1), images.shapes[k : k + 1])
            alone = augment(single, gpuaug.sample(policy, [k]))[0]
            expect(torch.equal(alone[0], together[k]), f"{backend}: image {k} alone differs from image {k} in a batch")
    return f"alone, in a batch of {count} and again: {', '.join(installed(setting))}"


def no_waiting(setting: Setting) -> str:
    """From pinned pixels and draws to views, the host never waits for the device."""
    need_cuda(setting)
    policy = gpuaug.policy(POLICY)
    images = Images.from_tensor(pictures(32, 256, 256)).pin_memory()
    for backend in installed(setting):
        augment = Augmenter(policy, backend, setting.device, torch.bfloat16, torch.channels_last)

        def make(seed: int, augment: Augmenter = augment) -> None:
            augment(images.to(setting.device, non_blocking=True), gpuaug.sample(policy, range(32), seed=seed))

        make(0)  # compiles
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            for seed in range(1, 4):
                make(seed)
        except RuntimeError as error:
            raise AssertionError(f"{backend} waits for the device: {error}") from error
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return f"{POLICY}, set_sync_debug_mode('error'): {', '.join(installed(setting))}"


def graph(setting: Setting) -> str:
    """A captured stage, replayed for other draws and other pixels, gives what launching it gives."""
    need_cuda(setting)
    from gpuaug.backends.fused import cuda, plan

    images, policy = batch(setting, 16, 256), gpuaug.policy(POLICY)
    images = Images(images.buffer.clone(), images.shapes)
    steps = policy.views[0].steps

    def tables(seed: int) -> plan.Tables:
        return plan.tables(images, steps, gpuaug.sample(policy, range(16), seed=seed).tables[0])

    recorded = cuda.Recorded(images, steps, tables(0), torch.bfloat16, torch.contiguous_format)
    for seed in range(4):
        images.buffer.copy_(images.buffer.flip(0))
        direct = cuda.make_view(images, tables(seed), torch.bfloat16, torch.contiguous_format)
        expect(torch.equal(recorded(tables(seed)), direct), f"replayed for seed {seed}, the graph's view differs")
    return "captured, then replayed for 4 draws and other pixels"


def second_stream(setting: Setting) -> str:
    need_cuda(setting)
    images, policy = batch(setting, 16, 256), gpuaug.policy(POLICY)
    draws = gpuaug.sample(policy, range(16))
    for backend in installed(setting):
        augment = Augmenter(policy, backend, setting.device)
        first = augment(images, draws)[0]
        torch.cuda.synchronize()
        with torch.cuda.stream(torch.cuda.Stream()):  # type: ignore[no-untyped-call]
            second = augment(images, draws)[0]
        torch.cuda.synchronize()
        expect(torch.equal(first, second), f"{backend}: on a second stream the view differs")
    return f"the same bits: {', '.join(installed(setting))}"


def large(setting: Setting, count: int = 14_400, need: float = 24 * 2**30) -> str:
    """2.8e9 bytes of pixels and 2.2e9 values of views: beyond what 32 bits with a sign can count."""
    need_cuda(setting)
    free = torch.cuda.mem_get_info()[0]
    if free < need:
        raise SkipError(f"needs {need / 2**30:.0f} GiB of free memory on the device, it has {free / 2**30:.0f}")
    policy = Policy(gpuaug.policy(POLICY).views[0])
    few = batch(setting, 16, 256)
    images = Images(few.buffer.repeat(count // 16), few.shapes[:1].repeat(count, axis=0))
    augment = Augmenter(policy, "auto", setting.device, torch.bfloat16)
    whole = augment(images, gpuaug.sample(policy, range(count)))[0]
    last = augment(few, gpuaug.sample(policy, range(count - 16, count)))[0]
    expect(torch.equal(whole[-16:], last), "the last images of the batch differ from the same images in a small batch")
    return f"{images.buffer.numel():.2g} bytes in, {whole.numel():.2g} values out"


FACTS: dict[str, Callable[[Setting], str]] = {
    "finite": finite,
    "the same bits in any batch": same_bits,
    "no host synchronisation": no_waiting,
    "CUDA graph": graph,
    "second stream": second_stream,
    "batch above 2^31 bytes": large,
}
