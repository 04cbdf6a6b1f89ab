"""A Hugging Face Hub: how it is asked, and what its errors mean; needs huggingface_hub."""
