"""Networks (notebook 02): the gated block, the reported networks and ours; counting and drawing of any network."""

from utils.models.blocks import Branches, ConstantGate, GatedBlock, initialise, make_gate
from utils.models.count import depth, find_gates, flops, network_table, parameters
from utils.models.gated import FORMS, GatedConv, choose_form, set_form
from utils.models.our_networks import OUR_NETWORKS
from utils.models.reported_networks import ASSUMPTIONS, REPORTED_NETWORKS
from utils.models.summary import summarise
from utils.models.table_networks import TABLE_NETWORKS

NETWORKS = REPORTED_NETWORKS | OUR_NETWORKS | TABLE_NETWORKS  # every network that a recipe can name

__all__ = [
    "ASSUMPTIONS",
    "FORMS",
    "NETWORKS",
    "REPORTED_NETWORKS",
    "Branches",
    "ConstantGate",
    "GatedBlock",
    "GatedConv",
    "choose_form",
    "depth",
    "draw_block",
    "draw_network",
    "find_gates",
    "flops",
    "initialise",
    "make_gate",
    "network_table",
    "parameters",
    "set_form",
    "summarise",
]


def __getattr__(name):
    if name in ("draw_block", "draw_network"):  # imported when used, since matplotlib is slow to import
        from utils.models import draw

        return getattr(draw, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
