"""Programs that tests run in place of `sdh.node` and `sdh.dealer`."""
