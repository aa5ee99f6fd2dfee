import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_home():
    """The folder of real data sets; laid out as `data.mirrors` describes. Only read."""
    folder = os.environ.get("DDBIAS_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("DDBIAS_DATA does not name a folder with real data sets")
    return Path(folder).resolve()
