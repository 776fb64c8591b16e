"""Labels of a prepared TFDS split, kept in the user's cache: reading them takes a pass over all records."""

import hashlib
import json
import logging

import numpy as np
from jaxtyping import Int32
from tensorflow_datasets.core.data_sources import base

from fsjax.runtime import files, storage, user_cache
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path

logger = logging.getLogger(__name__)

_AT_ONCE = 1024


def read(records: base.BaseDataSource, where: str) -> Int32[np.ndarray, " records"]:
    """Return the label of each record.

    A later call takes them from the cache as long as the record files have the same names, sizes and times. Where the
    cache cannot be used, they are read again.

    Args:
      records: of a split, each with a 'label'.
      where: what the log calls the split.
    """
    kept = _kept(records)
    if kept is not None and kept.exists():
        try:
            labels = files.map_npy(kept)
            if labels.dtype == np.int32 and labels.shape == (len(records),):
                return np.array(labels)
        except (InputError, OSError) as error:
            logger.warning("%s: kept labels cannot be read, so the records are: %s", where, error)
    logger.info("%s: reading the labels of %d images", where, len(records))
    labels = np.empty(len(records), np.int32)
    for start in range(0, len(records), _AT_ONCE):
        part = range(start, min(start + _AT_ONCE, len(records)))
        labels[part.start : part.stop] = [record["label"] for record in records.__getitems__(part)]
    if kept is not None:
        try:
            files.write_npy(kept, labels)
        except OSError as error:
            logger.warning("%s: labels are not kept for the next start: %s", where, error)
    return labels


def _kept(records: base.BaseDataSource) -> Path | None:
    """Return the file of the cache for these records; None where there is no cache, or nothing tells a change."""
    try:
        parts = []
        for part in base.file_instructions(records.dataset_info, records.split):
            found = storage.path(str(part.filename)).stat()
            parts.append([str(part.filename), part.skip, part.take, found.st_size, found.st_mtime])
        digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
        return user_cache.folder("tfds_labels") / f"{digest}.npy"
    except (OSError, RuntimeError, InputError):  # RuntimeError: there is no home folder
        return None
