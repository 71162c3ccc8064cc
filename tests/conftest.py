from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def _float64_one_thread() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    yield
    torch.set_default_dtype(before)
