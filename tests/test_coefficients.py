"""The container: packing, arithmetic, scales, mosaics and scalograms."""

import numpy as np
import pytest
import torch

import wam

SHAPES = {1: (41,), 2: (33, 40), 3: (16, 18, 17)}


def coefficients(ndim, name="db2", levels=2):
    return wam.Wavelet(name, levels, ndim).analysis(torch.randn(2, 3, *SHAPES[ndim], dtype=torch.float64))


@pytest.mark.parametrize("ndim", SHAPES)
def test_pack_and_unpack_are_inverse_and_coarse_comes_first(ndim):
    z = coefficients(ndim)
    flat, spec = z.pack()
    assert flat.shape == (2, 3, z.size)
    first = next(iter(z.bands.values()))
    assert torch.equal(flat[..., : first[0, 0].numel()], first.flatten(2))
    again = wam.Coefficients.unpack(flat, spec)
    assert all(torch.equal(again.bands[key], band) for key, band in z.bands.items())
    with pytest.raises(ValueError, match=f"expected .batch, channels, {z.size}"):
        wam.Coefficients.unpack(flat[..., 1:], spec)


@pytest.mark.parametrize("ndim", SHAPES)
def test_scales_partition_the_coefficients(ndim):
    z = coefficients(ndim)
    assert z.scales == ("approx", 2, 1)
    parts = [z.level(scale) for scale in z.scales]
    assert (parts[0] + parts[1] + parts[2] - z).pack()[0].abs().max() == 0
    sums = torch.stack([part.pack()[0].flatten(1).sum(1) for part in parts], dim=1)
    torch.testing.assert_close(z.scale_sums(), sums)
    with pytest.raises(ValueError, match="no scale 3"):
        z.level(3)


def test_arithmetic():
    z = coefficients(2)
    flat = z.pack()[0]
    for result, expected in [
        (z + z, 2 * flat),
        (2 * z - z, flat),
        (1 + z, flat + 1),
        (-z / 2, -flat / 2),
        (abs(z), flat.abs()),
        (z * z, flat**2),
        (z[1], flat[1:]),
        (z[-1], flat[1:]),
        (z[:1], flat[:1]),
    ]:
        torch.testing.assert_close(result.pack()[0], expected)
    assert z.to(torch.float32).dtype == torch.float32 and len(z) == 2
    for result, expected in [(1 - z, 1 - flat), (np.float32(2) * z, 2 * flat), (z[np.int64(1)], flat[1:])]:
        torch.testing.assert_close(result.pack()[0], expected)
    for wrong in (2, -3, [0, 2], torch.tensor([True, False, True])):
        with pytest.raises(IndexError):
            z[wrong]
    with pytest.raises(TypeError, match="integers, a slice or a mask, not 0.5"):
        z[0.5]
    with pytest.raises(ValueError, match="different layouts"):
        z + coefficients(2, "haar")


def test_containers_cannot_be_changed():
    z = coefficients(1)
    with pytest.raises(TypeError):
        z.bands[1, "detail"] = 0
    with pytest.raises(AttributeError):
        z.shape = (1,)
    with pytest.raises(ValueError, match="at least one band"):
        wam.Coefficients({}, (1,))
    with pytest.raises(ValueError, match="of one dtype"):
        wam.Coefficients({(0, "a"): torch.ones(1, 1, 2), (1, "b"): torch.ones(2, 1, 2)}, (4,))
    with pytest.raises(ValueError, match="of one dtype; they differ or are short"):
        wam.Coefficients({(0, "a"): torch.ones(1, 1, 2), (1, "b"): torch.ones(1, 1)}, (4,))


@pytest.mark.parametrize("several", [list, tuple, np.array, torch.tensor])
def test_samples_are_chosen_by_indices_and_by_masks(several):
    """A mask of booleans is not read as the indices 0 and 1."""
    z = wam.Pixel().analysis(torch.arange(4.0).view(4, 1, 1))
    for chosen, expected in (([False, True, False, True], [1, 3]), ([3, -4], [3, 0]), ([False] * 4, []), ([2], [2])):
        assert z[several(chosen)].pack()[0].flatten().tolist() == expected
    assert len(z[several([])]) == 0


@pytest.mark.parametrize("name", ["haar", "db4"])
def test_a_mosaic_holds_every_coefficient_once(name):
    z = wam.Wavelet(name, 2, 2).analysis(torch.randn(1, 2, 37, 64, dtype=torch.float64))
    mosaic, blocks = z.mosaic(fill=torch.nan), z.mosaic_blocks()
    assert mosaic.isfinite().sum() == 2 * z.size
    for key, band in z.bands.items():
        assert torch.equal(mosaic[(..., *blocks[key])], band)
    assert blocks[1, "vertical"][1].start > 0 and blocks[1, "vertical"][0].start == 0


def test_haar_mosaics_are_as_large_as_the_input():
    assert coefficients(2).mosaic().shape > (2, 3, 33, 40)
    for shape in ((32, 64), (16, 8, 24)):
        z = wam.Wavelet("haar", 3, len(shape)).analysis(torch.randn(1, 1, *shape))
        assert z.mosaic().shape[2:] == shape
    assert wam.Pixel().analysis(torch.ones(1, 1, 5, 6)).mosaic().shape == (1, 1, 5, 6)


def test_a_scalogram_places_coefficients_in_time():
    """A click is seen at its own sample in every level, also with a long wavelet on an odd length."""
    for name, length in (("haar", 128), ("db4", 201)):
        for click in (40, 77):
            x = torch.zeros(1, 1, length)
            x[..., click] = 1
            rows = wam.Wavelet(name, 3, 1).analysis(x).scalogram()[0, 0].abs()
            assert rows.shape == (4, length)
            for scale, row in zip((3, 3, 2, 1), rows):
                assert abs(row.argmax().item() - click) <= 2 ** (scale + 1), (name, scale)


def test_layouts_without_a_picture_say_so():
    with pytest.raises(ValueError, match="scalogram"):
        coefficients(1).mosaic()
    with pytest.raises(ValueError, match="mosaic"):
        coefficients(2).scalogram()
    with pytest.raises(ValueError, match="mosaic needs bands"):
        wam.Fourier(2, 2).analysis(torch.ones(1, 1, 8, 8)).mosaic()
