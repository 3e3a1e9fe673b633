"""Training: examples with masks, the loss, the loop, tokenizers. Import the modules; nothing heavy is imported here."""
