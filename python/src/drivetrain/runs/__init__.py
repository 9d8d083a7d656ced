"""Layer 7: runs seen from outside: store, status, resources, advice, tracking. No torch."""
