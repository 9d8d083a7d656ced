"""Layer 5: learning algorithms, one readable file each."""
