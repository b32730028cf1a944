"""Recipes, and the function that trains one (notebooks 04 and 06): the five reported systems, ours, and your own."""

from utils.recipes.choices import CHOICES
from utils.recipes.load import load_run
from utils.recipes.ours import ABLATIONS, GATED, OURS, WITHOUT_GATE, find_system
from utils.recipes.pretrained import load_pretrained, pretrained_record
from utils.recipes.recipe import PROTOCOLS, Recipe
from utils.recipes.reported import SYSTEMS, WITHOUT_SOFTMAX
from utils.recipes.tables import C_ROWS, D_ROWS
from utils.recipes.train import Trained, train_recipe

__all__ = [
    "ABLATIONS",
    "CHOICES",
    "C_ROWS",
    "D_ROWS",
    "GATED",
    "OURS",
    "PROTOCOLS",
    "SYSTEMS",
    "WITHOUT_GATE",
    "WITHOUT_SOFTMAX",
    "Recipe",
    "Trained",
    "find_system",
    "load_pretrained",
    "load_run",
    "pretrained_record",
    "train_recipe",
]
