"""The centred Fourier plane in NumPy float64, from the definition."""

import numpy as np


def spectra(images):
    """F x of images [..., H, W, C]."""
    return np.fft.fftshift(np.fft.fft2(np.asarray(images, float), axes=(-3, -2)), axes=(-3, -2))


def power(images):
    """Mean |F x|^2 over images [n, H, W, C] and channels: [H, W]."""
    return (np.abs(spectra(images)) ** 2).mean((0, 3))


def real(centred):
    """Re F^-1 of a plane [..., H, W, C]."""
    return np.fft.ifft2(np.fft.ifftshift(centred, axes=(-3, -2)), axes=(-3, -2)).real


def filtered(images, masks):
    """Images [n, H, W, C] under masks [..., H, W]: [..., n, H, W, C]."""
    return real(spectra(images) * np.asarray(masks)[..., None, :, :, None])
