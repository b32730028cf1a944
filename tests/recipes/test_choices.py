"""The alternatives that are tried on held-out images: each changes something."""

import collections

from utils.recipes import ABLATIONS, C_ROWS, CHOICES, D_ROWS, OURS, SYSTEMS, WITHOUT_SOFTMAX

BASES = OURS | SYSTEMS | {WITHOUT_SOFTMAX.name: WITHOUT_SOFTMAX}
RECIPES = [recipe for alternatives in CHOICES.values() for recipe in alternatives.values()]


def test_the_first_one_is_the_recipe_and_all_others_differ_from_it_and_from_each_other():
    for name, alternatives in CHOICES.items():
        first, *others = alternatives.values()
        assert first.describe() == BASES[name].describe()
        described = [recipe.describe() | {"name": None} for recipe in (first, *others)]
        assert all(described.count(facts) == 1 for facts in described)
        assert all(recipe.name.startswith(f"{name}_") and recipe.views == "plain" for recipe in others)


def test_no_two_recipes_share_a_name():
    rows = [row.recipe for row in (*C_ROWS, *D_ROWS)]
    others = [recipe for recipe in (*BASES.values(), *ABLATIONS.values(), *rows) if recipe.name not in CHOICES]
    counts = collections.Counter(recipe.name for recipe in (*RECIPES, *others))
    assert max(counts.values()) == 1


def test_a_changed_network_can_be_made_and_takes_images():
    networks = {}  # the first recipe with each network
    for recipe in RECIPES:
        networks.setdefault((recipe.network, str(recipe.network_settings)), recipe)
    changed = [recipe for recipe in networks.values() if recipe.name not in BASES]
    assert len(changed) >= 10 and all(recipe.macs() > 10_000_000 for recipe in changed)
