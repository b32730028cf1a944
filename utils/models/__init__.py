"""Networks (notebook 02): the gated block, the reported networks and ours; counting and drawing of any network."""

from utils.models.basic_layers import TemperatureSoftmax
from utils.models.blocks import BlindGate, Branches, ConstantGate, GatedBlock, initialise, make_gate
from utils.models.count import depth, find_gates, macs, network_table, parameters
from utils.models.gated import GatedConv
from utils.models.our_networks import OUR_NETWORKS
from utils.models.reported_networks import ASSUMPTIONS, REPORTED_NETWORKS
from utils.models.source import sources_of
from utils.models.summary import summarise
from utils.models.table_networks import TABLE_NETWORKS

NETWORKS = REPORTED_NETWORKS | OUR_NETWORKS | TABLE_NETWORKS  # every network that a recipe can name

__all__ = [
    "ASSUMPTIONS",
    "NETWORKS",
    "REPORTED_NETWORKS",
    "BlindGate",
    "Branches",
    "ConstantGate",
    "GatedBlock",
    "GatedConv",
    "TemperatureSoftmax",
    "depth",
    "draw_block",
    "draw_network",
    "draw_networks",
    "edit_kernel",
    "find_gates",
    "initialise",
    "macs",
    "make_gate",
    "network_table",
    "parameters",
    "sources_of",
    "summarise",
]


def __getattr__(name):
    # These are imported when used, since matplotlib and ipywidgets are slow to import.
    if name in ("draw_block", "draw_network", "draw_networks"):
        from utils.models import draw

        return getattr(draw, name)
    if name == "edit_kernel":
        from utils.models.kernel_editor import edit_kernel

        return edit_kernel
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
