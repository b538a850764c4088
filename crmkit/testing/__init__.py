"""For authors of connectors: the contract that every connector passes.

```python
class TestClose(ConnectorContract):
    @pytest.fixture
    def bench(self) -> Bench: ...
```
"""

from crmkit.testing.contract import Bench, ConnectorContract, ExpectedDeal

__all__ = ["Bench", "ConnectorContract", "ExpectedDeal"]
