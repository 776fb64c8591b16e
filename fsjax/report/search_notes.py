"""What a search recorded in the provenance of its maps, in sentences."""

from collections import Counter

from fsjax.fourier.dfm import WHOLE_PATCHES, DominantFrequencyMaps
from fsjax.search import method_for_maps, patch_maps


def search_notes(maps: DominantFrequencyMaps, share: float) -> list[str]:
    """Return sentences about a search, some of them about the maps at one share."""
    provenance, notes = maps.provenance, []
    if "imported" in provenance:
        origin = provenance["imported"]
        notes.append(
            f"These maps were imported from {origin['path']} "
            f"(SHA-256 {origin['sha256'][:12]}…), made by {origin['method']}."
        )
    if method_for_maps(maps).whole_patches:
        patch = provenance.get(WHOLE_PATCHES, provenance.get("fields", {}).get("search.patch", 1))
        notes += patch_maps.few(maps.shares, maps.masks.shape[2:], patch)
    if "chosen" in provenance:
        index = maps.shares.index(share)
        chosen = Counter(of_class[index] for of_class in provenance["chosen"])
        learned = chosen.pop("learned", 0)
        others = ", ".join(f"{name} ({count})" for name, count in chosen.most_common()) or "none"
        notes.append(
            f"At {100 * share:g} % the learned mask was the best candidate for {learned} of {len(maps.classes)} "
            f"classes; masks chosen in its place: {others}."
        )
    if "stages" in provenance:
        stages = ", ".join(f"{stage['candidates']} of patch {stage['patch']}" for stage in provenance["stages"])
        notes.append(f"Candidates of each stage: {stages}.")
    if "positions_kept" in provenance:
        positions = provenance["positions_kept"]
        notes.append(f"Greedy removal kept {min(positions)} to {max(positions)} positions a class.")
    return notes
