"""Records, which the CUDA kernels read: each word is what NumPy and plain loops make of the tables, for every policy."""

import numpy as np
import pytest
import torch

import gpuaug
from gpuaug import Images, Policy, View, ops
from gpuaug.backends.fused import draw_program, plan
from gpuaug.backends.fused.cpu.pack import ANY, BASE, HEAD, OFF
from gpuaug.backends.fused.cuda.launch import launch_config
from gpuaug.backends.fused.cuda.records import MAX_IMAGE, kinds_of_levels, levels_of_ops, needed_levels, records
from gpuaug.backends.fused.instructions import BLUR, CONTRAST, EQUALIZE, GENERAL, HUE, IS_BARRIER, NOTHING, WARP

RNG = np.random.default_rng(5)
SHAPES = RNG.integers(1, 300, (48, 2)).astype(np.int32)
IMAGES = Images(torch.zeros(int(SHAPES.astype(np.int64).prod(axis=1).sum()) * 3, dtype=torch.uint8), SHAPES)
INDEX = np.concatenate([np.arange(24), 2**40 + np.arange(24)])


def kind_of(code, possible):
    """The kind of level of a barrier."""
    return code if code == BLUR or (code == CONTRAST and not possible & GENERAL) else ANY


def shortest_levels(codes, possible):
    """Barriers of each image in order, column by column; a barrier goes to the last level if all its images are free there."""
    levels, taken = [], set()
    for column in codes.T:
        kinds = [kind_of(code, possible) if IS_BARRIER[code] else None for code in column.tolist()]
        for kind in (CONTRAST, BLUR, ANY):
            rows = {row for row, found in enumerate(kinds) if found == kind}
            if rows and (not levels or levels[-1] != kind or rows & taken):
                levels.append(kind)
                taken = set()
            taken |= rows
    return levels


def expected_record(batch, tables, b, levels, lead):
    """One record as a list of int32 and float32 numbers."""
    code, box = tables.codes[b].tolist(), tables.boxes[b].tolist()
    if isinstance(batch, Images):
        step = 1 if batch.layout == "yuv420" else 3
        pitch = step * int(batch.shapes[b, 1])
        base = lead + int(batch.offsets[b]) + box[0] * pitch + box[1] * step
        last = min((lead + batch.buffer.numel() - 1) // 4 - base // 4, 2**31 - 1)
        place = [*box[:2], int(batch.shapes[b, 0])]
    else:
        pitch = base = last = 0
        place = [0, 0, 0]
    places = [n for n, c in enumerate(code) if IS_BARRIER[c]]
    scales = np.array(box[2:4], np.float32) / np.array(box[4:6], np.float32)
    spans, k, begin = [[OFF, OFF] for _ in range(len(levels) + 1)], 0, -1
    for n in [*places, len(code)]:
        spans[k] = [begin, n]
        if n < len(code):
            k, begin = 1 + levels.index(kind_of(code[n], tables.possible), k), n
    flips = int(tables.flips[b, 0]) + 2 * int(tables.flips[b, 1])
    head = [*np.array([base], np.int64).view(np.int32).tolist(), last, pitch, *box[2:], flips]
    floats = [*scales, *tables.scale, *tables.bias]
    arguments = tables.arguments[b].reshape(-1).view(np.int32)
    parts = [head, np.array(floats, np.float32).view(np.int32), place, *spans, code, arguments]
    return np.concatenate([np.asarray(part, np.int32) for part in parts])


def assert_records(batch, tables, levels, lead):
    found, used = records(batch, tables, levels, lead)
    assert list(used) == (shortest_levels(tables.codes, tables.possible) if levels is None else list(levels))
    assert found.dtype == np.int32
    for b, record in enumerate(found):
        assert record.tolist() == expected_record(batch, tables, b, list(used), lead).tolist(), b


@pytest.mark.parametrize("name", gpuaug.policies)
def test_records_of_named_policies(name):
    policy = gpuaug.policy(name)
    for seed in (0, 2**63 + 17):
        draws = gpuaug.sample(policy, INDEX, seed=seed, epoch=3)
        for view, table in zip(policy.views, draws.tables, strict=True):
            steps = view.steps[: plan.count_supported(view.steps, "images")]
            if not steps:
                continue
            made = draw_program.drawn_tables(IMAGES, table[: len(steps)]) or plan.tables(IMAGES, steps, table[: len(steps)])
            assert_records(IMAGES, made, None, 0)
            assert_records(IMAGES, made, levels_of_ops(steps), 13)


def test_records_of_two_of_each():
    """More barriers than any named policy has, noise that leaves [0, 1] between them, and images in another order."""
    jitter, blur = ops.ColorJitter(0.3, 0.5, hue=0.1, p=0.6), ops.GaussianBlur((5, 9), (0.3, 3.0), p=0.6)
    steps = (
        ops.RandomResizedCrop(),
        jitter,
        jitter,
        blur,
        ops.GaussianNoise(p=0.3),
        ops.OneOf((blur,), (jitter,)),
        ops.Normalize(),
    )
    policy = Policy(View((24, 40), *steps, repeat=2))
    shapes = np.ascontiguousarray(SHAPES[::-1])
    batch = Images(IMAGES.buffer, shapes, np.ascontiguousarray(IMAGES.offsets[::-1]))
    for seed in range(4):
        table = gpuaug.sample(policy, INDEX, seed=seed).tables[0]
        made = draw_program.drawn_tables(batch, table)
        assert made is not None
        assert_records(batch, made, None, 3)


def test_records_of_planes_of_brightness_and_colours():
    """Of odd sizes, one behind the other and in another order."""
    sizes = [int(h * w + 2 * -(-h // 2) * -(-w // 2)) for h, w in SHAPES.astype(np.int64)]
    buffer = torch.zeros(sum(sizes) + 5, dtype=torch.uint8)
    starts = np.array([sum(sizes[k + 1 :]) + 5 for k in range(len(sizes))], np.int64)
    policy = Policy(View((24, 40), ops.RandomResizedCrop(), ops.RandomHorizontalFlip(), ops.GaussianBlur(3)))
    table = gpuaug.sample(policy, INDEX, seed=1).tables[0]
    for batch in (Images(buffer[5:], SHAPES, layout="yuv420"), Images(buffer, SHAPES, starts, "yuv420")):
        made = draw_program.drawn_tables(batch, table)
        assert made is not None
        assert_records(batch, made, None, 3)


def test_records_of_floats():
    batch = torch.zeros((len(INDEX), 3, 20, 24))
    policy = Policy(View((20, 24), ops.Resize((20, 24)), ops.ColorJitter(contrast=0.3, p=0.5), ops.GaussianBlur(3)))
    draws = gpuaug.sample(policy, INDEX).tables[0]
    assert_records(batch, plan.tables(batch, policy.views[0].steps[1:], draws[1:]), None, 0)


def test_an_empty_batch_has_no_records():
    batch = Images(torch.zeros(0, dtype=torch.uint8), np.zeros((0, 2), np.int32))
    steps = gpuaug.policy("simclr").views[0].steps
    words, levels = records(batch, plan.tables(batch, steps, gpuaug.sample(gpuaug.policy("simclr"), []).tables[0]), None)
    assert (len(words), levels) == (0, ())


def test_an_image_without_contrast_waits_for_the_level_of_the_blur():
    codes = np.array(
        [[CONTRAST, HUE, BLUR], [HUE, CONTRAST, NOTHING], [HUE, NOTHING, BLUR], [NOTHING, NOTHING, NOTHING]], np.uint8
    )
    assert needed_levels(codes, kinds_of_levels(frozenset())).tolist() == [CONTRAST, BLUR]
    spans = spans_of(codes, None)
    assert spans[0] == [-1, 0, 0, 2, 2, 3]
    assert spans[1] == [-1, 1, 1, 3, OFF, OFF]
    assert spans[2] == [-1, 2, OFF, OFF, 2, 3]
    assert spans[3] == [-1, 3, OFF, OFF, OFF, OFF]


def test_images_with_different_barriers_share_a_level():
    codes = np.array(
        [[WARP, NOTHING, EQUALIZE], [CONTRAST, NOTHING, HUE], [HUE, BLUR, WARP], [NOTHING, NOTHING, CONTRAST]], np.uint8
    )
    possible = frozenset(codes.flat)
    assert needed_levels(codes, kinds_of_levels(possible)).tolist() == [ANY, BLUR, ANY]
    spans = spans_of(codes, None, possible)
    assert spans[0] == [-1, 0, 0, 2, OFF, OFF, 2, 3]
    assert spans[1] == [-1, 0, 0, 3, OFF, OFF, OFF, OFF]
    assert spans[2] == [-1, 1, OFF, OFF, 1, 2, 2, 3]
    assert spans[3] == [-1, 2, 2, 3, OFF, OFF, OFF, OFF]


@pytest.mark.parametrize(
    ("op", "count"),
    [
        (ops.RandAugment(), 2),
        (ops.TrivialAugmentWide(), 1),
        (ops.AutoAugment(), 2),
        (ops.AugMix(), 13),
        (ops.RandomEqualize(), 1),
    ],
)
def test_a_slot_needs_one_level(op, count):
    """Whatever barrier it draws; a mix needs one more for each chain, and one to begin."""
    assert levels_of_ops([op]) == (ANY,) * count
    assert levels_of_ops([op, ops.ColorJitter(contrast=0.3), ops.GaussianBlur(3)]) == (*(ANY,) * count, ANY, BLUR)
    policy = Policy(View(24, ops.RandomResizedCrop(), op))
    tables = plan.tables(IMAGES, policy.views[0].steps, gpuaug.sample(policy, INDEX).tables[0])
    assert_records(IMAGES, tables, None, 3)
    assert_records(IMAGES, tables, levels_of_ops(policy.views[0].steps), 3)


def spans_of(codes, levels, possible=frozenset()):
    """Begin and end of every pass of programs."""
    count, columns = codes.shape
    ones, flips = np.ones(3, np.float32), np.zeros((count, 2), np.bool_)
    arguments = np.zeros((count, columns, 8), np.float32)
    tables = plan.Tables(
        (8, 8), np.tile(np.int32([0, 0, 8, 8, 8, 8, 0, 0]), (count, 1)), flips, False, codes, arguments, ones, ones, 0, possible
    )
    words, used = records(torch.zeros((count, 3, 8, 8)), tables, levels)
    return words[:, HEAD : HEAD + 2 * len(used) + 2].tolist()


@pytest.mark.parametrize("name", gpuaug.policies)
def test_the_levels_of_the_ops_suffice_for_any_draws(name):
    """A graph that was captured for the ops can run every batch; no batch needs more launches."""
    for view in gpuaug.policy(name).views:
        policy = gpuaug.Policy(view)
        for seed in range(5):
            steps = policy.views[0].steps
            steps = steps[: plan.count_supported(steps, "images")]
            if not steps:
                continue
            draws = gpuaug.sample(policy, range(16), seed=seed)
            images = Images(torch.zeros(16 * 12, dtype=torch.uint8), np.full((16, 2), 2, np.int32))
            made = plan.tables(images, steps, draws.tables[0][: len(steps)])
            codes, possible = made.codes, made.possible
            assert len(needed_levels(codes, kinds_of_levels(possible))) <= len(levels_of_ops(steps))
            spans = np.array(spans_of(codes, levels_of_ops(steps), possible))
            begun = (spans[:, 3::2] != OFF).sum(axis=1)
            assert (begun == IS_BARRIER[codes].sum(axis=1)).all()


def test_a_graph_refuses_a_barrier_that_it_has_no_launch_for():
    with pytest.raises(ValueError, match="not captured"):
        spans_of(np.array([[BLUR]], np.uint8), (CONTRAST,))


def whole_images(buffer, shapes, starts=None, layout="interleaved"):
    """A batch and the tables of a resize of it."""
    batch, steps = Images(buffer, shapes, starts, layout), (ops.Resize((8, 8)),)
    return batch, plan.tables(batch, steps, [{}])


def test_boxes_begin_beyond_two_gigabytes():
    batch, tables = whole_images(IMAGES.buffer, SHAPES)
    near, far = (records(batch, tables, (), lead)[0] for lead in (0, 2**33 + 16))
    bases = [words[:, BASE : BASE + 2].copy().view(np.int64)[:, 0] for words in (near, far)]
    assert (bases[1] - bases[0] == 2**33 + 16).all()


def test_an_image_that_32_bits_cannot_address_is_refused():
    memory = torch.from_numpy(np.zeros(2**31 + 2**20, dtype=np.uint8))  # never touched, so the system gives it no pages
    words, _ = records(*whole_images(memory, np.int32([[2**15, 21845]]), np.int64([0])), None)
    assert len(words) == 1
    with pytest.raises(ValueError, match=f"image 1 of the batch has {3 * 2**15 * 21846} bytes; at most {MAX_IMAGE}"):
        records(*whole_images(memory, np.int32([[9, 9], [2**15, 21846]]), np.int64([0, 500])), None)


def test_planes_that_32_bits_cannot_address_are_refused():
    memory = torch.from_numpy(np.zeros(2**31 + 2**20, dtype=np.uint8))
    batch, tables = whole_images(memory, np.int32([[2**15, 43688]]), np.int64([0]), "yuv420")
    assert len(records(batch, tables, None)[0]) == 1
    size = 2**15 * 43691 + 2 * 2**14 * 21846
    with pytest.raises(ValueError, match=f"image 0 of the batch has {size} bytes; at most {MAX_IMAGE}"):
        records(*whole_images(memory, np.int32([[2**15, 43691]]), np.int64([0]), "yuv420"), None)


@pytest.mark.parametrize("op", [ops.GaussianNoise(p=0.01), ops.RandomErasing(0.01, value="random")])
def test_launches_do_not_depend_on_which_images_get_noise(op):
    """Kernels with a generator are another variant, which would be compiled again in the middle of a run."""
    policy = Policy(View(24, ops.RandomResizedCrop(), op))
    tables = draw_program.drawn_tables(IMAGES, gpuaug.sample(policy, INDEX).tables[0])
    assert tables is not None
    assert not tables.codes.any()
    words, levels = records(IMAGES, tables, None)
    assert launch_config(words, tables, levels, torch.device("cpu"), None, torch.bfloat16, torch.contiguous_format).noisy
