"""`hierarchical`: frequency sets that suffice together, searched from coarse patches to fine (HFSS)."""
