"""What a text is worth: metrics, filters, comparisons, and the decoding lab."""
