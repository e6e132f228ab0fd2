"""JPEGs much larger than the views, decoded at a smaller scale: which scale, which pixels, how near to the truth."""

import io
import logging

import cv2
import numpy as np
import pytest
import scaled_error
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sharing import SHARING
from skimage import data as photographs
from test_staging import Device, staged_loader

import gpuaug
from gpuaug import CenterCrop, DataLoader, Policy, RandomResizedCrop, View, images, replay, sample, write_run
from gpuaug.data import DecodeError, decode
from gpuaug.data.decoders import decoder_of, large
from gpuaug.data.decoders.pillow import UPRIGHT, try_decode
from gpuaug.data.decoders.regions import FINER, SCALES, DrawnRegions, Region, crop_boxes, scales
from gpuaug.data.decoders.scaled import ScaledDecoder, longer_edge
from gpuaug.data.decoding import Decoding
from gpuaug.sampling.tables import in_region

HEIGHT, WIDTH = 333, 457
"""Of the picture; no scale divides either."""

WAVES = np.stack(
    [
        128 + 60 * np.sin(np.arange(HEIGHT) / a)[:, None] + 60 * np.cos(np.arange(WIDTH) / b)[None]
        for a, b in ((31, 23), (17, 41), (29, 29))
    ],
    axis=2,
).astype(np.uint8)
"""A picture so smooth that a pixel's place can be told from its colour."""

PHOTO = np.asarray(Image.fromarray(photographs.chelsea()).resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS))

SMALL_VIEWS = Policy(View(12, RandomResizedCrop(scale=(0.1, 1.0)), repeat=2))


def jpeg(pixels=PHOTO, mode="RGB", orientation=1, **options):
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    image = Image.fromarray(pixels).convert(mode)
    image.save(file, "jpeg", **({"exif": exif} if orientation > 1 else {}), **options)
    return file.getvalue()


KINDS = {
    "colour": {},
    "full resolution": {"subsampling": 0},
    "half resolution": {"subsampling": 1},
    "progressive": {"progressive": True},
    "restart markers": {"restart_marker_blocks": 3},
    "red, green and blue as they are": {"keep_rgb": True},
    "gray": {"mode": "L"},
    "cmyk": {"mode": "CMYK"},
}


def decoder(name="pillow", max_pixels=10**6):
    return ScaledDecoder(decoder_of(name, max_pixels), max_pixels)


def decoded(data, draws, name="pillow"):
    (found,) = decoder(name)([data], ["x"], DrawnRegions(lambda: draws))
    return found


sides = st.integers(1, 400)
policies = st.lists(st.tuples(sides, sides), min_size=1, max_size=3).map(
    lambda sizes: Policy(*(View(size, RandomResizedCrop(scale=(0.05, 1.0))) for size in sizes))
)


@settings(max_examples=200, deadline=None)
@given(policies, st.lists(st.tuples(st.integers(1, 9000), st.integers(1, 9000)), min_size=1, max_size=4), st.integers(0, 2**40))
def test_the_scale_is_the_largest_that_keeps_every_crop_twice_its_view(policy, shapes, seed):
    draws, shapes = sample(policy, range(len(shapes)), seed), np.array(shapes, np.int32)
    found = scales(draws, shapes)
    boxes = crop_boxes(draws, shapes)
    sizes = np.array([view.size for view in policy.views])
    for k, scale in enumerate(found):
        keeps = {s: bool((boxes[:, k, 2:] >= s * FINER * sizes).all()) for s in (1, *SCALES)}
        assert scale in keeps
        assert scale == 1 or keeps[scale]
        assert scale == 8 or not keeps[2 * scale]
        # Of the picture's own size and draws alone, whatever else is in the batch.
        assert scales(draws.take([k]), shapes[k : k + 1]) == [scale]
        if scale > 1:
            assert shapes[k].max() >= DrawnRegions(lambda: draws).least_edge


@settings(max_examples=200, deadline=None)
@given(st.data(), st.sampled_from((1, *SCALES)))
def test_a_box_is_rounded_to_the_nearest_pixels_and_keeps_its_size(data, scale):
    shape = np.array([data.draw(st.integers(8, 9000)), data.draw(st.integers(8, 9000))])
    low = np.array([data.draw(st.integers(0, n - 1)) for n in shape])
    size = np.array([data.draw(st.integers(1, n - a)) for n, a in zip(shape.tolist(), low.tolist(), strict=True)])
    beyond = -(-shape // scale) * scale - shape
    corner = -beyond * data.draw(st.sampled_from([(0, 0), (0, 1), (1, 0), (1, 1)]))
    box = np.concatenate([low, size])[None].astype(np.int32)
    (found,) = in_region(box, corner[None].astype(np.int32), np.array([[scale]], np.int32))
    start, end = found[:2], found[:2] + found[2:]
    assert (abs(corner + scale * start - low) <= scale // 2).all()
    assert (abs(corner + scale * end - (low + size)) <= scale // 2).all()
    assert (start >= 0).all()
    assert (end <= -(-shape // scale)).all()
    assert (found[2:] >= size // scale).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("edge", [8, 20])
def test_a_region_lies_where_its_frame_says(orientation, edge):
    """Each of its pixels is the mean of the pixels that it stands for in the upright picture."""
    data = jpeg(WAVES, orientation=orientation, quality=95, subsampling=0)
    whole = decode(data, "x").astype(np.float64)
    seen = set()
    for i in range(40):
        draws = sample(Policy(View(edge, RandomResizedCrop(scale=(0.1, 1.0)))), [i], 0)
        found = decoded(data, draws)
        if not isinstance(found, Region):
            assert scales(draws, np.array([whole.shape[:2]], np.int32)) == [1]
            continue
        y, x, *shape = found.frame
        s = found.scale
        seen.add(s)
        assert tuple(shape) == whole.shape[:2]
        rows, columns = found.pixels.shape[:2]
        padded = np.pad(whole, [(8, 8), (8, 8), (0, 0)], mode="edge")[y + 8 :, x + 8 :][: rows * s, : columns * s]
        padded = np.pad(padded, [(0, rows * s - padded.shape[0]), (0, columns * s - padded.shape[1]), (0, 0)], mode="edge")
        means = padded.reshape(rows, s, columns, s, 3).mean(axis=(1, 3))
        inner = abs(found.pixels - means)[1:-1, 1:-1]  # JPEG's padding beyond the edge is another
        assert inner.mean() < 0.8  # a pixel beside its place would be 1.5 off
        assert inner.max() < 4
    assert seen >= {8: {4, 8}, 20: {2, 4}}[edge]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_pixels_are_those_of_libjpegs_scaled_transform(kind, orientation):
    """OpenCV's libjpeg makes the same picture at this scale, to the last bit; Pillow alone reads CMYK like this."""
    data = jpeg(orientation=orientation, **KINDS[kind])
    flags = {2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}
    seen = set()
    for i in range(30):
        found = decoded(data, sample(SMALL_VIEWS, [i], 1))
        if not isinstance(found, Region):
            continue
        seen.add(found.scale)
        if kind == "cmyk":
            with Image.open(io.BytesIO(data)) as opened:
                opened.draft(None, (WIDTH // found.scale, HEIGHT // found.scale))
                picture = opened.convert("RGB")
        else:
            other = cv2.imdecode(np.frombuffer(data, np.uint8), flags[found.scale] | cv2.IMREAD_IGNORE_ORIENTATION)
            picture = Image.fromarray(other[..., ::-1])
        whole = np.asarray(picture.transpose(UPRIGHT[orientation]) if orientation > 1 else picture)
        y, x = (-(-start // found.scale) for start in found.frame[:2])
        rows, columns = found.pixels.shape[:2]
        assert np.array_equal(whole[y : y + rows, x : x + columns], found.pixels)
    assert len(seen) > 1


TOLERANCE = {2: (2.0, 0.3), 4: (2.5, 0.5), 8: (3.0, 0.7)}
"""Scale -> the most that views may differ from the truth on average, in steps of 8 bits: of the box as drawn, and of the box
rounded to the pixels of that scale. docs/data.md has the figures of 12 MP photographs."""


@pytest.fixture(scope="module")
def measured():
    """Differences of the views of four photographs, 1600 x 1200, for views of three sizes."""
    found = {}
    for k, name in enumerate(("astronaut", "chelsea", "coffee", "rocket")):
        photo = Image.fromarray(getattr(photographs, name)()).resize((1600, 1200), Image.Resampling.BICUBIC)
        rng = np.random.default_rng(k)
        noisy = np.clip(np.asarray(photo) + rng.normal(0, 4, (1200, 1600, 1)), 0, 255).astype(np.uint8)
        data = jpeg(noisy, quality=90)
        for edge in (32, 64, 128):
            crop = RandomResizedCrop(scale=(0.2, 1.0), interpolation="bicubic" if edge == 64 else "bilinear")
            for scale, drawn, rounded in scaled_error.differences(Policy(View(edge, crop, repeat=2)), data, range(3), k):
                found.setdefault(scale, []).extend(zip(drawn, rounded, strict=True))
    return found


def test_views_are_near_the_truth_at_every_scale(measured):
    assert measured.keys() == set(SCALES)
    for scale, pairs in measured.items():
        drawn, rounded = (np.mean([values.mean() for values in one]) for one in zip(*pairs, strict=True))
        assert 0 < rounded < drawn
        assert (drawn, rounded) <= TOLERANCE[scale]
        assert drawn <= TOLERANCE[scale][0]
        assert rounded <= TOLERANCE[scale][1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Ten files: large JPEGs of all kinds, turned ones, a small one, a PNG and a damaged one."""
    root = tmp_path_factory.mktemp("scaled")
    for k, options in enumerate(KINDS.values()):
        (root / f"{k}.jpg").write_bytes(jpeg(np.roll(PHOTO, 40 * k, axis=1), orientation=k % 3 * 3 or 1, **options))
    (root / "8.jpg").write_bytes(jpeg(PHOTO[:40, :30]))
    Image.fromarray(PHOTO).save(root / "9.png")
    (root / "a.jpg").write_bytes(jpeg()[:-700])
    return root


def epoch(folder, policy=SMALL_VIEWS, scaled="auto", **options):
    options = {"batch_size": 1, "on_error": "skip", "max_bad": 1.0, "seed": 5, "decoder": "pillow"} | options
    loader = DataLoader(folder, policy, scaled=scaled, **options)
    rows = {}
    for views, _ in loader:
        for k, i in enumerate(loader.index.tolist()):
            rows[i] = [view[k] for view in views]
    assert [name[-5:] for name in loader.bad_files] == ["a.jpg"]
    return rows


def same(found, expected):
    assert found.keys() == expected.keys()
    return all(torch.equal(a, b) for i in found for a, b in zip(found[i], expected[i], strict=True))


@pytest.mark.parametrize("policy", [SMALL_VIEWS, SHARING.at_size(6)], ids=["crops", "nested crops"])
def test_views_do_not_depend_on_batch_workers_order_or_decoder(folder, policy):
    expected = epoch(folder, policy)
    assert len(expected) == 10
    for name in ("pillow", "dali", "auto"):
        for size, workers, shuffle in ((3, 0, True), (10, 2, False), (4, 3, True)):
            options = {"batch_size": size, "num_workers": workers, "shuffle": shuffle, "decoder": name}
            assert same(epoch(folder, policy, **options), expected)
    truth = epoch(folder, policy, scaled=False)
    differ = {i for i in truth if not torch.equal(truth[i][0], expected[i][0])}
    assert differ
    assert differ <= set(range(8))  # neither the small JPEG nor the PNG
    for i in differ:
        assert (truth[i][0] - expected[i][0]).abs().mean() < 0.2


def test_draws_are_those_of_the_whole_pictures(folder):
    def drawn(scaled):
        loader = DataLoader(folder, SMALL_VIEWS, 4, on_error="skip", max_bad=1.0, scaled=scaled, num_workers=2)
        return [loader.draws for _ in loader]

    for one, other in zip(drawn("auto"), drawn(False), strict=True):
        assert np.array_equal(one.shapes, other.shapes)
        for a, b in zip(one.tables, other.tables, strict=True):
            assert a[0].keys() == b[0].keys()
            assert all(np.array_equal(a[0][name], b[0][name]) for name in a[0])


@pytest.mark.parametrize("backend", ["batched", "torchvision", "kornia", "dali"])
def test_every_backend_takes_scaled_pictures(folder, backend):
    expected = epoch(folder, batch_size=4, backend="batched")
    found = epoch(folder, batch_size=4, backend=backend)
    assert all((a - b).abs().max() < 0.005 for i in found for a, b in zip(found[i], expected[i], strict=True))


@pytest.mark.parametrize("workers", [0, 2])
def test_pictures_on_their_way_to_a_device_have_the_same_views(folder, workers):
    expected = epoch(folder, batch_size=4)
    device = Device()
    options = {"on_error": "skip", "max_bad": 1.0, "seed": 5, "scaled": "auto"}
    loader = staged_loader(folder, SMALL_VIEWS, device, "pillow", batch_size=4, num_workers=workers, **options)
    found = {}
    for views, _ in loader:
        found |= {i: [view[k].clone() for view in views] for k, i in enumerate(loader.index.tolist())}
        for event in device.events:
            event.passed = True
    assert same(found, expected)


def test_a_crop_of_nearest_pixels_and_other_policies_are_left_at_full_scale(folder, caplog):
    for policy in (
        Policy(View(12, RandomResizedCrop(interpolation="nearest")), View(12, RandomResizedCrop())),
        Policy(View(12, CenterCrop()), View(12, RandomResizedCrop())),
    ):
        assert same(epoch(folder, policy), epoch(folder, policy, scaled=False))
        assert "scaled='auto' has no effect with this policy: every view must begin with RandomResizedCrop" in caplog.text
        caplog.clear()
    DataLoader(folder, SMALL_VIEWS, scaled="auto")
    DataLoader((np.zeros((2, 20, 20, 3), np.uint8), np.arange(2)), Policy(View(12, CenterCrop())), scaled="auto")
    assert not caplog.records


SOUND = [jpeg(PHOTO[:130, :170], **options) for options in KINDS.values()]
TINY = Policy(View(6, RandomResizedCrop(scale=(0.3, 1.0))))


@st.composite
def damaged(draw):
    """A file with bytes changed, removed or inserted in its header or a scan, often so that they look like a marker."""
    data = draw(st.sampled_from(SOUND))
    scan = data.index(b"\xff\xda")
    at = draw(st.integers(2, scan + 14) if draw(st.booleans()) else st.integers(scan, len(data) - 3))
    instead = draw(st.binary(max_size=3) | st.builds(lambda kind: bytes([0xFF, kind]), st.integers(0, 255)) | st.just(b"\xff"))
    gap = draw(st.sampled_from([0, 1, 1, 1, 2, 7, 40, 10**6]))
    return data[:at] + instead + data[at + gap :]


@settings(max_examples=500, deadline=None)
@given(damaged(), st.integers(0, 3))
def test_which_files_are_good_does_not_depend_on_the_scale(data, index):
    found, expected = decoded(data, sample(TINY, [index], 0)), try_decode(data, "x", 10**6)
    if isinstance(expected, DecodeError):
        assert str(found) == str(expected)
    elif isinstance(found, Region):
        assert found.frame[2:] == expected.shape[:2]
    else:
        assert np.array_equal(found, expected)


def test_sound_files_are_scaled():
    for data in SOUND:
        assert isinstance(decoded(data, sample(TINY, [0], 0)), Region)
        assert longer_edge(data) == 170
    for data in (b"", b"\xff\xd8", b"text", SOUND[0][:30], b"\xff\xd8\xff\xe0\x00\x00" * 9):
        assert longer_edge(data) == 0


def test_a_picture_of_too_many_pixels_is_refused_by_its_header(folder):
    loader = DataLoader(folder, SMALL_VIEWS, scaled="auto", max_pixels=HEIGHT * WIDTH - 1, decoder="pillow")
    with pytest.raises(DecodeError, match=r"0\.jpg: 457 x 333 pixels are more than max_pixels"):
        list(loader)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_large_picture_counts_by_its_scaled_size(folder, workers, monkeypatch):
    expected = epoch(folder, batch_size=11)
    for module in (images, large):
        monkeypatch.setattr(module, "LARGE", HEIGHT * WIDTH // 5)
    made = []
    grouped = large.group_by_memory

    def noted(*arguments):
        made.extend(found := list(grouped(*arguments)))
        return found

    monkeypatch.setattr("gpuaug.data.engine.batch.group_by_memory", noted)
    assert same(epoch(folder, batch_size=11, num_workers=workers), expected)
    alone = {group[0] for group, size in made if size}
    assert 3 in alone  # libjpeg keeps all of a progressive file
    assert 9 in alone  # the PNG
    assert not alone >= set(range(8))
    assert sum(len(group) for group, _ in made) == 11


def test_a_replay_gives_the_views_of_the_run(folder, tmp_path):
    (folder / "a.jpg").rename(tmp_path / "a.jpg")
    try:
        loader = DataLoader(folder, SMALL_VIEWS, 4, shuffle=True, num_workers=2, scaled="auto", seed=9)
        run = tmp_path / "run"
        run.mkdir()
        write_run(run, loader, folder)
        for views, _ in loader:
            for k, i in enumerate(loader.index.tolist()):
                again = replay(run, i, 0)
                assert all(torch.equal(a, b[k : k + 1]) for a, b in zip(again.views, views, strict=True))
                assert again.image.shape[:2] == tuple(again.draws.shapes[0])
    finally:
        (tmp_path / "a.jpg").rename(folder / "a.jpg")


def test_what_is_refused(folder):
    for value in (True, None, 2, "always", 0):
        with pytest.raises(ValueError, match=r"scaled must be 'auto' or False, got"):
            DataLoader(folder, SMALL_VIEWS, scaled=value)
    with pytest.raises(
        ValueError, match=r"scaled='auto' decodes on the CPU, which decoder='nvjpeg' does not; give decoder='libjpeg'"
    ):
        DataLoader(folder, SMALL_VIEWS, scaled="auto", decoder="nvjpeg")
    loader = DataLoader(folder, SMALL_VIEWS, scaled="auto")
    with pytest.raises(ValueError, match=r"scaled cannot be changed"):
        loader.scaled = False


def test_a_state_says_so_and_another_loader_warns(folder, caplog):
    scaled, plain = (DataLoader(folder, SMALL_VIEWS, scaled=value) for value in ("auto", False))
    assert scaled.state_dict() == plain.state_dict() | {"scaled": "auto"}
    scaled.load_state_dict(scaled.state_dict())
    plain.load_state_dict(plain.state_dict())
    assert not caplog.records
    for loader, other in ((scaled, plain), (plain, scaled)):
        loader.load_state_dict(other.state_dict())
        assert f"saved with scaled={other.scaled!r}, but this loader has scaled={loader.scaled!r}" in caplog.text
        caplog.clear()
    assert scaled.stats().decoder.endswith("large JPEGs are scaled by pillow")


def test_the_log_names_the_scaling(folder, caplog):
    caplog.set_level(logging.INFO, "gpuaug")
    epoch(folder, batch_size=4)
    assert "decoder pillow; large JPEGs are scaled by pillow" in caplog.text


def test_a_choice_on_cuda_is_not_nvjpegs():
    made = Decoding("auto", 10**6, torch.device("cuda", 0), 2, 1.0, scaled=True)
    assert made.chosen not in (None, "nvjpeg")
    made.restore({"decoder": "nvjpeg", "scaled": "auto"})
    assert made.chosen not in (None, "nvjpeg")
    assert isinstance(made.decode, ScaledDecoder)


def test_damage_in_the_loader_is_the_same_at_any_scale(tmp_path):
    rng = np.random.default_rng(3)
    for k in range(12):
        data = SOUND[k % len(SOUND)] if k else SOUND[0][:-40]
        at = int(rng.integers(20, len(data) - 3))
        (tmp_path / f"{k:02}.jpg").write_bytes(data[:at] + (b"\xff" if k % 2 else rng.bytes(1)) + data[at + 1 :])

    def bad(**options):
        loader = DataLoader(tmp_path, TINY, 5, on_error="skip", max_bad=1.0, **options)
        for _ in loader:
            pass
        return loader.bad_files

    expected = bad(decoder="pillow")
    assert expected
    for name in ("pillow", "dali", "auto"):
        assert bad(decoder=name, scaled="auto") == expected


def test_a_folder_of_gpuaugs_own_views(folder):
    """SimCLR's views of pictures that are not large are those of the truth, to the last bit."""
    policy = gpuaug.policy("simclr", size=120)
    assert same(epoch(folder, policy, batch_size=4), epoch(folder, policy, batch_size=4, scaled=False))
