"""The hostile corpus: data sets that are odd, broken or meant to deceive, and what must become of each.

A row is a name, what makes the data set, the outcome of its unpacking, and words that must be told: in the message of
what is refused, in the notes of what passes. `PLAIN` in a row's `same` says that what is read of it, pixel for pixel,
is what is read of the data set without its oddity.
"""

from collections.abc import Callable
from typing import NamedTuple

import makers as m
import numpy as np

REFUSED, PASSES = "refused", "passes"


class Case(NamedTuple):
    """One row.

    Attributes:
        make: gives the files, or the bytes of a tar.
        outcome: of the unpacking alone.
        words: that are told.
        layout: of the data set.
        classes: where they are given, the unpacking knows of a model with so many.
        same: what makes the data set that it must be read like.
        silent: whether nothing is noted.
    """

    name: str
    make: Callable[[], m.Files | bytes]
    outcome: str
    words: tuple[str, ...] = ()
    layout: str = "mini_supervisely"
    classes: int | None = None
    same: Callable[[], m.Files] | None = None
    silent: bool = False


LABEL, IMAGE = "Annotations_train_1_png", "Images_train_1_jpg"
AT_LABEL = "train.txt line 2: Annotations/train_1.png"
AT_LIST = "train.txt line 2: Annotations/val_4.png"
AT_IMAGE = "train.txt line 2: Images/train_1.jpg"


def label(change, **more):
    """The second training label changed."""
    return lambda: m.changed(m.people(), **{LABEL: change}, **more)


def image(change):
    return lambda: m.changed(m.people(), **{IMAGE: change})


def labels(change):
    return lambda: m.every(m.people(), "Annotations", change)


def train_list(change):
    return lambda: m.changed(m.people(), train_txt=change)


def replaced(old, new):
    return lambda content: content.replace(old.encode(), new if isinstance(new, bytes) else new.encode(), 1)


def both(image_change, label_change):
    return lambda: m.changed(m.people(), **{IMAGE: image_change, LABEL: label_change})


def streets_with(**names):
    return lambda: m.streets({"train": ["a0", "a1", "a2"], "val": ["b0", "b1"], **names})


PREFIXES = streets_with(train=["f1", "f1_h", "f2"])


def lone_label(split):
    """A Cityscapes label without a picture, before all others."""

    def make():
        files = streets_with(test=["c0"])()
        files[f"gtFine/{split}/town/a_gtFine_labelTrainIds.png"] = m.png(m.scene(0, 3)[1])
        return files

    return make


def with_mac_files():
    files = m.streets()
    beside = {}
    for name in files:
        folder, _, file = name.rpartition("/")
        beside[f"{folder}/._{file}"] = b"\0\5\x16\7\0\2\0\0Mac OS X"
    return files | beside | {"__MACOSX/leftImg8bit/x": b"x", ".DS_Store": b"x"}


def repeated(split):
    def make():
        files = m.people()
        first, *others = files[f"{split}.txt"].splitlines(keepends=True)
        return files | {f"{split}.txt": b"".join([first] * 10 + others)}

    return make


def noise_jpeg_flipped():
    """A flip of which libjpeg tells: of one place or another in a picture with much to decode."""
    return m.changed(m.people(), **{IMAGE: m.flipped(0.6, 0x55)})


# By what they are about: a section of docs/reference/corpus.md each.
SECTIONS: dict[str, list[Case]] = {
    "Pairs in Cityscapes": [  # A1, A18
    Case("streets", m.streets, PASSES, layout="cityscapes", silent=True),
    Case("names that begin alike", PREFIXES, PASSES, layout="cityscapes", same=PREFIXES, silent=True),
    Case("a label without an image", lone_label("train"), REFUSED,
         ("train: gtFine/train/town/a_gtFine_labelTrainIds.png has no image",), "cityscapes"),
    Case("the same in val", lone_label("val"),
         REFUSED, ("val: gtFine/val/town/a_gtFine", "has no image"), "cityscapes"),
    Case("the same in test, where labels are not needed", lone_label("test"), PASSES, (), "cityscapes"),
    Case("an image without a label", lambda: m.changed(
        m.streets(), gtFine_train_town_a1_gtFine_labelTrainIds_png=None), REFUSED,
        ("train: a1_leftImg8bit.png has no label gtFine/train/town/a1_gtFine_labelTrainIds.png",), "cityscapes"),
    Case("a label in the folder of another town", lambda: m.renamed(
        m.streets(), "gtFine/train/town/a1_gtFine_labelTrainIds.png", "gtFine/train/city/a1_gtFine_labelTrainIds.png"),
        REFUSED, ("a1_leftImg8bit.png has no label", "city/a1_gtFine_labelTrainIds.png has no image"), "cityscapes"),
    Case("what a Mac puts beside each file", with_mac_files, PASSES, (), "cityscapes", same=m.streets, silent=True),
    Case("names like that of a Mac's folder", streets_with(train=["__MACOSX", "__MACOSX_1"]), PASSES, (), "cityscapes",
         same=streets_with(train=["__MACOSX", "__MACOSX_1"]), silent=True),
    *(Case(f"a pair that is not read: {name}", lambda name=name: m.renamed(m.renamed(
        m.streets(), "leftImg8bit/train/town/a1_leftImg8bit.png", f"leftImg8bit/{name.format('_leftImg8bit')}"),
        "gtFine/train/town/a1_gtFine_labelTrainIds.png", f"gtFine/{name.format('_gtFine_labelTrainIds')}"), PASSES,
        (f"1 pictures of train are not read, such as leftImg8bit/{name.format('_leftImg8bit')}: the layout reads",),
        "cityscapes") for name in ("train/town/a1{}.PNG", "train/a1{}.png", "train/town/b/a1{}.png",
                                   "Train/town/a1{}.png", "train/town/.a1{}.png")),
    Case("a picture of test that is JPEG", lambda: m.renamed(streets_with(test=["c0", "c1"])(),
         "leftImg8bit/test/town/c1_leftImg8bit.png", "leftImg8bit/test/town/c1_leftImg8bit.jpg"), PASSES,
         ("1 pictures of test are not read, such as leftImg8bit/test/town/c1_leftImg8bit.jpg",), "cityscapes"),
    Case("a folder that is called as an image", lambda: m.tar(
        m.streets() | {"gtFine/train/town/z_gtFine_labelTrainIds.png": m.png(m.scene(0, 3)[1]),
                       "leftImg8bit/train/town/z_leftImg8bit.png/x": b"x"}), REFUSED,
        ("leftImg8bit/train/town/z_leftImg8bit.png is a folder, not a file",), "cityscapes"),
    ],
    "What a label is": [  # A2 to A6
    Case("palette", labels(m.as_kind("PNG", "P")), PASSES, same=m.people, silent=True),
    Case("palette with transparency", labels(m.as_kind("PNG", "P", transparency=0)), PASSES, same=m.people),
    *(Case(f"palette of {bits} bits", labels(m.small_png(bits, 3)), PASSES, same=m.people) for bits in (1, 2, 4)),
    Case("GIF", labels(m.as_kind("GIF")), PASSES, same=m.people),
    Case("BMP", labels(m.as_kind("BMP")), PASSES, same=m.people),
    Case("BMP with a palette", labels(m.as_kind("BMP", "P")), PASSES, same=m.people),
    Case("TIFF", labels(m.as_kind("TIFF", compression="tiff_lzw")), PASSES, same=m.people),
    Case("PGM", labels(m.pgm), PASSES, same=m.people),
    Case("TGA", labels(m.as_kind("TGA")), PASSES, same=m.people),
    Case("1 bit", labels(m.small_png(1, 0)), PASSES, same=m.people, silent=True),
    Case("16 bits", labels(m.as_numbers(np.uint16, ".png")), PASSES, same=m.people, silent=True),
    Case("16 bits in one", label(m.as_numbers(np.uint16, ".png")), PASSES, same=m.people),
    Case("32 bits", labels(m.as_numbers(np.int32, ".tiff")), PASSES, same=m.people),
    *(Case(f"grey of {bits} bits", label(m.small_png(bits, 0)), REFUSED,
           (AT_LABEL, f"grey of {bits} bits a pixel (mode L;{bits})", f"1 would be read as {read}", "8 bits"))
      for bits, read in ((2, 85), (4, 17))),
    Case("PGM of less than 8 bits", label(lambda content: m.pgm(content, 7)),
         REFUSED, (AT_LABEL, "largest number is 7")),
    Case("TIFF whose 0 is white", label(m.white_is_zero), REFUSED, (AT_LABEL, "0 is white")),
    *(Case(f"TIFF of 1 bit whose 0 is white, order of bits {order}", label(m.white_is_zero_in_bits(order)), REFUSED,
           (AT_LABEL, "0 is white")) for order in (1, 2)),
    Case("PBM, whose 0 is white", label(m.pbm), REFUSED, (AT_LABEL, "0 is white")),
    *(Case(f"label of mode {mode}", label(m.as_kind("PNG", mode)), REFUSED,
           (AT_LABEL, f"has {count} channels (mode {mode})", "one channel"))
      for mode, count in (("RGB", 3), ("RGBA", 4), ("LA", 2))),
    *(Case(f"label of mode {mode} in {split}", lambda mode=mode, file=file: m.changed(
        m.people(), **{file: m.as_kind("PNG", mode)}), REFUSED, (f"{split}.txt line 1", f"(mode {mode})"))
      for mode, split, file in (("RGB", "test", "Annotations_test_6_png"), ("RGBA", "val", "Annotations_val_4_png"))),
    Case("label in CMYK", label(m.as_kind("TIFF", "CMYK")), REFUSED, (AT_LABEL, "has 4 channels (mode CMYK)")),
    Case("label of floats", label(m.as_kind("TIFF", "F")), REFUSED, (AT_LABEL, "mode F")),
    Case("label in JPEG", label(m.as_kind("JPEG")), REFUSED, (AT_LABEL, "is a JPEG file", "PNG")),
    Case("label in JPEG, called PNG", labels(m.as_kind("JPEG")), REFUSED, (AT_LABEL, "8 faults", "is a JPEG file")),
    Case("label in WebP", label(m.as_kind("WEBP", "RGB", lossless=True)), REFUSED, (AT_LABEL, "is a WEBP file")),
    Case("label in TIFF by JPEG", label(m.as_kind("TIFF", compression="jpeg")),
         REFUSED, (AT_LABEL, "compressed by jpeg")),
    *(Case(f"BMP of {bits} bits with a palette of {', '.join(map(str, greys))}", label(m.bmp(bits, greys)), REFUSED,
           (AT_LABEL, f"is a BMP file of {bits} bits a pixel whose palette is grey"))
      for bits, greys in ((8, (0, 255)), (4, (0, 255)), (4, tuple(range(16))), (8, (0,)))),
    *(Case(f"BMP of {bits} bits with a palette of {', '.join(map(str, greys))}", label(m.bmp(bits, greys)), PASSES,
           same=m.people) for bits, greys in ((1, (0, 255)), (1, (0, 1)), (8, (0, 1)), (8, tuple(range(256))))),
    *(Case(f"{kind} with a palette of the greys {', '.join(map(str, greys))}", label(m.paletted(kind, greys)), REFUSED,
           (AT_LABEL, "has a palette of greys", told)) for kind, greys, told in (
        ("GIF", (0, 5), "entry 1 is the grey 5, and PaddleSeg reads 1"), ("PNG", (0, 7), "entry 1 is the grey 7"),
        ("PNG", (255, 0), "entry 0 is the grey 255"), ("TIFF", (0, 5), "entry 1 is the grey 5"))),
    *(Case(f"PNG with a palette of the greys {', '.join(map(str, greys))}", labels(m.paletted("PNG", greys)), PASSES,
           told, same=m.people, silent=not told) for greys, told in (
        ((0, 255), ("8 of the 8 labels are shown by a palette of greys",)),
        ((0, 127, 255), ("8 of the 8 labels are shown by a palette of greys",)), ((0, 1, 2), ()))),
    Case("palettes of one order", labels(m.coloured(1, 0)), PASSES, silent=True),
    Case("a palette of another order", lambda: m.changed(m.every(m.people(), "Annotations", m.coloured(0, 1)),
         **{LABEL: lambda content: m.coloured(1, 0)(m.people()["Annotations/train_1.png"])}), REFUSED,
         (AT_LABEL, "has the colour (220, 20, 60) of its palette at 0, Annotations/train_0.png at 1")),
    Case("a palette of one colour alone", label(m.coloured(0, 1, colours=((9, 0, 0), (9, 0, 0)))), PASSES, silent=True),
    Case("a palette of other colours", lambda: m.changed(m.every(m.people(), "Annotations", m.coloured(0, 1)),
         **{LABEL: lambda content: m.coloured(0, 1, colours=((1, 2, 3), (4, 5, 6)))(
             m.people()["Annotations/train_1.png"])}), PASSES, same=m.people, silent=True),
    Case("signed TIFF", image(m.signed), REFUSED, (AT_IMAGE, "is a TIFF file of signed numbers")),
    Case("signed TIFF as a label", label(m.as_numbers(np.int32, ".tiff")), PASSES, same=m.people),
    Case("labels one line down", lambda: m.relisted(m.relisted(m.relisted(m.people(), "train_1.png", "train_X.png"),
         "train_2.png", "train_1.png"), "train_X.png", "train_2.png"), REFUSED,
         ("train.txt line 2: Annotations/train_2.png: has the name of Images/train_2.jpg (train.txt line 3), and is "
          "listed with Images/train_1.jpg", "train.txt line 3: Annotations/train_1.png: has the name of")),
    Case("a label of the validation", lambda: m.relisted(
         m.people(), "Annotations/train_1.png", "Annotations/val_4.png"), REFUSED,
         (AT_LIST, "has the name of Images/val_4.jpg (val.txt line 1)")),
    Case("labels with more in their names", lambda: {name.replace(".png", "_mask.png"): content.replace(
         b".png", b"_mask.png") if name.endswith(".txt") else content for name, content in m.people().items()}, PASSES,
         silent=True),
    Case("a label that is a copy of another", lambda: m.changed(
         m.people(), **{LABEL: m.people()["Annotations/val_4.png"]}), PASSES,
         ("2 labels are those of other pictures, byte for byte, such as Annotations/train_1.png (of "
                  "Images/train_1.jpg) and Annotations/val_4.png (of Images/val_4.jpg)",)),
    Case("label of several pages", label(m.animated("TIFF")), REFUSED, (AT_LABEL,)),
    ],
    "What a label says": [  # A7
    Case("0 and 255 for 0 and 1", labels(m.valued((1, 255))), PASSES, classes=2),
    Case("nothing counted in train", lambda: m.every(m.people(), "Annotations/train", m.valued((0, 255), (1, 255))),
         REFUSED, ("train: none of the 32000 pixels of its 4 labels is counted", "all are 255", "learnt"), classes=2),
    Case("nothing counted in val", lambda: m.every(m.people(), "Annotations/val", m.valued((0, 255), (1, 255))),
         REFUSED, ("val: none of the 16000 pixels of its 2 labels is counted", "judged"), classes=2),
    Case("nothing counted in test", lambda: m.every(m.people(), "Annotations/test", m.valued((0, 255), (1, 255))),
         REFUSED, ("test: none of the", "judged"), classes=2),
    Case("nothing counted in Cityscapes' test", lambda: m.every(
        streets_with(test=["c0"])(), "gtFine/test", m.valued((0, 255), (1, 255), (2, 255))),
         PASSES, (), "cityscapes", 19),
    Case("a number that is no class", label(m.valued((1, 2))), REFUSED,
         (AT_LABEL, "holds the value 2; allowed are 0 to 1 and 255 (ignored)"), classes=2),
    Case("a number of 16 bits that is no class", label(m.valued((1, 256))), REFUSED, (AT_LABEL, "holds the value 256"),
         classes=2),
    Case("numbers that are no classes in many", labels(m.valued((1, 7))), REFUSED,
         ("8 faults", "(1) train.txt line 1", "(8) test.txt line 2", "holds the value 7"), classes=2),
    Case("a number that is no class, where no model is known", label(m.valued((1, 7))), PASSES),
    ],
    "EXIF orientation": [  # A8 to A10
    *(Case(f"orientation {turn}, label as shown", both(m.oriented(turn), m.as_shown(turn)), PASSES,
           ("1 of the 8 images are turned or mirrored by their EXIF orientation", "Images/train_1.jpg"))
      for turn in (2, 3, 5, 6, 8)),
    *(Case(f"orientation {turn}, label as stored", image(m.oriented(turn)), REFUSED,
           (AT_LABEL, "is 100x80, its image is 80x100", f"EXIF orientation {turn}")) for turn in (5, 6, 8)),
    Case("orientation 6 in test, label as stored", lambda: m.changed(
        m.people(), Images_test_6_jpg=m.oriented(6)), REFUSED,
         ("test.txt line 1: Annotations/test_6.png", "is 100x80, its image is 80x100", "EXIF orientation 6")),
    Case("orientation 3, label as stored", image(m.oriented(3)), PASSES, ("turned or mirrored by their EXIF",)),
    Case("orientation 1", image(m.oriented(1)), PASSES, silent=True),
    Case("orientation 6 in PNG, label as stored", image(m.oriented(6, "PNG")),
         REFUSED, (AT_LABEL, "EXIF orientation 6")),
    Case("orientation 6 in WebP, which OpenCV does not turn", image(m.oriented(6, "WEBP")), PASSES,
         ("1 of the 8 images are used as they are stored", "does not turn their format")),
    Case("orientation 6 in WebP, label as shown", both(m.oriented(6, "WEBP"), m.as_shown(6)), REFUSED,
         (AT_LABEL, "the image's EXIF orientation 6 is not applied to it by OpenCV")),
    *(Case(f"orientation {turn} in TIFF{told}", image(m.tiff_oriented(turn, order, big)), PASSES, words,
           silent=not words)
      for order, big, told in (("<", False, ""), (">", False, " of the other order of bytes"), ("<", True, ", BigTIFF"))
      for turn, words in ((3, ("1 of the 8 images are turned or mirrored by their EXIF",)), (1, ()))),
    *(Case(f"an orientation that OpenCV alone sees: {name}", image(m.odd_exif(**odd)), PASSES,
           ("1 of the 8 images are turned or mirrored by their EXIF orientation",)) for name, odd in (
        ("header of other letters", {"name": b"Exix\0\0"}), ("header that ends otherwise", {"name": b"Exif\0\xff"}),
        ("no header", {"name": bytes(6)}), ("none of it", {"count": 0}), ("of type 99", {"kind": 99}))),
    Case("another orientation that OpenCV alone sees, label as stored", image(m.odd_exif(b"Exix\0\0", value=6)),
         REFUSED, (AT_LABEL, "is 100x80, its image is 80x100", "applied to it by OpenCV")),
    Case("an orientation in the name of nothing", image(m.odd_exif(value=1)), PASSES, silent=True),
    Case("a label with an orientation of its own", label(m.grey_oriented(6)), PASSES,
         ("1 of the 8 labels are used as they are stored, whatever their EXIF orientation says",)),
    Case("the same, of another size", label(lambda content: m.grey_oriented(6)(m.as_shown(6)(content))), REFUSED,
         (AT_LABEL, "the label's EXIF orientation 6 is not applied to it by Pillow")),
    Case("a label in TIFF with an orientation", label(m.as_kind("TIFF", tiffinfo={274: 3})), PASSES,
         ("1 of the 8 labels are turned or mirrored", "in TIFF")),
    Case("a label in TIFF that lies, without compression", label(m.as_kind("TIFF", tiffinfo={274: 6})), REFUSED,
         (AT_LABEL, "is a TIFF file of the orientation 6 whose pixels Pillow, and so PaddleSeg, mixes up")),
    Case("a label in TIFF that lies, with compression", label(m.as_kind(
        "TIFF", tiffinfo={274: 6}, compression="tiff_lzw")), REFUSED, (AT_LABEL, "is 80x100, its image is 100x80")),
    *(Case(f"orientation 3 as a number of type {kind}", image(m.exif_of_type(kind, 3)), PASSES,
           ("1 of the 8 images are turned or mirrored by their EXIF orientation",)) for kind in (1, 3, 4)),
    Case("orientation 9, which there is not", image(m.exif_of_type(3, 9)), PASSES, silent=True),
    Case("orientation 3 in XMP alone", image(m.xmp_orientation(3)), PASSES,
         ("1 of the 8 images are used as they are",)),
    Case("progressive JPEG", image(m.as_kind("JPEG", progressive=True)), PASSES, silent=True),
    Case("progressive JPEG, cut", image(lambda content: m.cut(0.8)(m.as_kind("JPEG", progressive=True)(content))),
         REFUSED, (AT_IMAGE, "Premature end")),
    Case("orientation 6 in TIFF, which OpenCV cannot", image(m.as_kind("TIFF", tiffinfo={274: 6})), REFUSED,
         (AT_IMAGE, "is not an image that OpenCV decodes (it is TIFF)")),
    ],
    "Damaged files": [  # A11
    *(Case(f"JPEG cut to {share:.0%}", image(m.cut(share)), REFUSED,
           (AT_IMAGE, "damaged or cut", "Premature end of JPEG file")) for share in (0.5, 0.8, 0.95)),
    *(Case(f"JPEG cut in {split}", lambda file=file: m.changed(m.people(), **{file: m.cut(0.5)}), REFUSED,
           (f"{split}.txt line 1", "Premature end of JPEG file"))
      for split, file in (("val", "Images_val_4_jpg"), ("test", "Images_test_6_jpg"))),
    Case("JPEG without its last byte", image(m.without_end(1)), REFUSED, (AT_IMAGE, "Premature end")),
    *(Case(f"progressive JPEG without its last {count} scans", image(m.without_scans(count)), REFUSED,
           (AT_IMAGE, "is a progressive JPEG whose last scans are missing")) for count in (1, 5, 9)),
    *(Case(f"progressive JPEG without its last 5 scans, {name}", image(
        lambda content, change=change: change(m.without_scans(5)(content))), REFUSED,
        (AT_IMAGE, "is a progressive JPEG whose last scans are missing")) for name, change in (
        ("with a fill byte before its tables", m.fill_byte(b"\xff\xdb")),
        ("before its frame", m.fill_byte(b"\xff\xc2")),
        ("before a scan", m.fill_byte(b"\xff\xda")), ("that Pillow calls MPO", m.called_mpo))),
    *(Case(f"JPEG with a fill byte before {name}", image(
        lambda content, marker=marker: m.fill_byte(marker)(m.as_kind("JPEG", progressive=True)(content))), PASSES,
        silent=True)
      for name, marker in (("its tables", b"\xff\xdb"), ("its frame", b"\xff\xc2"), ("its codes", b"\xff\xc4"),
                           ("a scan", b"\xff\xda"))),
    Case("JPEG with a marker that stands alone", image(lambda content: m.as_kind("JPEG", progressive=True)(
        content).replace(b"\xff\xdb", b"\xff\x01\xff\xdb", 1)), PASSES, silent=True),
    Case("JPEG scan by scan", image(m.scan_by_scan(3)), PASSES, silent=True),
    *(Case(f"JPEG scan by scan, {count} of 3", image(m.scan_by_scan(count)), REFUSED,
           (AT_IMAGE, f"is a JPEG whose last scans are missing: {count} of 3 components are there"))
      for count in (1, 2)),
    *(Case(f"TIFF by {way}", image(m.in_tiff(way)), PASSES, silent=True)
      for way in ("jpeg", "tiff_adobe_deflate", "packbits", "tiff_lzw")),
    *(Case(f"TIFF by {way}, {name}", image(m.in_tiff(way, damage)), REFUSED, (AT_IMAGE, told))
      for way, name, damage, told in (
        ("jpeg", "half of it zeros", m.half_zeros, "is a TIFF file packed by JPEG"),
        ("jpeg", "half of it and an end", m.half_and_end, "its decoder says"),
        ("tiff_adobe_deflate", "half of it zeros", m.half_zeros, "a strip ends too early"),
        ("tiff_adobe_deflate", "a byte flipped", m.flipped(0.5), "is damaged"),
        ("packbits", "half of it zeros", m.half_zeros, "decoded to its end"))),
    Case("TIFF by jpeg, progressive, without its last scans", image(m.tiff_of_jpeg(m.without_scans(5))), REFUSED,
         (AT_IMAGE, "is a TIFF file packed by JPEG of which a strip is a progressive JPEG whose last scans")),
    *(Case(f"{what} in TIFF by {way}", change(m.in_tiff(way, mode="1")), REFUSED,
           (at, "of which no decoder here tells"))
      for what, change, at in (("image", image, AT_IMAGE), ("label", label, AT_LABEL))
      for way in ("group4", "tiff_ccitt")),
    Case("label in TIFF by Deflate, cut", label(m.in_tiff("tiff_adobe_deflate", m.half_zeros, "L")), REFUSED,
         (AT_LABEL,)),
    Case("JPEG cut, of 16 good ones", lambda: m.changed(m.people({"train": 30, "val": 20, "test": 30}),
         Images_val_40_jpg=m.cut(0.9)), REFUSED, ("val.txt line 11: Images/val_40.jpg: is damaged or cut",)),
    Case("JPEG with a byte flipped", noise_jpeg_flipped, REFUSED, (AT_IMAGE, "its decoder says", "JPEG")),
    *(Case(f"PNG image cut to {share:.0%}", image(lambda content, share=share: m.cut(share)(m.as_kind("PNG")(content))),
           REFUSED, (AT_IMAGE, "is not an image that OpenCV decodes")) for share in (0.5, 0.99)),
    Case("PNG image with a byte flipped", image(lambda content: m.flipped(0.5)(m.as_kind("PNG")(content))), REFUSED,
         (AT_IMAGE, "its decoder says: libpng error")),
    *(Case(f"{kind} image cut", image(lambda content, kind=kind: m.cut(0.7)(m.as_kind(kind)(content))), REFUSED,
           (AT_IMAGE, "is not an image that OpenCV decodes")) for kind in ("BMP", "TIFF", "WEBP", "PPM", "JPEG2000")),
    Case("TIFF image with a byte flipped", image(
        lambda content: m.flipped(0.5)(m.as_kind("TIFF", compression="tiff_lzw")(content))), REFUSED, (AT_IMAGE,)),
    Case("label cut", label(m.cut(0.6)), REFUSED, (AT_LABEL, "Pillow decodes in full")),
    Case("label without its last bytes", label(m.without_end(5)), REFUSED, (AT_LABEL, "is damaged")),
    *(Case(f"PNG label of {rows} of 80 lines", label(m.short_png(rows)), REFUSED, (AT_LABEL, "is cut: its lines are"))
      for rows in (1, 40, 79)),
    Case("PNG label whose data have a wrong checksum", label(m.short_png(80, checksum=7)), REFUSED,
         (AT_LABEL, "Pillow decodes in full")),
    Case("PNG label of all lines", labels(m.short_png(80)), PASSES, same=m.people, silent=True),
    Case("PNG label in passes", labels(m.interlaced_png), PASSES, same=m.people, silent=True),
    Case("PNG label of the first pass", label(m.short_png(0, interlaced=True)), REFUSED, (AT_LABEL, "is cut: its li")),
    Case("TIFF label of four strips", labels(m.strips(4)), PASSES, same=m.people, silent=True),
    Case("TIFF label of two of four strips", label(m.strips(2)), REFUSED,
         (AT_LABEL, "is a TIFF file of which 2 of 4 strips or tiles are there")),
    Case("label with a byte flipped", label(m.flipped(0.5)), REFUSED, (AT_LABEL,)),
    Case("label with a wrong checksum", label(lambda content: content.replace(
        content[-16:-12], bytes(4))), REFUSED, (AT_LABEL, "is damaged")),
    Case("a colour profile that is none", image(
        lambda content: m.with_chunk(b"iCCP", b"x\0\0nothing")(m.as_kind("PNG")(content))), PASSES,
        ("1 of the 8 images are with notes beside the picture",)),
    Case("a note with a wrong checksum", image(
        lambda content: m.with_chunk(b"tEXt", b"Comment\0x", 1)(m.as_kind("PNG")(content))), REFUSED,
        (AT_IMAGE, "its decoder says", "CRC error")),
    Case("image of no bytes", image(b""), REFUSED, (AT_IMAGE, "is not an image that OpenCV decodes")),
    Case("label of no bytes", label(b""), REFUSED, (AT_LABEL, "is not an image that Pillow decodes")),
    ],
    "Formats of images": [  # A12
    *(Case(f"image in {kind}", image(m.as_kind(kind)), REFUSED, (AT_IMAGE, f"OpenCV decodes (it is {kind})"))
      for kind in ("GIF", "TGA", "AVIF")),
    *(Case(f"image in {kind} in test", lambda kind=kind: m.changed(m.people(), Images_test_6_jpg=m.as_kind(kind)),
           REFUSED, ("test.txt line 1: Images/test_6.jpg", f"OpenCV decodes (it is {kind})"))
      for kind in ("GIF", "TGA")),
    Case("image animated in GIF", image(m.animated("GIF")), REFUSED, (AT_IMAGE, "it is GIF")),
    *(Case(f"image of several pictures in {kind}", image(m.animated(kind)),
         PASSES, ("of several pictures", "the first"))
      for kind in ("PNG", "WEBP", "TIFF")),
    Case("PNG called .jpg", image(m.as_kind("PNG")), PASSES, silent=True),
    *(Case(f"image of mode {mode}", image(m.as_kind(kind, mode)), PASSES, silent=True)
      for kind, mode in (("JPEG", "L"), ("JPEG", "CMYK"), ("PNG", "RGBA"), ("PNG", "LA"), ("PNG", "P"), ("PNG", "1"))),
    *(Case(f"image of 16 bits in {kind[1:].upper()}", image(m.as_numbers(np.uint16, kind, 257)), PASSES,
           ("of 16 bits a channel", "upper 8")) for kind in (".png", ".tiff")),
    *(Case(f"PPM whose white is {white}", image(m.ppm(white)), REFUSED,
           (AT_IMAGE, f"is a PPM file whose largest number is {white}")) for white in (15, 100, 1023)),
    *(Case(f"PPM whose white is {white}", image(m.ppm(white)), PASSES, silent=white == 255) for white in (255, 65535)),
    Case("PAM of colours", image(m.pam("RGB")), REFUSED, (AT_IMAGE, "is a PAM file of 3 channels up to 255", "as PNG")),
    Case("PAM of grey whose white is 100", image(m.pam("GRAYSCALE", 100)), REFUSED, (AT_IMAGE, "1 channels up to 100")),
    Case("PAM of grey", lambda: m.every(m.people(), "Images/", m.pam("GRAYSCALE")), PASSES,
         same=lambda: m.every(m.people(), "Images/", m.as_kind("PNG", "L")), silent=True),
    Case("Sun raster with a palette", lambda: m.every(m.people(), "Images/", m.sun_with_palette), PASSES,
         same=lambda: m.every(m.people(), "Images/", m.few_colours), silent=True),
    Case("TIFF that only OpenCV decodes", image(m.grey_and_more), REFUSED,
         (AT_IMAGE, "that OpenCV alone decodes, so that nothing tells whether it is whole; save it as PNG")),
    Case("JPEG 2000 without a box around", image(m.as_kind("JPEG2000", no_jp2=True)), PASSES,
         ("1 of the 8 images are with notes beside the picture",)),
    Case("image of floats", image(m.as_numbers(np.float32, ".tiff", 0.01)),
         REFUSED, (AT_IMAGE, "holds float32 numbers")),
    Case("image that is a bomb", image(m.bomb()), REFUSED, (AT_IMAGE, "too large", "1600000000 pixels")),
    Case("label that is a bomb", label(m.bomb()), REFUSED, (AT_LABEL, "1600000000 pixels")),
    Case("image that is larger than OpenCV takes", image(m.bomb(1_200_000, 100)), REFUSED, (AT_IMAGE,)),
    Case("label of another size", label(m.png(np.zeros((8, 9), np.uint8))), REFUSED,
         (AT_LABEL, "is 9x8, its image is 100x80; they must be equal")),
    Case("image that is its own label by name", train_list(replaced("Images/train_1.jpg", "Annotations/train_1.png")),
         REFUSED, ("train.txt line 2: Annotations/train_1.png is listed as its own label",)),
    Case("image that is its own label by content", lambda: m.changed(
        m.people(), **{IMAGE: m.people()["Annotations/train_1.png"]}), REFUSED, (AT_LABEL, "its own image")),
    *(Case(f"image that is its own label {kind}", lambda change=change: m.changed(
        m.people(), **{IMAGE: change(m.people()["Annotations/train_1.png"])}), REFUSED,
        (AT_IMAGE, "shows its own label map"))
      for kind, change in (("and a byte more", lambda content: content + b"\0"),
                           ("in colours", m.as_kind("BMP", "RGB")), ("as greys", m.as_numbers(np.uint8, ".bmp")))),
    Case("image that is black, and so its label", lambda: m.changed(
        m.people(), **{IMAGE: m.png(np.zeros((80, 100, 3), np.uint8)), LABEL: m.png(np.zeros((80, 100), np.uint8))}),
        PASSES),
    ],
    "Lists and names": [  # A13 to A15, A17
    Case("a line ten times", repeated("test"), PASSES),
    Case("a line ten times in train", repeated("train"), PASSES),
    Case("an image with two labels", lambda: m.changed(m.people(), test_txt=replaced(
        "Images/test_7.jpg", "Images/test_6.jpg")), REFUSED, ("Images/test_6.jpg is listed with two labels",)),
    Case("an image with two labels in train", train_list(replaced("Images/train_1.jpg", "Images/train_0.jpg")), PASSES,
         ("1 of the pictures of train have several labels that differ, such as Images/train_0.jpg (Annotations/",)),
    Case("the same by content", lambda: m.people() | {"Images/train_1.jpg": m.people()["Images/train_0.jpg"]}, PASSES,
         ("1 of the pictures of train have several labels",)),
    Case("the same by pixels", lambda: m.people() | {
        "Images/train_1.jpg": m.people()["Images/train_0.jpg"] + b"\0"}, PASSES,
         ("1 of the pictures of train have several labels",)),
    Case("the same label packed otherwise for the same picture", lambda: m.people() | {
        "Images/train_1.jpg": m.people()["Images/train_0.jpg"],
        "Annotations/train_1.png": m.as_kind("PNG", compress_level=0)(m.people()["Annotations/train_0.png"])}, PASSES,
         silent=True),
    Case("a label for two images", train_list(replaced("Annotations/train_1.png", "Annotations/train_0.png")), REFUSED,
         ("train.txt line 2: Annotations/train_0.png: has the name of Images/train_0.jpg (train.txt line 1)",)),
    Case("a label for two images, of another name", lambda: m.relisted(m.relisted(m.renamed(
         m.people(), "Annotations/train_0.png", "Annotations/all.png"), "train_0.png", "all.png"), "train_1.png",
         "all.png"), PASSES,
         ("1 of the labels of train are listed for several pictures, such as Annotations/all.png",)),
    Case("a list of test without a line", lambda: m.changed(m.people(), test_txt=b""), PASSES,
         ("test.txt lists no image, so inference runs on the images of val",)),
    *(Case(f"a list of test that is called {name}", lambda name=name: m.renamed(m.people(), "test.txt", name), PASSES,
           (f"{name} is not read: the list of test is called test.txt, so inference runs on the images of val",))
      for name in ("Test.txt", "test_list.txt", "my-test.lst")),
    Case("a file that is called a little like it", lambda: m.renamed(m.people(), "test.txt", "latest.txt"), PASSES,
         silent=True),
    Case("labels for a part of test", lambda: m.changed(m.people(), test_txt=replaced(" Annotations/test_7.png", "")),
         PASSES, ("1 of the 2 images of test have no label, such as Images/test_7.jpg",)),
    Case("an empty line at the end", train_list(lambda content: content + b"\n"), REFUSED,
         ("train.txt line 5 is empty", "delete it")),
    Case("an empty line between", train_list(replaced("\n", "\n\n")), REFUSED, ("train.txt line 2 is empty",)),
    Case("a line of blanks", train_list(replaced("\n", "\n   \n")), REFUSED, ("train.txt line 2 is empty",)),
    Case("an empty line in test", lambda: m.changed(m.people(), test_txt=replaced("\n", "\n\n")), REFUSED,
         ("test.txt line 2 is empty",)),
    Case("two blanks", train_list(replaced(" ", "  ")), REFUSED, ("train.txt line 1", "two blanks")),
    Case("two blanks in test", lambda: m.changed(m.people(), test_txt=replaced(" ", "  ")), REFUSED,
         ("test.txt line 1", "two blanks")),
    *(Case(f"separated by U+{ord(mark):04X}", train_list(replaced(" ", mark)), REFUSED, ("train.txt line 1", called))
      for mark, called in (("\t", "a tab"), (",", "a comma"), (";", "a semicolon"), ("|", "a bar"),
                           ("\xa0", "U+00A0"), ("\u3000", "U+3000"))),
    Case("a comma and a blank", train_list(replaced(" ", ", ")), REFUSED,
         ("train.txt line 1: Images/train_0.jpg, is listed but not there (a comma stands in it",)),
    Case("a comma in a test list", lambda: m.changed(m.people(), test_txt=replaced(" ", ",")), REFUSED,
         ("test.txt line 1", "a comma stands in it")),
    Case("a name with a blank", train_list(replaced("train_1.jpg", "train 1.jpg")), REFUSED,
         ("train.txt line 2", "has 3 parts")),
    Case("a byte order mark", train_list(lambda content: b"\xef\xbb\xbf" + content), REFUSED,
         ("train.txt line 1", "byte order mark", "U+FEFF")),
    Case("a byte order mark between", train_list(replaced("Images/train_1", b"\xef\xbb\xbfImages/train_1")), REFUSED,
         ("train.txt line 2", "holds U+FEFF, which does not show")),
    Case("UTF-16", train_list(lambda content: content.decode().encode("utf-16")),
         REFUSED, ("train.txt", "UTF-8", "UTF-16")),
    Case("a blank of no width", train_list(replaced("train_1.jpg", "train_1.jpg\u200b")), REFUSED,
         ("train.txt line 2", "U+200B")),
    Case("lines that end as on Windows", train_list(lambda content: content.replace(b"\n", b"\r\n")),
         PASSES, same=m.people),
    Case("lines that end as on old Macs", train_list(lambda content: content.replace(b"\n", b"\r")),
         PASSES, same=m.people),
    Case("no end of the last line", train_list(lambda content: content[:-1]), PASSES, same=m.people, silent=True),
    Case("blanks around a line", train_list(replaced("Images/train_0", "  Images/train_0")), PASSES, same=m.people),
    Case("a vertical tab, where Python's splitlines would end a line", train_list(replaced("jpg ", "jpg\x0b ")),
         REFUSED,
         ("train.txt line 1",)),
    Case("names from the folder itself", train_list(replaced("Images/train_1", "./Images/train_1")),
         PASSES, same=m.people),
    Case("an absolute path", train_list(replaced("Images/train_1.jpg", "/etc/hostname")), REFUSED,
         ("train.txt line 2: '/etc/hostname' leads out of the data set",)),
    Case("a path that climbs out", train_list(replaced("Images/train_1.jpg", "../../x.jpg")), REFUSED,
         ("train.txt line 2: '../../x.jpg' leads out of the data set",)),
    *(Case(f"a file as a folder, {end}", train_list(replaced("train_1.jpg", f"train_1.jpg{end}")), REFUSED,
           (f"train.txt line 2: Images/train_1.jpg{end} is named as a folder is",)) for end in ("/", "/.", "//")),
    Case("a NUL in a name", train_list(replaced("Images/train_1.jpg", "Images/train_1.jpg\0")), REFUSED,
         ("train.txt line 2: 'Images/train_1.jpg\\x00' holds a NUL",)),
    Case("a path that climbs out and in", train_list(replaced("Images/train_1.jpg", "Images/../Images/train_1.jpg")),
         REFUSED, ("train.txt line 2", "leads out")),
    Case("backslashes", train_list(replaced("Images/train_1", "Images\\train_1")), REFUSED,
         ("train.txt line 2", "folders are separated by /")),
    Case("upper and lower case", train_list(replaced("train_1.jpg", "Train_1.JPG")), REFUSED,
         ("train.txt line 2", "train_1.jpg is: upper and lower case differ")),
    Case("another spelling in Unicode", lambda: m.relisted(
        m.renamed(m.people(), "Images/train_1.jpg", "Images/cafe\u0301.jpg"), "train_1.jpg", "caf\u00e9.jpg"), REFUSED,
        ("train.txt line 2", "spelling of the same letters", "\\xe9", "\\u0301")),
    Case("letters beyond ASCII", lambda: m.relisted(
        m.renamed(m.people(), "Images/train_1.jpg", "Images/\u732b'\"$(x)&.jpg"), "train_1.jpg", "\u732b'\"$(x)&.jpg"),
         PASSES),
    Case("a name in no encoding", lambda: m.tar(m.people() | {"Images/caf\udce9.jpg": b"x"}), REFUSED,
         ("'Images/caf\\udce9.jpg' is no name in UTF-8",)),
    Case("a backslash in a name", lambda: m.renamed(m.renamed(
        m.streets(), "leftImg8bit/val/town/b0_leftImg8bit.png", "leftImg8bit/val/town/b\\0_leftImg8bit.png"),
        "gtFine/val/town/b0_gtFine_labelTrainIds.png", "gtFine/val/town/b\\0_gtFine_labelTrainIds.png"), PASSES,
        layout="cityscapes", same=m.streets, silent=True),
    Case("a tar with backslashes for folders", lambda: m.tar({
        name.replace("/", "\\"): content for name, content in m.people().items()}), REFUSED,
        ("train.txt line 1: Images/train_0.jpg", "Images\\train_0.jpg is: the archive separates folders by \\")),
    Case("the name of an image in no encoding, at which OpenCV ends the process", lambda: m.tar(
        m.renamed(m.renamed(m.streets(), "leftImg8bit/val/town/b0_leftImg8bit.png",
                            "leftImg8bit/val/town/caf\udce9_leftImg8bit.png"),
                  "gtFine/val/town/b0_gtFine_labelTrainIds.png", "gtFine/val/town/caf\udce9_gtFine_labelTrainIds.png")),
         REFUSED, ("2 faults", "'leftImg8bit/val/town/caf\\udce9_leftImg8bit.png' is no name in UTF-8"), "cityscapes"),
    Case("a folder around whose name is in no encoding", lambda: m.tar(m.below("caf\udce9", m.people())), REFUSED,
         ("'caf\\udce9' is no name in UTF-8",)),
    Case("folders in no encoding without data", lambda: m.tar({"caf\udce9/x": b"x"}), REFUSED,
         ("has no train.txt", "found caf\\udce9")),
    Case("a name too long", train_list(replaced("train_1.jpg", "x" * 300 + ".jpg")),
         REFUSED, ("train.txt line 2", "too long")),
    Case("a folder in a list", train_list(replaced("Images/train_1.jpg", "Images")), REFUSED,
         ("train.txt line 2: Images is a folder, not a file",)),
    Case("a listed file that is missing", lambda: m.changed(m.people(), **{IMAGE: None}), REFUSED,
         ("train.txt line 2: Images/train_1.jpg is listed but not there",)),
    Case("test without labels", lambda: m.changed(m.people(), test_txt=b"Images/test_6.jpg\nImages/test_7.jpg\n"),
         PASSES,
         silent=True),
    Case("train without labels", train_list(replaced(" Annotations/train_1.png", "")), REFUSED,
         ("train.txt line 2: Images/train_1.jpg has no label",)),
    Case("more faults than are told", lambda: m.changed(
        m.people({"train": 30, "val": 2, "test": 0}), train_txt=lambda content: content.replace(b" ", b"\t")), REFUSED,
        ("30 faults", "(20) train.txt line 20", "and 10 more")),
    ],
    "Where the data are": [  # A19
    Case("a folder around", lambda: m.below("set", m.people()), PASSES, same=m.people),
    Case("a folder around that is called like a Mac's", lambda: m.below("__MACOSX_set", m.people()), PASSES,
         same=m.people),
    Case("a folder and a README", lambda: m.below("set", m.people()) | {"README.md": b"x", "LICENSE": b"x"}, PASSES,
         same=m.people),
    Case("folders in folders", lambda: m.below("a/b", m.people()) | {"a/notes.txt": b"x"}, PASSES, same=m.people),
    Case("two folders, one with the data", lambda: m.below("set", m.people()) | {"docs/readme.txt": b"x"}, PASSES,
         same=m.people),
    Case("two folders with data", lambda: m.below("one", m.people()) | m.below("two", m.people()), REFUSED,
         ("more than one folder has train.txt: one, two",)),
    Case("nothing of the layout", lambda: {"a/b.txt": b"x", "README": b"x"}, REFUSED,
         ("has no train.txt", "found README, a")),
    Case("a manifest of its own", lambda: m.people() | {"manifest.json": b"{}"}, PASSES, same=m.people),
    Case("a link", lambda: m.tar(m.changed(m.people(), **{IMAGE: None}), links={"Images/train_1.jpg": "/etc/hostname"}),
         REFUSED, ("member 'Images/train_1.jpg' is a link",)),
    ],
    "Pictures in several splits": [  # A20
    Case("pictures of train in val", lambda: m.changed(m.people(), val_txt=m.people()["train.txt"]), PASSES,
         ("4 of the 4 pictures of val are in train as well, such as Images/train_0.jpg",)),
    Case("pictures of train in test under other names", lambda: m.people() | {
        "Images/test_6.jpg": m.people()["Images/train_2.jpg"]}, PASSES,
        ("1 of the 2 pictures of test are in train as well, such as Images/test_6.jpg is Images/train_2.jpg",)),
    *(Case(f"a picture of train in test, {name}", lambda change=change: m.people() | {
        "Images/test_6.jpg": change(m.people()["Images/train_2.jpg"])}, PASSES,
        ("1 of the 2 pictures of test are in train as well, such as Images/test_6.jpg is Images/train_2.jpg",))
      for name, change in (("a byte longer", lambda content: content + b"\0"),
                           ("with a comment", lambda content: content[:2] + b"\xff\xfe\0\3x" + content[2:]),
                           ("as PNG", m.by_opencv(".png")), ("as BMP", m.by_opencv(".bmp")))),
    Case("pictures of two splits that begin alike", lambda: m.people() | {
        "Images/test_6.jpg": m.png(m.dotted()), "Images/train_2.jpg": m.png(np.zeros((80, 100, 3), np.uint8))}, PASSES,
         silent=True),
    Case("nothing in common", m.people, PASSES, silent=True),
    ],
}  # fmt: skip
CASES = [case for section in SECTIONS.values() for case in section]
