"""What a conversation is to a model: its tokenizer, its chat template, tokens and labels.

It needs transformers and no torch.
"""
