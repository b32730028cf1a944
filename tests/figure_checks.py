"""Owns what every figure must keep, whatever it shows. Holds no tests."""


def check_whole(figure):
    """Assert that the figure says what it found, and that nothing of it is cut off at its edge."""
    assert figure.get_suptitle() == "Finding"
    figure.draw_without_rendering()
    inside = figure.get_tightbbox().extents * figure.dpi
    assert inside[0] >= -1 and inside[1] >= -1, inside
    assert inside[2] <= figure.bbox.x1 + 1 and inside[3] <= figure.bbox.y1 + 1, inside
