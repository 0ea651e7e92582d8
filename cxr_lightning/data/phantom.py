"""Phantoms: computer-generated pictures that look like chest radiographs. NOT X-rays of anyone.

Each class is drawn as its disease looks on a frontal film, all else independently of it; severity
varies, so mild cases are hard. Scores on phantoms have no medical meaning.
"""

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from scipy import ndimage

CLASSES = ("COVID19", "NORMAL", "PNEUMONIA", "TURBERCULOSIS")  # Kaggle's spelling

# Of float32, the last bit of exp and sin, in which CPUs differ, would show in the grey levels.
Plane = npt.NDArray[np.float64]
# The canvas in body units: x and y in [-1.3, 1.3], y down, the patient's left on the image's right;
# a film shows about [-1, 1]. X is a row and Y a column, so much is computed once per line.
CANVAS_PX, EXTENT = 232, 1.3
X, Y = np.meshgrid(*2 * [np.linspace(-EXTENT, EXTENT, CANVAS_PX)], sparse=True)
PX_PER_UNIT = CANVAS_PX / (2.0 * EXTENT)
GLYPHS = {"L": (8, 8, 8, 8, 15), "R": (14, 9, 14, 10, 9)}  # rows of four bits


def _step(distance: Plane, softness: float) -> Plane:
    """0 outside (distance < 0) to 1 inside, over `softness` body units."""
    t = np.clip(distance / softness + 0.5, 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def _bell(distance: Plane, width: float) -> Plane:
    return np.exp(-np.square(distance / width))


def _blob(x: float, y: float, rx: float, ry: float) -> Plane:
    return _bell(X - x, rx) * _bell(Y - y, ry)


def _clouds(rng: np.random.Generator, cells: int) -> Plane:
    """Smooth noise of mean about 0 and standard deviation 1, `cells` bumps across the canvas."""
    coarse = ndimage.zoom(rng.standard_normal((cells, cells)), CANVAS_PX / cells, order=1)
    smooth: Plane = ndimage.uniform_filter(coarse, CANVAS_PX // cells)
    return smooth / float(smooth.std())


class _Lung:
    """Where one lung is; `side` is -1 on the image's left, +1 on its right."""

    def __init__(self, side: int, width: float, apex: float, base: float) -> None:
        self.side, u = side, side * X  # u grows from the midline towards the chest wall
        self.depth: Plane = np.clip((Y - apex) / (base - apex), 0.0, 1.0)
        wall = width * (0.36 + 0.42 * np.sqrt(self.depth * (2.0 - self.depth)))
        roof = apex + 1.5 * np.square(u - 0.33)
        dome = base - 0.08 + np.where(u > 0.34 * width, 1.1, 0.45) * np.square(u - 0.34 * width)
        within = _step(wall - u, 0.05) * _step(Y - roof, 0.05) * _step(dome - Y, 0.03)
        self.mask = within * _step(u - 0.10, 0.08)  # 0..1, soft edges
        self.rim: Plane = np.clip(u / wall, 0.0, 1.2)  # 0 at the midline, 1 at the chest wall


def _bones(rng: np.random.Generator, width: float) -> Plane:
    """Density of the ribs' back and front arcs, the clavicles and the vertebrae."""
    u = np.abs(X)
    spacing, start, droop = rng.uniform(0.155, 0.185), rng.uniform(), rng.uniform(0.02, 0.16)

    def arcs(curve: Plane, half_width: float) -> Plane:
        phase = (Y - curve) / spacing + start
        offset = np.abs(phase - np.floor(phase) - 0.5) * spacing
        return _step(half_width - offset, 0.02) + 0.6 * _bell(offset - half_width, 0.012)

    cage = _step(0.84 * width * np.sqrt(np.clip(Y + 1.0, 0.05, 1.0)) - u, 0.06)
    cage *= _step(u - 0.07, 0.04) * _step(Y + 0.85, 0.1) * _step(0.75 - Y, 0.2)
    back = arcs(0.75 * np.square(u - 0.18), 0.036) * (1.0 - 0.35 * u)
    front = arcs(0.07 - 0.55 * u + 0.9 * np.square(u - 0.2), 0.042) * _step(u - 0.30, 0.3)
    clavicle = _bell(-0.60 - droop * u + 0.05 * np.sin(7.0 * u) - Y, 0.030)
    clavicle *= _step(u - 0.09, 0.05) * _step(0.85 - u, 0.1)
    spine = _step(0.085 - u, 0.03) * (0.95 + 0.17 * np.cos(2.0 * np.pi * Y / 0.15))
    return (0.055 * back + 0.030 * front) * cage + 0.14 * clavicle + 0.08 * spine


def _vessels(rng: np.random.Generator, hilum_y: float) -> Plane:
    """Branching lines, 0..1, that leave both hila and taper towards the chest wall."""
    picture = Image.new("L", (CANVAS_PX, CANVAS_PX))
    pen = ImageDraw.Draw(picture)
    trunks, steps = 12, 14
    for side in (-1.0, 1.0):
        start = np.tile([side * 0.17, hilum_y], (trunks, 1))
        heading = np.linspace(-1.45, 1.45, trunks) + rng.normal(0.0, 0.14, trunks)
        for order, (length, grey) in enumerate(((0.046, 190), (0.034, 115), (0.028, 100))):
            bend = heading[:, None] + np.cumsum(rng.normal(0.0, 0.16, (trunks, steps)), axis=1)
            moves = length * np.stack([side * np.cos(bend), np.sin(bend)], axis=-1)
            path = start[:, None, :] + np.cumsum(moves, axis=1)
            for points in ((path + EXTENT) * PX_PER_UNIT).reshape(trunks, -1).tolist():
                pen.line(points[:10], fill=grey, width=max(1, 3 - order))
                pen.line(points[8:], fill=grey * 3 // 4, width=1)
            start = path[:, 3 + 2 * order]
            heading = bend[:, 3] + rng.choice([-0.6, 0.6], trunks)
    drawn = np.asarray(picture, dtype=np.float64) / 255.0
    return ndimage.gaussian_filter(drawn, 0.8)  # type: ignore[no-any-return]


def _disease(label: str, rng: np.random.Generator, lungs: list[_Lung], vessels: Plane) -> Plane:
    """Density that the class adds to the lungs or, inside a cavity, takes from them."""
    added = np.zeros((CANVAS_PX, CANVAS_PX))
    severity, one_lung = rng.uniform(0.35, 1.0), lungs[int(rng.integers(2))]
    if label == "COVID19":
        for lung in lungs:
            zone = _step(lung.rim - 0.62, 0.5) * _step(lung.depth - rng.uniform(0.35, 0.55), 0.5)
            patches = np.clip(0.7 + 0.6 * _clouds(rng, 9), 0.0, 1.6)
            added += (0.12 + 0.18 * severity) * zone * patches * lung.mask
    elif label == "PNEUMONIA":
        fissure = rng.uniform(0.42, 0.58) + rng.uniform(-0.25, 0.25) * (one_lung.rim - 0.5)
        into_lobe = (one_lung.depth - fissure) * (-1.0 if rng.random() < 0.4 else 1.0)
        lobe = _step(into_lobe, 0.04) * _step(0.25 + 0.5 * severity - into_lobe, 0.25)
        solid = np.clip(1.0 + 0.15 * _clouds(rng, 12), 0.6, 1.4)
        solid -= (0.5 if rng.random() < 0.5 else 0.0) * vessels  # air bronchograms
        added += (0.20 + 0.20 * severity) * lobe * solid * one_lung.mask
    elif label == "TURBERCULOSIS":
        for lung in lungs if rng.random() < 0.5 else [one_lung]:
            for _ in range(int(rng.integers(5, 11))):
                x, y = lung.side * rng.uniform(0.22, 0.55), rng.uniform(-0.62, -0.18)
                radius = rng.uniform(0.03, 0.065)
                added += (0.14 + 0.18 * severity) * _blob(x, y, radius, radius) * lung.mask
            if rng.random() < 0.4 + 0.4 * severity:
                x, y = lung.side * rng.uniform(0.28, 0.48), rng.uniform(-0.52, -0.25)
                away = np.hypot(X - x, (Y - y) * rng.uniform(0.8, 1.2))
                radius = rng.uniform(0.07, 0.13)
                cavity = _bell(away - radius, 0.03) - 0.35 * _step(radius - away, 0.04)
                added += (0.14 + 0.16 * severity) * cavity * lung.mask
    return added


def draw_patient(label: str, rng: np.random.Generator) -> Plane:
    """One patient's density on the canvas, 0 (air) to about 1 (bone over heart)."""
    width, apex = rng.uniform(0.92, 1.06), rng.uniform(-0.84, -0.78)
    base, hilum_y = rng.uniform(0.46, 0.58), rng.uniform(-0.12, 0.02)
    # The liver lifts the dome on the patient's right, the image's left.
    lungs = [_Lung(-1, width, apex, base - 0.05), _Lung(1, width, apex, base)]
    vessels = _vessels(rng, hilum_y)
    u, in_lung = np.abs(X), lungs[0].mask + lungs[1].mask
    size, tilt = rng.uniform(0.88, 1.12), rng.uniform(0.45, 0.75)
    x, y = X - 0.12, Y - (base - 0.25)
    along, across = np.cos(tilt) * x + np.sin(tilt) * y, np.cos(tilt) * y - np.sin(tilt) * x
    heart = _step(1.0 - np.hypot(along / (0.37 * size), across / (0.27 * size)), 0.2)
    vertical = _step(0.16 + 0.05 * np.clip(Y, -0.5, 0.4) - np.abs(X - 0.015), 0.07)
    aorta = 0.8 * _blob(0.12, -0.33, 0.10, 0.12)
    centre = np.clip(np.maximum(heart, vertical) + aorta, 0.0, 1.0)
    shoulder = np.clip((Y + 1.12) / 0.42, 0.0, 1.0)
    torso = _step(0.29 + (0.80 * width + 0.1) * shoulder**0.7 - 0.24 * shoulder - u, 0.05)
    soft = 0.60 + 0.03 * _clouds(rng, 6) - 0.10 * _step(u - 0.86 * width, 0.3)
    soft += 0.07 * centre + 0.10 * _step(Y - base, 0.3)
    # The trachea, and gas in the stomach.
    soft -= 0.12 * _bell(X - 0.01, 0.035) * _step(-0.28 - Y, 0.1)
    soft -= rng.uniform(0.0, 0.25) * (_blob(0.38, base + 0.16, 0.18, 0.08) * (1.0 - in_lung))

    air = 0.40 - 0.03 * _clouds(rng, 10) - 0.12 * vessels
    air -= 0.12 * (_blob(-0.19, hilum_y, 0.09, 0.17) + _blob(0.19, hilum_y - 0.03, 0.09, 0.16))
    # Breast shadows and scars occur in every class: haze or one spot alone proves nothing.
    if rng.random() < 0.4:
        away = np.hypot((u - 0.46) / 0.32, (Y - rng.uniform(0.18, 0.34)) / 0.26)
        air -= rng.uniform(0.02, 0.08) * _step(1.0 - away, 0.25)
    for _ in range(int(rng.integers(0, 3))):
        scar_x, scar_y = rng.choice([-1.0, 1.0]) * rng.uniform(0.2, 0.6), rng.uniform(-0.5, 0.35)
        air -= rng.uniform(0.04, 0.12) * _blob(scar_x, scar_y, *rng.uniform(0.02, 0.07, 2))
    lesion = _disease(label, rng, lungs, vessels) * (1.0 - 0.8 * centre)
    bones = _bones(rng, width) * (1.0 - 0.3 * centre)
    return torso * (soft - in_lung * (1.0 - 0.9 * centre) * air + lesion + bones)


def expose(patient: Plane, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Take one film of a patient: everything here is nuisance and knows nothing of the class."""
    height = int(rng.integers(200, 321))
    width = int(np.clip(height * rng.uniform(0.8, 1.25), 200, 320))
    scale = 2.0 * rng.uniform(0.92, 1.06) / np.sqrt(height * width) * PX_PER_UNIT
    angle = np.deg2rad(rng.uniform(-7.0, 7.0))
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = CANVAS_PX / 2.0 + rng.uniform(-0.05, 0.05, 2) * PX_PER_UNIT
    corner = middle - turn @ np.array([height / 2.0, width / 2.0])
    film: Plane = ndimage.affine_transform(patient, turn, corner, (height, width), order=1)
    film = np.clip(film, 0.0, 1.2) ** rng.uniform(0.85, 1.2)
    film = rng.uniform(0.88, 1.12) * film + rng.uniform(-0.04, 0.06)
    film = ndimage.gaussian_filter(film, rng.uniform(0.3, 1.1), truncate=3.0)
    film += rng.uniform(0.005, 0.02) * rng.standard_normal((height, width))
    if rng.random() < 0.7:
        # The technician's lead letter, in the upper corner on the patient's L or R side.
        letter = "LR"[int(rng.integers(2))]
        bits = np.array([[row >> bit & 1 for bit in (3, 2, 1, 0)] for row in GLYPHS[letter]])
        glyph = np.kron(bits, np.ones(2 * [int(rng.integers(2, 5))], dtype=np.int64)) == 1
        top, margin = int(height * rng.uniform(0.07, 0.14)), int(width * rng.uniform(0.07, 0.10))
        left = width - margin - glyph.shape[1] if letter == "L" else margin
        film[top : top + glyph.shape[0], left : left + glyph.shape[1]][glyph] = rng.uniform(
            0.8, 1.0
        )
    if rng.random() < 0.5:  # the collimator's shadow
        top, bottom, left, right = rng.integers(0, 1 + int(0.06 * min(height, width)), 4)
        shadow = np.ones(film.shape, dtype=bool)
        shadow[top : height - bottom, left : width - right] = False
        film[shadow] = rng.uniform(0.0, 0.12)
    return np.rint(255.0 * np.clip(film, 0.0, 1.0)).astype(np.uint8)
