"""Folders of images as people have them: with links, copies, thumbnails, other files and names."""

import os

import numpy as np
from PIL import Image

from greencv_core import datasets
from greencv_core.datasets import registry
from greencv_core.datasets.raw import FilePool
from greencv_core.study.schema import Dataset
from greencv_core.utils.errors import BadInputError

NAMES = ["ant", "bee", "Cat", "d e", "élan", "@eaDir", ".hidden", "__MACOSX", "x" * 200, "7", "-"]
OTHER_FILES = ["a.heic", "b.gif", "Thumbs.db", "notes", "._0.png", "c.tar.gz", "d.jpg.part", "e.\n"]


def make_odd_folder(rng, root):
    """Create a folder of classes with a few odd things in it."""
    names = rng.choice(NAMES, rng.integers(1, 6), replace=False)
    for name in names:
        _add_class(rng, root / name)
    for _ in range(rng.integers(0, 6)):
        change = rng.choice([
            _link_to_folder, _link_to_file, _copy, _hard_link, _other_file, _no_utf8, _add_nested,
            _no_file, _file_at_root, _empty_class, _loop, _folder_with_suffix, _class_no_utf8,
        ])  # fmt: skip
        change(rng, root)


def try_odd_folder(rng, root):
    """Load a folder, and return kept, refused, or what is wrong."""
    train, validation = (int(n) for n in rng.integers(2, 12, 2))
    folders = sorted(path.name for path in root.iterdir() if path.name.isidentifier())
    classes = None
    if len(folders) > 2 and rng.random() < 0.3:
        classes = {"first": folders[:1], "others": folders[1:]}
    spec = Dataset(
        name=f"imagefolder:{root}", image_size=16, train_images=train,
        validation_images=validation, split_seed=int(rng.integers(9)), classes=classes,
    )  # fmt: skip
    try:
        note = datasets.check_dataset(spec)
        data = datasets.load_dataset(spec)
    except BadInputError as error:
        text = str(error)
        return "refused" if text.isprintable() and "\n" not in text else f"refused as {text!r}"
    return _wrong_in_split(spec, data) or ("kept" if note.isprintable() else f"noted as {note!r}")


def _wrong_in_split(spec, data):
    """Return what is wrong with a split, if anything is."""
    pool = registry.open_pool(spec, download=False)
    assert isinstance(pool, FilePool)
    files = pool.files()
    parts = datasets._split(spec, pool)
    contents = [{files[number].read_bytes() for number in part} for part in parts]
    if contents[0] & contents[1]:
        return "an image in both parts"
    if [len(part) for part in contents] != [data.train_count, data.validation_count]:
        return "an image twice in one part"
    if any(set(pool.labels[part]) != set(range(data.classes)) for part in parts):
        return "a class in one part only"
    return ""


def _picture(rng, path):
    Image.fromarray(rng.integers(0, 256, (8, 9, 3), dtype=np.uint8)).save(path, "PNG")


def _add_class(rng, folder):
    folder.mkdir()
    for number in range(rng.integers(1, 9)):
        _picture(rng, folder / f"{number}{rng.choice(['.png', '.PNG', '.jpg'])}")


def _some(rng, root, folders):
    paths = sorted(path for path in root.rglob("*") if path.is_dir() == folders)
    return paths[rng.integers(len(paths))] if paths else root


def _folder(rng, root):
    return _some(rng, root, folders=True)


def _new(rng, root, suffix=".png"):
    return _folder(rng, root) / f"new{rng.integers(10**9)}{suffix}"


def _link_to_folder(rng, root):
    _new(rng, root, "").symlink_to(_folder(rng, root))


def _link_to_file(rng, root):
    _new(rng, root).symlink_to(_some(rng, root, folders=False))


def _loop(rng, root):
    _new(rng, root, "").symlink_to("." if rng.integers(2) else "..")


def _copy(rng, root):
    source = _some(rng, root, folders=False)
    if source.is_file():
        _new(rng, root).write_bytes(source.read_bytes())


def _hard_link(rng, root):
    source = _some(rng, root, folders=False)
    if source.is_file() and not source.is_symlink():
        os.link(source, _new(rng, root))


def _other_file(rng, root):
    (_folder(rng, root) / OTHER_FILES[rng.integers(len(OTHER_FILES))]).write_bytes(b"other")


def _no_utf8(rng, root):
    _picture(rng, os.fsdecode(os.fsencode(_new(rng, root, "")) + b"\xe9\xff.png"))


def _class_no_utf8(rng, root):
    path = root / os.fsdecode(b"caf\xe9")
    if not path.exists():
        _add_class(rng, path)


def _add_nested(rng, root):
    _add_class(rng, _new(rng, root, ""))


def _no_file(rng, root):
    path = _new(rng, root)
    if rng.integers(2):
        os.mkfifo(path)
    else:
        path.symlink_to("/nowhere")


def _file_at_root(rng, root):
    _picture(rng, root / f"lost{rng.integers(10**9)}.png")


def _empty_class(rng, root):
    (root / f"empty{rng.integers(10**9)}").mkdir()


def _folder_with_suffix(rng, root):
    _new(rng, root).mkdir()
