"""For authors of connectors: the contract that every connector passes.

```python
class TestClose(ConnectorContract):
    @pytest.fixture
    def bench(self) -> Bench: ...
```

A connector that writes passes `WritingContract` too, over a `WritingBench`.
"""

import pytest

# Without it a failing contract says `AssertionError` and nothing else.
pytest.register_assert_rewrite("crmkit.testing.contract", "crmkit.testing.writing")

from crmkit.testing.contract import Bench, ConnectorContract, ExpectedDeal  # noqa: E402
from crmkit.testing.samples import Samples  # noqa: E402
from crmkit.testing.writing import WritingBench, WritingContract  # noqa: E402

__all__ = ["Bench", "ConnectorContract", "ExpectedDeal", "Samples", "WritingBench", "WritingContract"]
