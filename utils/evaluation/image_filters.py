"""Blurs and distortions of batches of small images (n, channels, size, size), float64, for corruptions.py.

A filter along one side of an image is a matrix (size, size): `both_sides(matrix, X)` applies it to rows and columns.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F


def both_sides(matrix, X):
    """Apply a matrix to the columns and to the rows of each image."""
    return matrix @ X @ matrix.T


def mirror(positions, size):
    """Fold positions outside an image back into it; the pixel at the edge counts twice: 1 0 | 0 1 2 ... ."""
    positions = positions % (2 * size)
    return torch.minimum(positions, 2 * size - 1 - positions)


def mirror_without_edge(positions, size):
    """Fold positions outside an image back into it; the pixel at the edge counts once: 2 1 | 0 1 2 ... ."""
    positions = positions % (2 * size - 2)
    return torch.minimum(positions, 2 * size - 2 - positions)


def repeat_edge(positions, size):
    """Replace positions outside an image by the nearest one inside."""
    return positions.clamp(0, size - 1)


def gaussian_matrix(size, sigma, truncate, fold):
    """Return the matrix of a Gaussian blur, cut off after truncate * sigma pixels; fold: what lies outside."""
    radius = int(truncate * sigma + 0.5)
    if radius == 0:
        return torch.eye(size, dtype=torch.float64)
    offsets = torch.arange(-radius, radius + 1)
    weights = (-(offsets.double() ** 2) / (2 * sigma**2)).exp()
    positions = fold(torch.arange(size)[:, None] + offsets, size)
    matrix = torch.zeros(size, size, dtype=torch.float64)
    return matrix.scatter_add_(1, positions, (weights / weights.sum()).expand(size, -1))


def zoom_matrix(size, factor):
    """Return the matrix that enlarges the middle of an image by a factor from 1 on, with linear interpolation.

    The middle has a whole number of pixels, and its first and last pixel keep their colour.
    """
    part = math.ceil(size / factor)
    enlarged = round(part * factor)
    positions = torch.arange(enlarged, dtype=torch.float64) * ((part - 1) / (enlarged - 1))
    start = (enlarged - size) // 2
    positions = positions[start : start + size].clamp(max=part - 1)
    before = positions.floor().clamp(max=part - 2)
    share = (positions - before)[:, None]
    columns = (before.long() + (size - part) // 2)[:, None]
    matrix = torch.zeros(size, size, dtype=torch.float64)
    return matrix.scatter_add_(1, columns, 1 - share).scatter_add_(1, columns + 1, share)


def disk_blur(X, radius, blur):
    """Blur with a disk, the shape that a point out of focus has; `blur` (sigma) softens the edge of the disk."""
    reach = math.floor(radius) + 2  # with room for the soft edge
    squares = torch.arange(-reach, reach + 1).double() ** 2
    disk = (squares[:, None] + squares <= radius**2).double()
    soft = gaussian_matrix(len(squares), blur, 1.0 / blur, mirror_without_edge)  # three pixels wide for any blur
    kernel = both_sides(soft, disk / disk.sum())
    channels = X.shape[1]
    padded = F.pad(X, (reach,) * 4, mode="reflect")
    return F.conv2d(padded, kernel.expand(channels, 1, -1, -1), groups=channels)


def motion_blur(X, radius, sigma, degrees):
    """Blur each image along its own direction, as ImageMagick does, and round to levels of 255.

    It is the mean of copies that are moved further and further, with weights that fall like a Gaussian.
    """
    size = X.shape[-1]
    steps = torch.arange(2 * radius + 1).double()
    weights = (-(steps**2) / (2 * sigma**2)).exp()
    weights = weights / weights.sum()
    positions, angle = torch.arange(size), degrees.deg2rad()
    blurred = torch.zeros_like(X)
    for step, weight in zip(steps, weights, strict=True):
        down, right = ((step * share - 0.5).ceil().long()[:, None] for share in (angle.sin(), angle.cos()))
        rows, columns = repeat_edge(positions + down, size), repeat_edge(positions + right, size)
        blurred += weight * pick(X, rows[:, :, None], columns[:, None, :])
    return (255 * blurred).round() / 255


def pick(X, rows, columns):
    """Return images whose pixel (i, j) is the old pixel (rows[b, i, j], columns[b, i, j]) of image b."""
    count, channels, height, width = X.shape
    indices = (rows * width + columns).expand(count, height, width).reshape(count, 1, -1)
    return X.reshape(count, channels, -1).gather(2, indices.expand(-1, channels, -1)).view_as(X)


def sample(X, rows, columns, fold):
    """Return images whose pixel (i, j) is the old colour at (rows[b, i, j], columns[b, i, j]), which are fractions."""
    size = X.shape[-1]
    sampled = torch.zeros_like(X)
    above, left = rows.floor(), columns.floor()
    for down in (0, 1):
        for right in (0, 1):
            weight = (1 - (rows - above - down).abs()) * (1 - (columns - left - right).abs())
            at = (fold((above + down).long(), size), fold((left + right).long(), size))
            sampled += weight[:, None] * pick(X, *at)
    return sampled
