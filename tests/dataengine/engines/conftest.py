"""A random Llama of about 1M parameters, small enough to be asked for every token of a test."""

from pathlib import Path

import pytest

from tests.tiny_model import save_llama

TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@pytest.fixture(scope="session")
def random_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the model, and a byte-level tokenizer with a chat template."""
    # Peaked enough that no two tokens are ever nearly as likely.
    config = {"max_position_embeddings": 512, "initializer_range": 0.2}
    texts = ["user and assistant make a sum of two numbers"] * 20
    return save_llama(tmp_path_factory.mktemp("random-llama"), TEMPLATE, texts, 300, **config)
