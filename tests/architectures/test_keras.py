"""The paper's architectures: published figures, and what Keras itself computes."""

import hashlib
import http.server
import math
import re
import threading
from dataclasses import replace
from functools import cache, partial

import h5py
import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own documentation calls it F)
from torch import nn

from greencv_core.architectures.build import gflops_per_image
from greencv_core.architectures.keras import (
    PAPER_ARCHITECTURES,
    build_paper,
    preprocessing,
)
from greencv_core.architectures.keras.keras_weights import (
    keras_tensors,
    load_imagenet,
    load_keras_file,
)
from greencv_core.utils.errors import BadInputError, GreencvError

NOBODY = "http://127.0.0.1:9"
NAMES = list(PAPER_ARCHITECTURES)
PARAMETERS = {
    "mobilenet_v2": 706_224,
    "nasnet_mobile": 4_269_716,
    "xception": 20_861_480,
    "resnet50": 23_587_712,
    "vgg16": 14_714_688,
}
"""Model.count_params() of Keras's models (keras.io/api/applications) without top; MobileNetV2 with
alpha=0.5. Statistics of batch normalisation are among them."""
GFLOPS = {
    "mobilenet_v2": 0.064028,
    "nasnet_mobile": 0.371647,
    "xception": 2.958404,
    "resnet50": 2.524383,
    "vgg16": 10.028770,
}
"""An image of 128x128, with the head for two classes: column "GFLOPs" of del Rey et al.'s published
table of runs (doi.org/10.5281/zenodo.7828518). They count pooling and biases, which torch does not:
at most 0.9 %, in NASNet."""
HEADS = {
    "mobilenet_v2": [(1280, 512), (512, None)],
    "nasnet_mobile": [(1056, 512), (512, None)],
    "xception": [(2048, 1024), (1024, None)],
    "resnet50": [(2048, 1024), (1024, 512), (512, None)],
    "vgg16": [(512, None)],
}
NORMS = {
    "mobilenet_v2": {(1e-3, 0.001)},
    "nasnet_mobile": {(1e-3, 0.0003)},
    "xception": {(1e-3, 0.01)},
    "resnet50": {(1.001e-5, 0.01)},
    "vgg16": set(),
}
"""Epsilon, and the new batch's share (Keras's momentum is the old share)."""
KERAS = {
    ("mobilenet_v2", 128): (
        1.577008,
        1.575579,
        [1.344143, 1.736646, 0, 0.2356212, 0.790316, 3.922391, 0.1045632, 0.1234011],
    ),
    ("mobilenet_v2", 97): (
        1.596258,
        1.566724,
        [1.856433, 3.49421, 0, 0.7821734, 0.9531199, 3.30571, 0.01764748, 0.2835746],
    ),
    ("nasnet_mobile", 128): (
        15619.22,
        19422.24,
        [1979.237, 14206.14, 0, 0, 6902.421, 10054.78, 2474.025, 4150.486],
    ),
    ("nasnet_mobile", 97): (
        5371.072,
        6436.594,
        [1875.258, 7154.288, 0, 0, 5779.082, 3869.374, 3435.483, 1821.049],
    ),
    ("xception", 128): (
        1924524,
        2144750,
        [0, 2068781, 1591206, 0, 7139981, 4589698, 2075778, 2713659],
    ),
    ("xception", 99): (
        984286.7,
        1038009,
        [0, 956906.3, 1430101, 25704.79, 3396745, 2953184, 1014538, 1092282],
    ),
    ("resnet50", 128): (
        749696.9,
        781391.2,
        [1236980, 455418.4, 965279.6, 32923.75, 1251578, 86059.69, 335109.7, 1019727],
    ),
    ("resnet50", 97): (
        639456.5,
        667372.7,
        [1158470, 458518.5, 835252, 20884.61, 860387.4, 69545.7, 298483.3, 815959.8],
    ),
    ("vgg16", 128): (
        158.4092,
        163.6796,
        [163.7101, 281.6518, 17.64727, 35.46424, 289.2715, 127.7139, 54.48619, 260.098],
    ),
    ("vgg16", 97): (
        158.9247,
        151.9503,
        [170.7974, 268.2363, 11.20265, 51.19929, 287.2486, 176.8791, 69.93517, 239.2157],
    ),
}
"""Mean, standard deviation and first channels of what keras.applications computes (Keras 3.15.1 on
JAX 0.10.2; include_top=False, pooling="avg") with the weights of :func:`made_up`, in the order of
model.layers, from preprocess_input of :func:`image`."""


KIND = re.compile("kernel|gamma|beta|moving_mean|moving_variance")


def image(size):
    return np.random.RandomState(7).randint(0, 256, (1, size, size, 3)).astype("float32")


def made_up(k, kind, shape):
    """Return the k-th weight of a model, such that the image reaches the output."""
    draw = np.random.RandomState(k).uniform
    if kind == "kernel":
        # Depthwise kernels have one input.
        bound = math.sqrt(6 / np.prod(shape[: 2 if shape[3] == 1 else 3]))
        return draw(-bound, bound, shape).astype("float32")
    near_one = kind in ("gamma", "moving_variance")
    return draw(*((0.5, 1.5) if near_one else (-0.2, 0.2)), shape).astype("float32")


def layer_kinds(module):
    if isinstance(module, nn.BatchNorm2d):
        return ["gamma", "beta", "moving_mean", "moving_variance"]
    return ["kernel"] if module.bias is None else ["kernel", "bias"]


def in_keras_layout(base):
    """Return the made-up weights of a network, in the order that its loader expects."""
    kinds = {}
    for module in base.modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
            tensors = [tensor for tensor, _ in keras_tensors(module)]
            kinds.update(zip(map(id, tensors), layer_kinds(module), strict=True))
    return [
        made_up(k, kinds[id(tensor)], tuple(tensor.permute(np.argsort(order).tolist()).shape))
        for k, (tensor, order) in enumerate(keras_tensors(base))
    ]


def write_keras_file(path, layers):
    """Write weights as Keras 2 does: layers is [(name, {weight name: array})], in their order."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name, _ in layers]
        file.attrs["backend"], file.attrs["keras_version"] = b"tensorflow", b"2.10.0"
        for name, weights in layers:
            group = file.create_group(name)
            group.attrs["weight_names"] = [weight.encode() for weight in weights]
            for weight, array in weights.items():
                group.create_dataset(weight, data=array)


def mobilenet_layers():
    """Return MobileNetV2's layers as Keras has them, written down from its documentation."""
    shapes = {"input_1": {}}

    def add(name, norm, kernel, shape, relu=True):
        channels = shape[2] if kernel == "depthwise_kernel" else shape[3]
        shapes[name] = {f"{name}/{kernel}:0": shape}
        parts = ("gamma", "beta", "moving_mean", "moving_variance")
        shapes[norm] = {f"{norm}/{part}:0": (channels,) for part in parts}
        if relu:
            shapes[f"{name}_relu"] = {}

    add("Conv1", "bn_Conv1", "kernel", (3, 3, 3, 16))
    inputs, i = 16, 0
    for channels, repeats in ((8, 1), (16, 2), (16, 3), (32, 4), (48, 3), (80, 3), (160, 1)):
        for _ in range(repeats):
            prefix, width = f"block_{i}_" if i else "expanded_conv_", 6 * inputs if i else inputs
            if i:
                add(f"{prefix}expand", f"{prefix}expand_BN", "kernel", (1, 1, inputs, width))
            kernel = (3, 3, width, 1)
            add(f"{prefix}depthwise", f"{prefix}depthwise_BN", "depthwise_kernel", kernel)
            kernel = (1, 1, width, channels)
            add(f"{prefix}project", f"{prefix}project_BN", "kernel", kernel, relu=False)
            inputs, i = channels, i + 1
    add("Conv_1", "Conv_1_bn", "kernel", (1, 1, 160, 1280))
    numbers = iter(range(1000))
    return [
        (
            layer,
            {
                name: made_up(next(numbers), KIND.search(name)[0], shape)
                for name, shape in weights.items()
            },
        )
        for layer, weights in shapes.items()
    ]


@pytest.fixture(scope="module")
def keras_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("keras") / "mobilenet.h5"
    write_keras_file(path, mobilenet_layers())
    return path


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Small layers wait for threads longer than they compute, where others are busy too."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def nowhere(monkeypatch, tmp_path):
    """Nothing is downloaded from afar, nor put into the user's cache."""
    monkeypatch.setenv("GREENCV_WEIGHTS", NOBODY)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def site(tmp_path):
    folder = tmp_path / "site"
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        asked = []  # noqa: RUF012 (of this one server)

        def do_GET(self):
            self.asked.append(self.path)
            super().do_GET()

        def log_message(self, *_):
            pass

    handler = partial(Handler, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_port}", Handler.asked
    server.shutdown()
    server.server_close()


@cache
def made(name, classes=2):
    """Return a network that no test changes."""
    return build_paper(name, classes).eval()


def one_line(error):
    text = str(error.value)
    assert "\n" not in text
    return text


def weights_of(model):
    return {name: tensor.clone() for name, tensor in model.base.state_dict().items()}


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


def test_they_are_the_papers_five():
    assert NAMES == ["mobilenet_v2", "nasnet_mobile", "xception", "resnet50", "vgg16"]


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_as_many_as_keras_has(name):
    base = made(name).base
    weights = {k: v for k, v in base.state_dict().items() if not k.endswith("num_batches_tracked")}
    assert sum(tensor.numel() for tensor in weights.values()) == PARAMETERS[name]


@pytest.mark.parametrize("name", NAMES)
def test_operations_are_as_many_as_published(name):
    assert gflops_per_image(made(name), 128) == pytest.approx(GFLOPS[name], rel=0.01)


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_those_of_keras(name, tmp_path):
    model = build_paper(name, 2).eval()
    weights = in_keras_layout(model.base)
    write_keras_file(tmp_path / "w.h5", [(f"l{k}", {"w:0": w}) for k, w in enumerate(weights)])
    load_keras_file(model, name, tmp_path / "w.h5")
    mean, std = (torch.tensor(three).view(3, 1, 1) for three in preprocessing(name))
    for (which, size), (average, deviation, first) in KERAS.items():
        if which == name:
            x = torch.from_numpy(image(size)).permute(0, 3, 1, 2) / 255
            with torch.no_grad():
                y = model.base((x - mean) / std)[0].numpy()
            within = 1e-4 * np.abs(y).max()
            np.testing.assert_allclose(y[: len(first)], first, rtol=0, atol=within)
            np.testing.assert_allclose([y.mean(), y.std()], [average, deviation], rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_normalisation_has_keras_constants(name):
    norms = [m for m in made(name).modules() if isinstance(m, nn.BatchNorm2d)]
    assert {(norm.eps, norm.momentum) for norm in norms} == NORMS[name]


@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("name", NAMES)
def test_heads_are_the_papers(name, classes):
    model = made(name, classes)
    layers = [layer for layer in model.head if isinstance(layer, nn.Linear)]
    outputs = 1 if classes == 2 else classes
    sizes = [(i, outputs if o is None else o) for i, o in HEADS[name]]
    assert [(layer.in_features, layer.out_features) for layer in layers] == sizes
    assert len(model.head) == 2 * len(layers) - 1
    with torch.no_grad():
        pooled = model.base(torch.rand(3, 3, 32, 32))
        assert pooled.shape == (3, sizes[0][0])
        assert model(torch.rand(3, 3, 32, 32)).shape == (3, classes)


def test_two_classes_are_one_output_and_its_sigmoid():
    model = build_paper("vgg16", 2).eval()
    images, labels = torch.rand(4, 3, 32, 32), torch.tensor([0, 1, 1, 0])
    with torch.no_grad():
        z, logits = model.head(model.base(images))[:, 0], model(images)
    assert torch.equal(logits, torch.stack([torch.zeros(4), z], 1))
    torch.testing.assert_close(logits.softmax(1)[:, 1], z.sigmoid())
    torch.testing.assert_close(
        F.cross_entropy(logits, labels), F.binary_cross_entropy_with_logits(z, labels.float())
    )


@pytest.mark.parametrize("name", NAMES)
def test_every_weight_learns_whatever_the_memory_format(name):
    torch.manual_seed(1)
    model = build_paper(name, 10)
    images = torch.rand(4, 3, 64, 64)
    plain = model(images)
    model = model.to(memory_format=torch.channels_last)
    images = images.contiguous(memory_format=torch.channels_last)
    # Single pixels at the end make batch normalisation magnify rounding.
    torch.testing.assert_close(model(images), plain, rtol=1e-2, atol=1e-2)
    F.cross_entropy(model(images), torch.tensor([0, 1, 2, 3])).backward()
    still = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    # A bias before a normalisation has no say.
    assert [n for n in still if "conv" not in n or not n.endswith("bias")] == []


@pytest.mark.parametrize("size", [(32, 32), (33, 46), (75, 40)])
@pytest.mark.parametrize("name", NAMES)
def test_any_image_size_goes(name, size):
    model = made(name)
    with torch.no_grad():
        assert model(torch.rand(1, 3, *size)).isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_initial_weights_are_drawn_as_in_keras(name):
    torch.manual_seed(5)
    model = build_paper(name, 2)
    for parameter, module in (
        (f"{path}.weight", m) for path, m in model.named_modules()
        if isinstance(m, nn.Conv2d | nn.Linear) and m.weight.numel() > 2000
    ):  # fmt: skip
        weight = module.weight.detach()
        pixels = weight[0, 0].numel()
        if type(module).__name__ == "HeConv2d":
            std = math.sqrt(2 / (weight.shape[1] * pixels))
            bound = 2 * std / 0.8796
        else:
            std = math.sqrt(2 / (weight.shape[0] * pixels + weight.shape[1] * pixels))
            bound = math.sqrt(3) * std
        assert weight.std() == pytest.approx(std, rel=0.1), parameter
        assert 0.9 * bound < weight.abs().max() <= 1.001 * bound, parameter
        assert module.bias is None or not module.bias.any(), parameter
    torch.manual_seed(5)
    assert same(weights_of(model), weights_of(build_paper(name, 2)))


def test_nasnet_alone_has_initial_weights_of_he():
    from greencv_core.architectures.keras.nasnet import HeConv2d

    kinds = {n: [type(m) for m in made(n).modules()] for n in NAMES}
    # The stem, an input's one or two projections in each of 16 cells, but one in the first.
    assert {n: k.count(HeConv2d) for n, k in kinds.items() if HeConv2d in k} == {
        "nasnet_mobile": 1 + 16 + 15 + 4
    }


@pytest.mark.parametrize("name", NAMES)
def test_preprocessing_is_that_of_keras(name):
    mean, std = np.array(preprocessing(name))
    pixel = np.array([10.0, 100.0, 250.0])
    if name in ("resnet50", "vgg16"):
        # Keras's order is blue, green, red: the loader turns the first kernel instead.
        wanted = pixel - [123.68, 116.779, 103.939]
    else:
        wanted = pixel / 127.5 - 1
    np.testing.assert_allclose((pixel / 255 - mean) / std, wanted, atol=1e-9)


def test_an_unknown_name_is_told():
    for call in (lambda: build_paper("vgg19", 2), lambda: preprocessing("vgg19")):
        with pytest.raises(BadInputError, match="vgg19: not one of the paper's architectures"):
            call()
    with pytest.raises(BadInputError, match="not one of the paper's architectures"):
        load_imagenet(build_paper("vgg16", 2), "vgg19")
    with pytest.raises(BadInputError, match="classes: 1"):
        build_paper("vgg16", 1)


def test_a_keras_file_is_copied_weight_by_weight(keras_file):
    model = build_paper("mobilenet_v2", 2)
    head = {name: tensor.clone() for name, tensor in model.head.state_dict().items()}
    load_keras_file(model, "mobilenet_v2", keras_file)
    written = [w for _, weights in mobilenet_layers() for w in weights.values()]
    loaded = [t.detach() for t, _ in keras_tensors(model.base)]
    assert len(written) == len(loaded) == 260
    assert np.array_equal(loaded[0][5, 2, 0, 1], written[0][0, 1, 2, 5])  # a kernel
    depthwise = next(i for i, w in enumerate(written) if w.shape == (3, 3, 16, 1))
    assert np.array_equal(loaded[depthwise][7, 0, 2, 1], written[depthwise][2, 1, 7, 0])
    for mine, its in zip(loaded, written, strict=True):
        assert np.array_equal(np.sort(mine.numpy(), None), np.sort(its, None))
    assert all(torch.equal(tensor, head[name]) for name, tensor in model.head.state_dict().items())
    state = model.base[0][0][1].state_dict()
    for mine, its in zip(
        ("weight", "bias", "running_mean", "running_var"), written[1:], strict=False
    ):
        assert np.array_equal(state[mine], its)


def test_a_whole_models_file_goes_too(keras_file, tmp_path):
    with h5py.File(keras_file) as there, h5py.File(tmp_path / "m.h5", "w") as here:
        there.copy(there["/"], here, "model_weights")
    a, b = build_paper("mobilenet_v2", 2), build_paper("mobilenet_v2", 2)
    load_keras_file(a, "mobilenet_v2", keras_file)
    load_keras_file(b, "mobilenet_v2", tmp_path / "m.h5")
    assert same(weights_of(a), weights_of(b))


def test_caffes_weights_have_their_first_kernel_turned(tmp_path):
    model = build_paper("vgg16", 2)
    weights = in_keras_layout(model.base)
    write_keras_file(tmp_path / "w.h5", [(f"l{k}", {"w:0": w}) for k, w in enumerate(weights)])
    load_keras_file(model, "vgg16", tmp_path / "w.h5")
    first, second = (model.base[0][i].weight.detach().numpy() for i in (0, 2))
    assert np.array_equal(first, weights[0][:, :, ::-1].transpose(3, 2, 0, 1))
    assert np.array_equal(second, weights[2].transpose(3, 2, 0, 1))


def truncated(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def no_layer_names(path):
    with h5py.File(path, "a") as file:
        del file.attrs["layer_names"]


def no_kernel(path):
    with h5py.File(path, "a") as file:
        del file["block_3_expand/block_3_expand/kernel:0"]


def text_for_numbers(path):
    with h5py.File(path, "a") as file:
        del file["Conv1/Conv1/kernel:0"]
        file["Conv1/Conv1/kernel:0"] = "kernel"


def other_shape(path):
    with h5py.File(path, "a") as file:
        del file["block_3_expand/block_3_expand/kernel:0"]
        file["block_3_expand/block_3_expand/kernel:0"] = np.zeros((1, 1, 16, 95), "float32")


def one_layer_more(path):
    layers = [*mobilenet_layers(), ("dense", {"dense/bias:0": np.zeros(2, "float32")})]
    write_keras_file(path, layers)


def one_layer_less(path):
    write_keras_file(path, mobilenet_layers()[:-2])


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda path: path.write_bytes(b""), "damaged, or not a weight file of Keras"),
        (lambda path: path.write_text("<html>not here</html>"), "damaged, or not a weight file"),
        (truncated, "damaged, or not a weight file of Keras"),
        (no_layer_names, "damaged, or not a weight file of Keras"),
        (no_kernel, "damaged, or not a weight file of Keras"),
        (text_for_numbers, "damaged, or not a weight file of Keras"),
        (
            other_shape,
            r"layer block_3_expand has the shape \(1, 1, 16, 95\) where mobilenet_v2 has "
            r"\(1, 1, 16, 96\)",
        ),
        (one_layer_more, r"holds 261 weights \(the last is layer dense\) where .* has 260"),
        (one_layer_less, r"holds 256 weights \(the last is layer Conv_1\) where .* has 260"),
        (lambda path: path.unlink(), "no such file"),
    ],
)
def test_a_damaged_file_is_one_line_and_changes_nothing(keras_file, tmp_path, damage, told):
    path = tmp_path / "w.h5"
    path.write_bytes(keras_file.read_bytes())
    damage(path)
    model = build_paper("mobilenet_v2", 2)
    before = weights_of(model)
    with pytest.raises(BadInputError, match=told) as error:
        load_keras_file(model, "mobilenet_v2", path)
    assert one_line(error).startswith(f"{path}: ")
    assert same(before, weights_of(model))


def publish(monkeypatch, folder, keras_file, md5, cached_name=""):
    entry = PAPER_ARCHITECTURES["mobilenet_v2"]
    weights = replace(entry.weights, md5=md5, cached_name=cached_name)
    (folder / weights.name).write_bytes(keras_file.read_bytes())
    changed = replace(entry, weights=weights)
    monkeypatch.setitem(PAPER_ARCHITECTURES, "mobilenet_v2", changed)
    return weights.name


@pytest.mark.parametrize("known", [True, False])
def test_weights_are_downloaded_once_from_a_mirror(site, keras_file, monkeypatch, tmp_path, known):
    folder, url, requested = site
    content = keras_file.read_bytes()
    file = publish(
        monkeypatch, folder, keras_file, hashlib.md5(content).hexdigest() if known else None
    )
    monkeypatch.setenv("GREENCV_WEIGHTS", f"{url}/")
    first, again, wanted = (build_paper("mobilenet_v2", 2) for _ in range(3))
    sha256 = load_imagenet(first, "mobilenet_v2")
    assert sha256 == hashlib.sha256(content).hexdigest()
    assert load_imagenet(again, "mobilenet_v2") == sha256
    assert requested == [f"/{file}"]
    assert (tmp_path / "cache" / "greencv" / "weights" / file).is_file()
    load_keras_file(wanted, "mobilenet_v2", keras_file)
    assert same(weights_of(first), weights_of(wanted))
    assert same(weights_of(again), weights_of(wanted))


def test_a_file_with_a_wrong_hash_is_refused(site, keras_file, monkeypatch, tmp_path):
    folder, url, _ = site
    publish(monkeypatch, folder, keras_file, "0" * 32)
    model = build_paper("mobilenet_v2", 2)
    before = weights_of(model)
    for location in (url, str(folder)):
        monkeypatch.setenv("GREENCV_WEIGHTS", location)
        with pytest.raises(GreencvError, match="its MD5 differs"):
            load_imagenet(model, "mobilenet_v2")
    assert not list((tmp_path / "cache").rglob("*.h5"))
    assert same(before, weights_of(model))


@pytest.mark.parametrize("in_keras_cache", [False, True])
def test_a_folder_of_weights_is_read_in_place(keras_file, monkeypatch, tmp_path, in_keras_cache):
    folder = tmp_path / "folder"
    folder.mkdir()
    content = keras_file.read_bytes()
    file = publish(monkeypatch, folder, keras_file, hashlib.md5(content).hexdigest(), "kept.h5")
    if in_keras_cache:
        (folder / file).rename(folder / "kept.h5")
    monkeypatch.setenv("GREENCV_WEIGHTS", str(folder))
    model, wanted = build_paper("mobilenet_v2", 2), build_paper("mobilenet_v2", 2)
    assert load_imagenet(model, "mobilenet_v2") == hashlib.sha256(content).hexdigest()
    load_keras_file(wanted, "mobilenet_v2", keras_file)
    assert same(weights_of(model), weights_of(wanted))
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("location", "message"),
    [
        (NOBODY, "could not be downloaded .no response from.*GREENCV_WEIGHTS"),
        ("ftp://example.org", "neither a folder nor the URL"),
        ("/nowhere/at/all", "names /nowhere/at/all, which has no .*no_top.h5; unset it"),
        ("site", "responds with 404"),
    ],
)
def test_unavailable_weights_are_one_line(site, monkeypatch, location, message):
    monkeypatch.setenv("GREENCV_WEIGHTS", site[1] if location == "site" else location)
    with pytest.raises(GreencvError, match=message) as error:
        load_imagenet(build_paper("mobilenet_v2", 2), "mobilenet_v2")
    one_line(error)


def test_keras_publishes_a_file_for_each_architecture():
    assert [n for n, entry in PAPER_ARCHITECTURES.items() if entry.weights.md5 is None] == [
        "mobilenet_v2"
    ]
