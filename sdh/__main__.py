"""`python -m sdh` is the command `sdh`."""

from sdh.cli import main

main()
