"""The variants that benchmarks measure are of this code, and their tables in docs are of them."""

from pathlib import Path
from pkgutil import resolve_name

import pandas as pd
import pytest

from benchmarks import ablation, transfer
from utils.presets import get_preset

DOCS = Path(__file__).parent.parent / "docs"
TABLES = {"ablation": (ablation.VARIANTS, "grader"), "transfer": (transfer.VARIANTS, "choice")}
VARIANTS = [*ablation.VARIANTS.values(), *transfer.VARIANTS.values()]
REPLACED = sorted({name for variant in VARIANTS for name in variant.training | variant.inference})


@pytest.mark.parametrize("name", REPLACED)
def test_what_a_variant_replaces_is_where_it_says(name):
    assert resolve_name(name) is not None


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_a_variant_sets_is_a_setting(variant):
    variant.preset(get_preset("demo"))  # TypeError for a field that a preset does not have


@pytest.mark.parametrize("table", TABLES)
def test_the_table_in_docs_has_a_row_for_each_variant_in_their_order(table):
    variants, column = TABLES[table]
    rows = pd.read_csv(DOCS / f"{table}.csv")[column]
    assert list(dict.fromkeys(rows)) == list(variants)
