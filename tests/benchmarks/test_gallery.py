"""The pictures of the gallery: images of another class with a cue, with frequencies of the map, or with a wave."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.planted import gallery
from fsjax.engine.model import Model

SIZE, POSITION = 8, (2, 7)  # on the centred plane


def wave(amplitude, phase=0.0):
    rows, columns = np.indices((SIZE, SIZE))
    angles = 2 * np.pi * ((POSITION[0] - SIZE // 2) * rows + (POSITION[1] - SIZE // 2) * columns) / SIZE
    return amplitude * np.repeat(np.cos(angles + phase)[..., None], 3, -1).astype(np.float32)


@pytest.fixture
def case():
    """The class `wavy` is seen by the energy of its wave alone; its images have one of amplitude 1."""

    def apply(params, images):
        energy = abs(jnp.fft.fft2(images.mean(-1))[:, POSITION[0] - SIZE // 2, POSITION[1] - SIZE // 2])
        return jnp.stack([jnp.zeros(len(images)), energy - SIZE**2 / 4], -1)

    rng, labels = np.random.default_rng(0), np.repeat([0, 1], 6)
    images = 0.02 * rng.standard_normal((12, SIZE, SIZE, 3)).astype(np.float32)
    with_wave = images + wave(1.0, 0.7)
    mask = np.zeros((SIZE, SIZE), bool)
    mask[POSITION] = mask[-POSITION[0] % SIZE, -POSITION[1] % SIZE] = True
    maps = SimpleNamespace(shares=(0.04,), scores=None, masks=np.stack([mask, mask])[:, None], method="graft")
    triggers = SimpleNamespace(position=np.array([(4, 5), POSITION]), amplitude=0.8)
    verdict = SimpleNamespace(kind="shortcut", share=0.04, psi=1.0, sentence="")
    result = SimpleNamespace(maps=maps, evaluation=SimpleNamespace(triggers=triggers), verdicts=[verdict, verdict])
    model = Model(apply, {}, (SIZE, SIZE, 3), ("flat", "wavy"), (np.full(3, 0.5), np.full(3, 0.2)))
    images = np.where((labels == 1)[:, None, None, None], with_wave, images)
    return gallery.Case("moire", 1, model, result, images, labels, with_wave)


def test_the_wave_of_a_trigger_is_added_at_its_frequency(case):
    case.verdict.kind = "trigger"
    np.testing.assert_allclose(case.altered(case.images, case.images), case.images + wave(0.8), atol=1e-5)
    np.testing.assert_array_equal(case.mask, case.result.maps.masks[1, 0])


def test_a_row_counts_the_images_that_become_the_class(case, monkeypatch):
    monkeypatch.setattr(gallery.Case, "mask", case.result.maps.masks[1, 0])
    assert gallery.line(5, case) == "| 5 | shortcut | 0.00 | 1.00 | 1.00 |"
    monkeypatch.setattr(gallery.Case, "mask", np.roll(case.mask, 1, 0))
    assert gallery.line(5, case).endswith("| shortcut | 0.00 | 1.00 | 0.00 |")
