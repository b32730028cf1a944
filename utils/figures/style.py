"""The style of all figures: colours, dashes and sizes."""

# Okabe and Ito's colours, which colour-blind readers can distinguish; without yellow, too pale for a line on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)), (0, (3, 1, 1, 1, 1, 1)))
MARKERS = "osD^vPX*<>"  # one for each of ten classes
STYLE = {
    "figure.dpi": 80,  # a notebook shows twice as many, see utils/notebook.py
    "figure.figsize": (7.0, 4.0),  # inches
    "figure.constrained_layout.use": True,
    "figure.facecolor": "white",  # also readable on a dark page
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.titlelocation": "left",
    "axes.labelsize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#DDDDDD",
    "lines.linewidth": 2.0,
    "lines.markersize": 5.0,
    "legend.frameon": False,
    "image.interpolation": "nearest",
}


def signed(value: float, digits: int = 1) -> str:
    """Return a number with its sign, with a minus sign as on matplotlib's axes; one that rounds to 0 has no sign."""
    text = f"{value:+.{digits}f}"
    return text.replace("-", "\N{MINUS SIGN}") if text.strip("+-0.") else text[1:]
