"""From logits to the next token: settings, processors, constraints, the choice itself, stopping and measuring.

Pure: values in, values out. Nothing here loads a model or knows of the engine. `config` and `errors` import no torch.
"""
