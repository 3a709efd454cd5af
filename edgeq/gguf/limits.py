"""Limits of the GGUF reader and writer: what breaks one is refused before anything is allocated.

All are far above what real files hold (the largest vocabularies have 262,144 entries and headers of 16 MB).
"""

from __future__ import annotations

MAX_HEADER = 256 << 20  # bytes of metadata and tensor table
MAX_KEYS = 1 << 16  # metadata entries
MAX_TENSORS = 1 << 17  # tensors in one file
MAX_STRINGS = 1 << 22  # strings in arrays, over all metadata of a file
MAX_KEY_BYTES = 65_535  # length of a metadata key, as the specification has it
MAX_NAME_BYTES = 64  # length of a tensor name, as the specification has it
MAX_DIMS = 4
MAX_DIM = (1 << 63) - 1  # GGML keeps dimensions in int64
MAX_PARTS = 1024  # files of a split model

DEFAULT_ALIGNMENT = 32
MIN_ALIGNMENT = 8
MAX_ALIGNMENT = 1 << 20

MIN_KEY_ENTRY = 14  # length 8, key 1, type 4, value 1
MIN_TENSOR_ENTRY = 25  # length 8, name 1, dimension count 4, type 4, offset 8
