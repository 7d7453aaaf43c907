"""Speed and cost, measured side by side: ``python -m benchmarks``. Nothing here is a test."""
