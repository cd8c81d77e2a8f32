"""A node that does not come up."""

import sys

print("Traceback (most recent call last):", file=sys.stderr)
print("OSError: no such island", file=sys.stderr)
sys.exit(3)
