"""The look of all figures: colours, dashes and sizes."""

# Okabe and Ito's colours can be told apart by colour-blind readers. Yellow is too pale for a line
# on white and left out.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)), (0, (3, 1, 1, 1, 1, 1)))
STYLE = {
    "figure.dpi": 80,  # a notebook shows twice as many, see utils/notebook.py
    "figure.figsize": (7.0, 4.0),  # inches
    "figure.constrained_layout.use": True,
    "figure.facecolor": "white",  # readable on a dark page, too
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
