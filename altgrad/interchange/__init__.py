"""Models that travel: Hugging Face's formats in and out, adapters merged, an endpoint to ask."""
