"""The ten figures of the synthetic images: functions for their shapes, and the figures and colours as data."""

import numpy as np


def unit(a):
    """Clip to 0..1."""
    return np.minimum(np.maximum(a, 0), 1)


def fold(pick, arrays):
    """Reduce float32 planes with np.minimum (union of shapes) or np.maximum (intersection)."""
    first, *rest = arrays
    for other in rest:
        first = pick(first, other)
    return first


# Shapes: the distance of points (x, y) from an outline, negative inside. One unit is half a figure; y points down.


def ellipse(x, y, cx, cy, rx, ry):
    """Return the distance from an ellipse of radii rx, ry, to first order: implicit function / norm of its gradient."""
    x, y = (x - cx) * (1 / rx), (y - cy) * (1 / ry)
    gx, gy = x * (1 / rx), y * (1 / ry)
    return (x * x + y * y - 1) / (2 * np.sqrt(gx * gx + gy * gy) + 1e-3)


def limb(x, y, ax, ay, bx, by, ra, rb):
    """Return the distance from a rounded stroke from a to b, with radius ra at a and rb at b."""
    x, y, dx, dy = x - ax, y - ay, bx - ax, by - ay
    length2 = dx * dx + dy * dy
    t = unit(x * (dx / length2) + y * (dy / length2))
    x, y = x - t * dx, y - t * dy
    return np.sqrt(x * x + y * y) - (t * (rb - ra) + ra)


def polygon(x, y, *corners):
    """Return the distance from a convex polygon, given as x, y, x, y and so on, clockwise on the screen."""
    xs, ys = corners[0::2], corners[1::2]
    edges = []
    for x0, y0, x1, y1 in zip(xs, ys, xs[1:] + xs[:1], ys[1:] + ys[:1], strict=True):
        nx, ny = y1 - y0, x0 - x1
        scale = 1 / np.sqrt(nx * nx + ny * ny)
        nx, ny = nx * scale, ny * scale
        edges.append(x * nx + (y * ny - (x0 * nx + y0 * ny)))
    return fold(np.maximum, edges)


def box(x, y, cx, cy, hx, hy):
    """Return the distance from an upright rectangle of half sides hx, hy."""
    return np.maximum(np.abs(x - cx) - hx, np.abs(y - cy) - hy)


# Figures, facing right: layers from back to front, each a role (which colour) and the shapes that share it.

# fmt: off
FIGURES = {
    "airplane": (  # from above
        ("body", (polygon, .28, 0, -.12, 0, -.50, -.88, -.28, -.88), (polygon, -.12, 0, .28, 0, -.28, .88, -.50, .88),
                 (polygon, -.60, 0, -.84, 0, -.96, -.36, -.82, -.36),
                 (polygon, -.84, 0, -.60, 0, -.82, .36, -.96, .36)),
        ("dark", (limb, -.12, -.42, .08, -.42, .07, .07), (limb, -.12, .42, .08, .42, .07, .07)),
        ("body", (limb, -.86, 0, .78, 0, .06, .13)),
        ("dark", (ellipse, .72, 0, .09, .09)),
    ),
    "automobile": (
        ("body", (polygon, -.56, -.02, -.34, -.40, .22, -.40, .52, -.02), (limb, -.74, .16, .76, .18, .20, .18)),
        ("light", (polygon, -.44, -.04, -.28, -.31, -.06, -.31, -.06, -.04),
                  (polygon, .04, -.04, .04, -.31, .18, -.31, .38, -.04)),
        ("dark", (ellipse, -.50, .36, .22, .22), (ellipse, .50, .36, .22, .22)),
        ("light", (ellipse, -.50, .36, .09, .09), (ellipse, .50, .36, .09, .09)),
        ("accent", (ellipse, .86, .12, .06, .07)),
    ),
    "bird": (
        ("dark", (limb, -.08, .30, -.12, .80, .04, .04), (limb, .14, .30, .14, .80, .04, .04)),
        ("accent", (polygon, .66, -.54, 1.0, -.38, .66, -.24)),
        ("body", (ellipse, 0, .10, .52, .36), (limb, .20, .05, .44, -.30, .30, .20), (ellipse, .48, -.38, .27, .26),
                 (polygon, -.30, -.10, -.20, .26, -.96, .02, -.90, -.26)),
        ("trim", (limb, .10, .04, -.42, .16, .20, .06)),
        ("dark", (ellipse, .55, -.44, .06, .06)),
    ),
    "cat": (  # sitting, seen from the front
        ("body", (limb, .40, .75, .74, .30, .09, .06), (ellipse, 0, .55, .40, .42), (ellipse, 0, -.22, .54, .44)),
        ("trim", (polygon, -.52, -.25, -.50, -.92, -.06, -.55), (polygon, .06, -.55, .50, -.92, .52, -.25)),
        ("body", (ellipse, 0, -.22, .50, .40)),
        ("light", (ellipse, -.22, -.28, .12, .10), (ellipse, .22, -.28, .12, .10), (ellipse, 0, -.02, .22, .15)),
        ("dark", (ellipse, -.22, -.28, .05, .10), (ellipse, .22, -.28, .05, .10), (ellipse, 0, -.09, .09, .06),
                 (limb, -.20, -.02, -.62, -.08, .02, .01), (limb, .20, -.02, .62, -.08, .02, .01)),
    ),
    "deer": (
        ("body", (limb, -.50, .10, -.56, .88, .10, .05), (limb, -.36, .10, -.32, .88, .10, .05),
                 (limb, .20, .15, .16, .88, .09, .05), (limb, .30, .15, .38, .88, .09, .05),
                 (ellipse, -.10, .16, .52, .25), (limb, .26, .08, .48, -.38, .18, .10),
                 (limb, .46, -.42, .76, -.30, .13, .07), (limb, .40, -.44, .22, -.50, .06, .03)),
        ("accent", (limb, .46, -.50, .28, -.92, .045, .03), (limb, .38, -.70, .14, -.76, .035, .03),
                   (limb, .52, -.50, .68, -.94, .045, .03), (limb, .59, -.70, .86, -.74, .035, .03)),
        ("light", (ellipse, -.64, .06, .09, .12)),
        ("dark", (ellipse, .56, -.42, .045, .045), (ellipse, .82, -.29, .05, .05)),
    ),
    "dog": (  # the cat's seat and tail, with hanging ears and a muzzle
        ("body", (limb, .40, .75, .74, .30, .09, .06), (ellipse, 0, .55, .40, .42), (ellipse, 0, -.26, .48, .46)),
        ("trim", (limb, -.40, -.54, -.56, -.04, .12, .16), (limb, .40, -.54, .56, -.04, .12, .16)),
        ("light", (ellipse, 0, -.02, .24, .20)),
        ("accent", (limb, 0, .12, 0, .22, .07, .07)),
        ("dark", (ellipse, -.19, -.36, .075, .085), (ellipse, .19, -.36, .075, .085), (ellipse, 0, -.10, .11, .08)),
    ),
    "frog": (  # sitting, seen from the front
        ("body", (ellipse, -.62, .46, .30, .30), (ellipse, .62, .46, .30, .30), (ellipse, 0, .26, .60, .46),
                 (ellipse, 0, -.08, .70, .40), (ellipse, -.40, -.46, .25, .27), (ellipse, .40, -.46, .25, .27)),
        ("light", (ellipse, 0, .46, .38, .24), (ellipse, -.40, -.50, .16, .17), (ellipse, .40, -.50, .16, .17)),
        ("dark", (ellipse, -.40, -.50, .08, .09), (ellipse, .40, -.50, .08, .09),
                 (limb, -.46, -.02, 0, .10, .03, .035), (limb, 0, .10, .46, -.02, .035, .03)),
        ("trim", (limb, -.26, .50, -.34, .74, .09, .12), (limb, .26, .50, .34, .74, .09, .12)),
    ),
    "horse": (
        ("trim", (limb, -.58, 0, -.82, .56, .09, .06)),
        ("dark", (limb, .10, -.20, .40, -.72, .12, .10)),
        ("body", (limb, -.50, .10, -.56, .86, .13, .06), (limb, -.34, .10, -.30, .86, .13, .06),
                 (limb, .20, .15, .16, .86, .12, .06), (limb, .32, .15, .40, .86, .12, .06),
                 (ellipse, -.10, .10, .56, .29), (limb, .26, 0, .52, -.52, .24, .14),
                 (limb, .50, -.58, .82, -.32, .16, .10), (polygon, .42, -.66, .44, -.92, .56, -.66)),
        ("dark", (ellipse, .60, -.56, .045, .045), (ellipse, .86, -.28, .05, .05)),
    ),
    "ship": (
        ("dark", (limb, .02, .30, .02, -.90, .04, .035)),
        ("light", (polygon, .10, -.82, .70, .16, .10, .16)),
        ("trim", (polygon, -.06, -.66, -.06, .16, -.56, .16)),
        ("body", (polygon, -.92, .28, .94, .28, .62, .70, -.66, .70)),
        ("accent", (polygon, -.92, .28, .94, .28, .86, .38, -.82, .38)),
    ),
    "truck": (
        ("body", (polygon, .36, -.20, .66, -.20, .86, .08, .86, .42, .36, .42)),
        ("accent", (box, -.30, -.12, .62, .46)),
        ("light", (polygon, .46, -.10, .62, -.10, .75, .10, .46, .10)),
        ("dark", (box, 0, .40, .86, .07), (ellipse, -.50, .46, .20, .20), (ellipse, .56, .46, .20, .20)),
        ("light", (ellipse, -.50, .46, .08, .08), (ellipse, .56, .46, .08, .08)),
    ),
}

# From dark to light; indices are taken modulo its length. Body and accent are at least GAP steps from the background.
PALETTE = np.float32([
    (.08, .09, .14), (.10, .16, .38), (.32, .10, .16), (.10, .30, .22), (.38, .24, .14), (.42, .20, .48),
    (.14, .42, .60), (.74, .22, .20), (.30, .52, .24), (.50, .50, .52), (.86, .48, .20), (.40, .66, .78),
    (.90, .62, .66), (.66, .80, .46), (.94, .82, .40), (.93, .92, .88),
])
GAP = 4
# fmt: on
