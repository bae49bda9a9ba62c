"""Models small enough to be made and trained in a test. They know nothing."""

from pathlib import Path
from typing import Any

TEMPLATE = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are helpful<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def numbered_sums(count: int, first: int = 0) -> list[dict[str, Any]]:
    """Synthetic rows: one-digit sums whose answer stands at the end of the reply."""
    rows = []
    for i in range(first, first + count):
        a, b = i % 10, (i // 10) % 10
        reply = f"<think>{a} and {b} make {a + b}{', so it is' * (i % 5)}</think>\nThe answer is {a + b}."
        rows.append({"question": f"What is {a} + {b}?", "reply": reply})
    return rows


def save_tiny_model(folder: Path) -> Path:
    """One with SmolLM2's kind of chat template, which can be trained on `numbered_sums`, in a folder."""
    texts = [f"system\nYou are helpful\nuser\n{r['question']}assistant\n{r['reply']}\n\n" for r in numbered_sums(100)]
    return save_llama(folder, TEMPLATE, texts, 400, max_position_embeddings=1024, tie_word_embeddings=True)


def save_llama(folder: Path, template: str, texts: list[str], vocab_size: int, **config: Any) -> Path:
    """A random Llama with a byte-level tokenizer made of `texts`, in a folder; 1M parameters by default."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<|im_start|>", eos_token="<|im_end|>", pad_token="<|im_end|>"
    )
    tokenizer.chat_template = template
    torch.manual_seed(7)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=2,
            **{
                "hidden_size": 128,
                "intermediate_size": 384,
                "num_hidden_layers": 4,
                "num_attention_heads": 4,
                "num_key_value_heads": 2,
                **config,
            },
        )
    )
    model.generation_config = GenerationConfig(bos_token_id=1, eos_token_id=2, pad_token_id=2)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
