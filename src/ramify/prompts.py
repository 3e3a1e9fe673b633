"""The two prompts of document 004, to the letter: raw texts whose control tokens count as such."""

__all__ = ["HEDGEHOG", "PAYMENT"]

HEDGEHOG = (
    "<|im_start|>system\nYou are a storyteller. Generate a story based on user message.<|im_end|>\n"
    "<|im_start|>user\nGenerate me a short story about a tiny hedgehog named Sonic.<|im_end|>\n"
    "<|im_start|>assistant\n"
)

PAYMENT = (
    '<|im_start|>system\nYou are a strict JSON machine. Generate only a JSON with format {"contractor": name, "sum": decimal, '
    '"currency": currency code} based on user message. You prohibited to discuss. Only return dict in json format.<|im_end|>\n'
    "<|im_start|>user\nTransfer 100 rubles to Mike<|im_end|>\n"
    "<|im_start|>assistant\n"
)
