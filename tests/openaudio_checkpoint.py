"""A random checkpoint in OpenAudio S1-mini's own layout, small or of full size.

`codec.yaml` of the small one is the one file that S1-mini has not: its codec's sizes are fish-speech's own.
"""

import base64
import json
from pathlib import Path
from typing import Any

import torch
import yaml

from deployments.tts.openaudio.checkpoint import DualArConfig
from deployments.tts.openaudio.model import DualAr
from deployments.tts.openaudio.stand_ins import codec_modules

# What a log of the real model shows (fishaudio/fish-speech, issue 1052).
S1_MINI: dict[str, Any] = {
    "model_type": "dual_ar",
    "vocab_size": 155776,
    "n_layer": 28,
    "n_head": 16,
    "dim": 1024,
    "intermediate_size": 3072,
    "n_local_heads": 8,
    "head_dim": 128,
    "rope_base": 1000000,
    "norm_eps": 1e-6,
    "max_seq_len": 8192,
    "dropout": 0.0,
    "tie_word_embeddings": False,
    "attention_qkv_bias": False,
    "attention_o_bias": False,
    "attention_qk_norm": True,
    "codebook_size": 4096,
    "num_codebooks": 10,
    "use_gradient_checkpointing": True,
    "initializer_range": 0.03125,
    "is_reward_model": False,
    "scale_codebook_embeddings": True,
    "n_fast_layer": 4,
    "fast_dim": 1024,
    "fast_n_head": 16,
    "fast_n_local_heads": 8,
    "fast_head_dim": 64,
    "fast_intermediate_size": 3072,
    "fast_attention_qkv_bias": False,
    "fast_attention_qk_norm": False,
    "fast_attention_o_bias": False,
}
_SPECIALS = [
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|pad|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|phoneme_start|>",
    "<|phoneme_end|>",
    "<|tool_call_start|>",
    "<|tool_call_end|>",
    "<|text|>",
    "<|voice|>",
    "<|interleave|>",
    "<|audio_start|>",
    "<|audio_end|>",
    "<|audio|>",
]
_CODES = 256
_LOUDNESS = 0.06  # of full scale
_RANKS = 256
_S1_RANKS = 151_643
SMALL: dict[str, Any] = S1_MINI | {
    "vocab_size": -(-(_RANKS + len(_SPECIALS) + _CODES) // 64) * 64,
    "n_layer": 2,
    "n_head": 4,
    "n_local_heads": 2,
    "head_dim": 16,
    "dim": 64,
    "intermediate_size": 128,
    "max_seq_len": 4096,
    "codebook_size": _CODES,
    "n_fast_layer": 2,
    "fast_dim": 64,
    "fast_n_head": 4,
    "fast_n_local_heads": 2,
    "fast_head_dim": 16,
    "fast_intermediate_size": 128,
}


def write_checkpoint(
    folder: Path, *, end_of_speech: float = -40.0, seed: int = 0, full_size: bool = False
) -> Path:
    """Write it; `end_of_speech` is the weight of the last token: at -40 it never comes, at 5 soon."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(seed)
    config, ranks = (S1_MINI, _S1_RANKS) if full_size else (SMALL, _RANKS)
    (folder / "tokenizer.tiktoken").write_text(_ranks(ranks))
    names = [*_SPECIALS, *(f"<|semantic:{code}|>" for code in range(config["codebook_size"]))]
    (folder / "special_tokens.json").write_text(
        json.dumps({name: ranks + index for index, name in enumerate(names)})
    )
    (folder / "config.json").write_text(json.dumps(config, indent=4))
    weights = _model_weights(config, ranks, generator, end_of_speech)
    torch.save(weights, folder / "model.pth")
    sizes = {} if full_size else _codec_sizes()
    if sizes:
        (folder / "codec.yaml").write_text(yaml.safe_dump(sizes))
    torch.save(_codec_weights(sizes, generator), folder / "codec.pth")
    return folder


def _ranks(count: int) -> str:
    """All bytes, and words of three bytes that nobody writes."""
    words = [bytes([n]) if n < 256 else n.to_bytes(3, "big") for n in range(count)]
    return "".join(f"{base64.b64encode(word).decode()} {n}\n" for n, word in enumerate(words))


def _model_weights(
    config: dict[str, Any], ranks: int, generator: torch.Generator, end_of_speech: float
) -> dict[str, torch.Tensor]:
    """Random, but only tokens of sound come out.

    Dimension 0 of the residual stream is constant through every layer, and the output rows read it: text
    and padding get a logit far below the others (an id above the last code has no embedding).
    """
    with torch.device("meta"):
        shapes = DualAr(DualArConfig.model_validate(config)).state_dict()
    weights: dict[str, torch.Tensor] = {}
    for name, shape in shapes.items():
        spread = 0.03
        if name in ("embeddings.weight", "codebook_embeddings.weight"):
            spread = 0.5
        elif name == "output.weight":
            spread = 0.1
        elif name.startswith("layers") and "attention.w" in name:
            spread = 0.2
        weight = torch.empty(shape.shape).normal_(0, spread, generator=generator)
        weights[name] = (torch.ones(shape.shape) if shape.ndim == 1 else weight).bfloat16()
    weights["embeddings.weight"][:, 0] = 2.0
    weights["codebook_embeddings.weight"][:, 0] = 0.0
    for layer in range(config["n_layer"]):
        weights[f"layers.{layer}.attention.wo.weight"][0] = 0
        weights[f"layers.{layer}.feed_forward.w2.weight"][0] = 0
    output = weights["output.weight"]
    output[:, 0] = -40.0
    first = ranks + len(_SPECIALS)
    output[first : first + config["codebook_size"], 0] = 0.0
    end = ranks + _SPECIALS.index("<|im_end|>")
    output[end, 1:] = 0
    output[end, 0] = end_of_speech
    return weights


def _codec_sizes() -> dict[str, Any]:
    transformer = {
        "input_dim": 64,
        "config": {
            "block_size": 1024,
            "n_layer": 2,
            "n_head": 1,
            "dim": 64,
            "intermediate_size": 128,
        },
    }
    return {
        "encoder_dim": 4,
        "encoder_transformer_layers": [0, 0, 0, 1],
        "decoder_dim": 32,
        "decoder_transformer_layers": [0, 0, 0, 0],
        "transformer_general_config": {"block_size": 2048},
        "quantizer": {
            "input_dim": 64,
            "codebook_size": _CODES,
            "semantic_codebook_size": _CODES,
            "post_module": transformer,
            "pre_module": transformer,
        },
    }


def _codec_weights(sizes: dict[str, Any], generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Random; made audible, since an untrained last convolution answers next to nothing."""
    from deployments.tts.openaudio import codec

    with codec_modules() as (dac, rvq), torch.random.fork_rng():
        torch.manual_seed(generator.initial_seed())
        model: Any = codec._built(codec._overlaid(_packaged_sizes(), sizes), dac, rvq)
    with torch.no_grad():
        for quantizer in (
            *model.quantizer.semantic_quantizer.quantizers,
            *model.quantizer.quantizer.quantizers,
        ):
            quantizer.codebook.weight.mul_(3)
        for layer in model.quantizer.post_module.layers:  # as trained ones, which add more than 1 %
            layer.attention_layer_scale.gamma.fill_(0.5)
            layer.ffn_layer_scale.gamma.fill_(0.5)
        model.eval()
        codes = torch.randint(0, _CODES, (1, 10, 40), generator=generator)
        sound = model.decoder.model[:-1](model.quantizer.decode(codes))
        last = model.decoder.model[-2].conv
        last.bias.sub_(sound.mean()).mul_(_LOUDNESS / sound.std())
        last.parametrizations.weight.original0.mul_(_LOUDNESS / sound.std())
    return model.state_dict()


def _packaged_sizes() -> dict[str, Any]:
    from importlib.resources import files

    text = files("fish_speech").joinpath("configs/modded_dac_vq.yaml").read_text()
    return yaml.safe_load(text)
