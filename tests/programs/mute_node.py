"""A node that comes up and says nothing."""

import sys

sys.stdin.buffer.read()
