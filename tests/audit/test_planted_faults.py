"""Each fault is planted in a set that has no other, and is found; the clean set is not accused."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxr_lightning.audit.findings import Audit
from cxr_lightning.config import SplitConfig
from cxr_lightning.data.decode import decode

Audited = Callable[..., Audit]


def found(audit: Audit) -> set[tuple[str, str]]:
    """Level and check of each finding but the notes."""
    return {(v.level, v.check) for v in audit.verdicts if v.level != "note"}


def films_of(root: Path, folder: str) -> list[Path]:
    return sorted((root / "test" / folder).glob("*.png"))


def test_a_clean_set_is_not_accused(clean: Path, audited: Audited) -> None:
    audit = audited(clean, labels=True)
    assert found(audit) == set()
    assert audit.shared == [] and audit.duplicates.sets == [] and not len(audit.odd)
    assert audit.ladder is not None
    values = {key: e["accuracy"] for key, e in audit.ladder.estimates.items()}
    assert values["nothing"].value == 0.25
    for key in ("facts", "histogram", "border"):
        low, high = values[key].low, values[key].high
        assert low is not None and high is not None and low <= 0.25 <= high, key
    assert audit.suspects is not None and len(audit.suspects) <= 0.1 * len(audit.table)


def test_a_copied_test_film_is_a_leak(clean: Path, audited: Audited) -> None:
    film = films_of(clean, "NORMAL")[3]
    (clean / "train" / "NORMAL" / "another name.png").write_bytes(film.read_bytes())
    audit = audited(clean)
    assert found(audit) == {("leak", "duplicates")}
    (rows,) = audit.duplicates.sets
    paths = {"test/NORMAL/NORMAL(003).png", "train/NORMAL/another name.png"}
    assert set(audit.table["path"].iloc[rows]) == paths
    assert audit.duplicates.kinds == ["exact"]


@pytest.mark.parametrize("change", ["smaller", "brighter"])
def test_a_resized_and_recompressed_copy_is_a_leak(
    change: str, clean: Path, audited: Audited
) -> None:
    film = films_of(clean, "PNEUMONIA")[5]
    with Image.open(film) as image:
        copy = (
            image.resize((48, 52)) if change == "smaller" else image.point(lambda v: v * 0.9 + 15)
        )
        copy.save(clean / "train" / "PNEUMONIA" / "copy.jpg", quality=60)
    audit = audited(clean)
    assert ("leak", "duplicates") in found(audit)
    (rows,) = audit.duplicates.sets
    assert "train/PNEUMONIA/copy.jpg" in set(audit.table["path"].iloc[rows])
    assert audit.duplicates.kinds == ["near"]


def test_a_film_with_two_labels_is_a_conflict(clean: Path, audited: Audited) -> None:
    film = sorted((clean / "train" / "NORMAL").glob("*.png"))[0]
    (clean / "train" / "COVID19" / "copy.png").write_bytes(film.read_bytes())
    assert found(audited(clean)) == {("warning", "label conflicts")}


def test_a_swapped_label_is_among_the_first_that_are_doubted(clean: Path, audited: Audited) -> None:
    film = sorted((clean / "train" / "NORMAL").glob("*.png"))[7]
    film.rename(clean / "train" / "PNEUMONIA" / "swapped.png")
    audit = audited(clean, labels=True)
    assert audit.suspects is not None
    doubted = audit.table["path"].iloc[audit.suspects["row"]].tolist()
    assert "train/PNEUMONIA/swapped.png" in doubted[:5]
    row = audit.suspects.iloc[doubted.index("train/PNEUMONIA/swapped.png")]
    names = [audit.index.classes[int(row[key])] for key in ("given", "suggested")]
    assert names == ["PNEUMONIA", "NORMAL"]


def test_a_patient_in_two_splits_is_a_leak(clean: Path, audited: Audited) -> None:
    for split, number in (("train", 0), ("test", 1)):
        film = sorted((clean / split / "NORMAL").glob("*.png"))[number]
        film.rename(film.with_name(f"IM-0007-{split}.png"))
    audit = audited(clean, group_pattern=r"(IM-\d+)")
    assert found(audit) == {("leak", "patients")}
    assert audit.shared == ["IM-0007"]
    assert len(audit.table) == 4 * 70  # no film is left out of the audit


@pytest.mark.parametrize("corner", ["top left", "bottom right", "dark"])
def test_a_class_with_a_corner_tag_is_told_by_the_border(
    corner: str, clean: Path, audited: Audited
) -> None:
    for film in clean.glob("*/TURBERCULOSIS/*.png"):
        with Image.open(film) as image:
            pixels = np.array(image)
        where = slice(-6, -1) if corner == "bottom right" else slice(1, 6)
        pixels[where, where] = 0 if corner == "dark" else 255
        Image.fromarray(pixels).save(film, compress_level=0)
    audit = audited(clean)
    assert found(audit) == {("warning", "shortcuts")}
    (sentence,) = [v.sentence for v in audit.verdicts if v.level == "warning"]
    assert "border" in sentence and "TUBERCULOSIS (" in sentence and "NORMAL (" not in sentence
    assert audit.ladder is not None
    auroc = audit.ladder.estimates["border"]["auroc/TUBERCULOSIS"].value
    assert auroc is not None and auroc > 0.85


def larger(film: Path, number: int) -> None:
    with Image.open(film) as image:
        image.resize((192, 192)).save(film, compress_level=0)


def on_both_sides(film: Path, number: int) -> None:
    with Image.open(film) as image:
        image.resize(((104, 192)[number % 2],) * 2).save(film, compress_level=0)


def in_colour_mode(film: Path, number: int) -> None:
    with Image.open(film) as image:
        image.convert("RGB").save(film, compress_level=0)


def of_sixteen_bits(film: Path, number: int) -> None:
    with Image.open(film) as image:
        deep = np.asarray(image).astype(np.uint16) * 257
    Image.fromarray(deep).save(film, compress_level=0)


def as_jpeg(film: Path, number: int) -> None:
    with Image.open(film) as image:
        image.save(film.with_suffix(".jpg"), quality=95)
    film.unlink()


@pytest.mark.parametrize(
    "change", [larger, on_both_sides, in_colour_mode, of_sixteen_bits, as_jpeg]
)
def test_a_class_whose_files_differ_is_told_by_them(
    change: Callable[[Path, int], None], clean: Path, audited: Audited
) -> None:
    for number, film in enumerate(sorted(clean.glob("*/COVID19/*.png"))):
        change(film, number)
    audit = audited(clean)
    assert found(audit) == {("warning", "shortcuts")}
    (sentence,) = [v.sentence for v in audit.verdicts if v.level == "warning"]
    assert "file alone" in sentence and "tell COVID19 (1.00)" in sentence


def test_a_class_from_a_source_of_its_own_is_said(
    clean: Path, audited: Audited, tmp_path: Path
) -> None:
    lines = ["path,label,split,source"]
    for film in sorted(clean.glob("*/*/*.png")):
        split, label, _ = film.relative_to(clean).parts
        source = "archive" if label == "COVID19" else f"hospital{len(film.name) % 2}"
        lines.append(f"{film.relative_to(clean)},{label},{split},{source}")
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("\n".join(lines))
    audit = audited(clean, name="folder", manifest=manifest)
    said = [v.sentence for v in audit.verdicts if v.check == "class and source"]
    assert len(said) == 1
    assert said[0].startswith("Every COVID19 film comes from archive, and no other class does.")


def test_odd_and_unreadable_films_are_listed(clean: Path, audited: Audited) -> None:
    folder = clean / "train" / "NORMAL"
    Image.new("L", (128, 128), 3).save(folder / "black.png")
    Image.fromarray(decode(sorted(folder.glob("N*.png"))[0], 128)).resize((300, 128)).save(
        folder / "long.png"
    )
    (folder / "broken.png").write_bytes(b"no image")
    audit = audited(clean)
    assert ("warning", "files") in found(audit)
    assert list(audit.unreadable) == ["train/NORMAL/broken.png"]
    why = dict(zip(audit.odd["path"], audit.odd["why"], strict=True))
    assert why["train/NORMAL/black.png"] == "nearly one grey level, nearly black"
    assert "very long or wide" in why["train/NORMAL/long.png"]


def test_a_set_without_a_test_folder_is_split_by_patient(clean: Path, audited: Audited) -> None:
    shutil.rmtree(clean / "test")
    audit = audited(clean)
    assert any("80 to 20" in note for note in audit.notes)
    assert audit.ladder is not None and len(audit.ladder.tests) == 32
    assert found(audit) == set()


def test_copies_within_a_split_are_noted_and_in_two_folds_a_leak(
    clean: Path, audited: Audited
) -> None:
    film = films_of(clean, "NORMAL")[3]
    (clean / "test" / "NORMAL" / "copy.png").write_bytes(film.read_bytes())
    assert {v.level for v in audited(clean).verdicts if v.check == "duplicates"} == {"note"}
    of_fold = []
    for fold in range(2):
        split = SplitConfig(name="kfold", n_folds=2, fold=fold, val_fraction=0)
        audit = audited(clean, split)
        parts = set(audit.table["split"].iloc[audit.duplicates.sets[0]])
        (level,) = {v.level for v in audit.verdicts if v.check == "duplicates"}
        assert level == ("leak" if len(parts) == 2 else "note")
        of_fold.append(level)
    assert len(set(of_fold)) == 1
