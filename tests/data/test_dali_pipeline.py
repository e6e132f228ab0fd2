"""`gpuaug.dali_pipeline`, through DALI's own iterator and operators of the CPU: its order, its draws and its views."""

import numpy as np
import pytest
import torch
from nvidia.dali._utils import dali_trace
from nvidia.dali.plugin.pytorch import DALIGenericIterator, LastBatchPolicy
from PIL import Image
from scipy import stats
from sharing import SHARING
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

import gpuaug
from gpuaug import Policy, View
from gpuaug.data import FolderSource

COUNT = 25
CUDA = torch.cuda.is_available()

POLICIES = {
    "byol": gpuaug.policy("byol", size=32),
    "two sizes": Policy(View(32, gpuaug.RandomResizedCrop()), View(16, gpuaug.RandomResizedCrop(scale=(0.05, 0.2)), repeat=2)),
    "three_augment": gpuaug.policy("three_augment", size=32),
    "warp and erase": Policy(
        View(
            32,
            gpuaug.Resize(40, "bicubic"),
            gpuaug.RandomCrop(padding=4, fill=0.5),
            gpuaug.RandomAffine(30, (0.1, 0.2), interpolation="bilinear", p=0.8),
            gpuaug.RandomErasing(0.5),
        )
    ),
    "shared and nested": SHARING,
    "no parameters": Policy(View(32, gpuaug.CenterCrop())),
}


@pytest.fixture(scope="module", autouse=True)
def _no_origin_traces():
    """Keep DALI from recording where each node of a graph is created, which takes most of the time under pytest."""
    dali_trace.set_tracing(enabled=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Noise of different sizes in two classes, in formats without loss and as JPEG."""
    root, rng = tmp_path_factory.mktemp("files"), np.random.default_rng(0)
    for k in range(COUNT):
        path = root / ("cat", "dog")[k % 2] / f"{k:02}.{('jpg', 'png')[k % 3 == 0]}"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (50 + k, 60, 3), dtype=np.uint8)).save(path)
    return root


@pytest.fixture(scope="module")
def files(folder):
    source = FolderSource(folder)
    return [source.name(k) for k in range(COUNT)]


def epochs(count, policy, source, batch_size=4, last=LastBatchPolicy.PARTIAL, device="cpu", **options):
    """For each epoch, its batches from DALI's iterator: a list of views, and the labels."""
    pipe = gpuaug.dali_pipeline(policy, source, batch_size, device=device, num_threads=2, **options)
    names = [f"view {k}" for k in range(len(policy.views))]
    batches = DALIGenericIterator([pipe], [*names, "label"], reader_name="reader", last_batch_policy=last, auto_reset=True)
    return [[([batch[name] for name in names], batch["label"]) for (batch,) in batches] for _ in range(count)]


def pictures(files, index):
    return gpuaug.Images.from_list([np.asarray(Image.open(files[k]).convert("RGB")) for k in index])


def check_views(policy, files, batches, seed, epoch, tolerance=0.0):
    """Every batch equals what the backend makes of the draws of its numbers; returns these."""
    seen = []
    for views, label in batches:
        index = label.flatten().tolist()
        images, draws = pictures(files, index), gpuaug.sample(policy, index, seed, epoch)
        for view, expected in zip(views, gpuaug.Augmenter(policy, "dali")(images, draws), strict=True):
            assert view.shape == expected.shape
            assert torch.allclose(view, expected, rtol=0, atol=tolerance)
        seen += index
    return seen


@pytest.mark.parametrize("name", POLICIES)
def test_views_are_the_backends_with_the_same_draws_bit_by_bit(name, files):
    policy = POLICIES[name]
    for epoch, batches in enumerate(epochs(2, policy, files, seed=2**63 + 5)):
        assert check_views(policy, files, batches, 2**63 + 5, epoch) == list(range(COUNT))


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("batch_size", [4, 5, 30])
def test_shards_read_every_picture_once_an_epoch_with_the_draws_of_this_epoch(files, shuffle, batch_size):
    """Shards of 25 files have 12 or 13 and equally many batches, of which one may be empty; then they change places."""
    policy = Policy(View(16, gpuaug.RandomResizedCrop()))
    shards = [
        epochs(3, policy, files, batch_size, seed=1, epoch=7, shard_id=k, num_shards=2, random_shuffle=shuffle) for k in (0, 1)
    ]
    orders = []
    for epoch in range(3):
        orders.append([k for shard in shards for k in check_views(policy, files, shard[epoch], 1, 7 + epoch)])
        assert sorted(orders[-1]) == list(range(COUNT))
    assert (orders[0] != sorted(orders[0])) == shuffle


def test_without_padding_an_epoch_is_as_long_as_with_it(files):
    batches, again = epochs(2, POLICIES["no parameters"], files, last=LastBatchPolicy.DROP)
    assert [len(label) for _, label in batches] == [4] * 6
    assert check_views(POLICIES["no parameters"], files, again, 0, 1) == list(range(24))


def test_labels_are_those_of_the_folder(folder):
    expected = FolderSource(folder).targets.tolist()
    for source in (folder, FolderSource(folder), ImageFolder(folder)):
        ((*_, (_, last)),) = epochs(1, POLICIES["no parameters"], source)
        assert last.dtype == torch.int32
        assert last.flatten().tolist() == expected[-1:]
    (batches,) = epochs(1, POLICIES["no parameters"], folder, labels=False)
    assert [k for _, label in batches for k in label.flatten().tolist()] == list(range(COUNT))


def test_half_precision_is_the_policys(files):
    policy = Policy(View(16, gpuaug.CenterCrop(), gpuaug.ToDtype(torch.float16)))
    ((((view,), _), *_),) = epochs(1, policy, files)
    assert view.dtype == torch.float16
    with pytest.raises(ValueError, match="DALI has no bfloat16; give ToDtype float32 or float16"):
        gpuaug.dali_pipeline(Policy(View(16, gpuaug.CenterCrop(), gpuaug.ToDtype(torch.bfloat16))), files, 4, device="cpu")


def test_boxes_flips_and_factors_are_distributed_as_torchvisions(tmp_path):
    """Red grows to the right and green downwards, so the first view shows its box and its flip, and the second its factor."""
    side, count = 200, 800
    ramp = np.arange(side, dtype=np.uint8)
    picture = np.stack(np.broadcast_arrays(ramp[None, :], ramp[:, None], np.uint8(100)), axis=2)
    Image.fromarray(picture).save(tmp_path / "ramp.png")
    policy = Policy(
        View(16, gpuaug.RandomResizedCrop(), gpuaug.RandomHorizontalFlip(0.3)),
        View(16, gpuaug.CenterCrop(), gpuaug.ColorJitter(brightness=0.4)),
    )
    (batches,) = epochs(1, policy, [str(tmp_path / "ramp.png")] * count, 50, seed=3)
    boxes, factors = (torch.cat([views[k] for views, _ in batches]).double().numpy() * 255 for k in (0, 1))
    flipped = boxes[:, 0, 8, 12] < boxes[:, 0, 8, 4]
    across, down = np.where(flipped[:, None], boxes[:, 0, 8, ::-1], boxes[:, 0, 8]), boxes[:, 1, :, 8]
    ours = {}
    for start, extent, line in (("left", "width", across), ("top", "height", down)):
        ours[extent] = np.rint(2 * (line[:, 12] - line[:, 4]))  # 8 of 16 pixels, far from the view's border
        ours[start] = np.rint(line[:, 4] - 4.5 / 16 * ours[extent] + 0.5)
    with torch.random.fork_rng():
        torch.manual_seed(20)
        crop, image = v2.RandomResizedCrop(16), torch.empty(3, side, side, dtype=torch.uint8)
        rows = [crop.make_params([image]) for _ in range(5000)]
    theirs = {name: np.array([row[name] for row in rows]) for name in ours}
    for found in (ours, theirs):
        found |= {"area": found["width"] * found["height"], "aspect": found["width"] / found["height"]}
    for name in theirs:
        assert stats.ks_2samp(ours[name], theirs[name], method="asymp").pvalue > 1e-3, name
    assert stats.binomtest(int(flipped.sum()), count, 0.3).pvalue > 1e-3
    assert stats.kstest(factors[:, 2].mean(axis=(1, 2)) / 100, stats.uniform(0.6, 0.8).cdf).pvalue > 1e-3


def test_a_damaged_file_ends_the_pipeline_with_an_error(files, tmp_path):
    (tmp_path / "torn.jpg").write_bytes(b"\xff\xd8 not a picture")
    pipe = gpuaug.dali_pipeline(POLICIES["no parameters"], [*files[:3], str(tmp_path / "torn.jpg")], 4, device="cpu")
    with pytest.raises(RuntimeError, match=r"decoders\.image"):
        pipe.run()


@pytest.mark.parametrize("name", POLICIES)
def test_on_cuda_the_views_are_those_of_the_cpu(name, files):
    """Without a GPU the graph is defined all the same, and DALI says what is missing to build it."""
    policy, lossless = POLICIES[name], [path for path in files if path.endswith(".png")]
    if not CUDA:
        with pytest.raises(RuntimeError, match="requires a CUDA-capable GPU"):
            gpuaug.dali_pipeline(policy, lossless, 4).build()
        return
    (batches,) = epochs(1, policy, lossless, device="cuda")
    assert all(view.is_cuda for views, _ in batches for view in views)
    batches = [([view.cpu() for view in views], label) for views, label in batches]
    assert check_views(policy, lossless, batches, 0, 0, tolerance=5e-3) == list(range(len(lossless)))


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"policy": 3}, TypeError, "policy must be a gpuaug.Policy or a policy's name, got 3"),
        ({"policy": "gaussian_noise"}, ValueError, r"DALI has no GaussianNoise\(.*; use gpuaug.DataLoader"),
        (
            {"policy": Policy(View(8, gpuaug.Resize((8, 8), "nearest")))},
            ValueError,
            r"DALI has no Resize\(.*; give approximate=True, or use gpuaug.DataLoader",
        ),
        ({"source": np.zeros((2, 8, 8, 3), np.uint8)}, TypeError, "source must be an image folder, .* got a ArraySource"),
        ({"source": "no/such/folder"}, FileNotFoundError, "no/such/folder"),
        ({"source": []}, ValueError, "source is an empty list"),
        ({"labels": "x"}, ValueError, "labels must be one of True, False, None, got 'x'"),
        ({"random_shuffle": "yes"}, ValueError, "random_shuffle must be one of True, False, got 'yes'"),
        ({"device": "tpu"}, ValueError, "device must be 'cuda', 'cuda:N' or 'cpu', got 'tpu'"),
        ({"num_shards": 1000}, ValueError, r"num_shards must be an integer in 1\.\.\d+, got 1000"),
        ({"device": "meta"}, ValueError, "device must be 'cuda', 'cuda:N' or 'cpu', got 'meta'"),
        ({"batch_size": 0}, ValueError, "batch_size must be an integer at least 1, got 0"),
        ({"seed": -1}, ValueError, r"seed must be an integer in 0\.\.18446744073709551615, got -1"),
        ({"epoch": 2**32}, ValueError, r"epoch must be an integer in 0\.\.4294967295, got 4294967296"),
        ({"num_shards": 0}, ValueError, r"num_shards must be an integer in 1\.\.\d+, got 0"),
        ({"num_shards": 2, "shard_id": 2}, ValueError, r"shard_id must be an integer in 0\.\.1, got 2"),
        ({"num_threads": 0}, ValueError, "num_threads must be an integer at least 1, got 0"),
        ({"prefetch_queue_depth": 1.5}, ValueError, "prefetch_queue_depth must be an integer at least 1, got 1.5"),
    ],
)
def test_a_wrong_argument_is_named(arguments, error, words, files):
    given = {"policy": POLICIES["no parameters"], "source": files, "batch_size": 4, "device": "cpu", **arguments}
    with pytest.raises(error, match=words):
        gpuaug.dali_pipeline(**given)


def test_approximate_is_the_backends(files):
    policy = Policy(View(8, gpuaug.Resize((8, 8), "nearest")))
    (batches,) = epochs(1, policy, files, approximate=True)
    assert sum(len(label) for _, label in batches) == COUNT
