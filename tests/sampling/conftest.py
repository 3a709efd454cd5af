"""Makes naive_sampling.py, which stands beside the tests, importable however pytest is started."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
