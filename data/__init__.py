"""Where examples come from: corpora, tokenizers, renderers and input pipelines."""
