"""S1-mini's codec: recorded voices to codes, and codes to sound as they come."""

import hashlib
import threading
from collections.abc import Mapping
from functools import partial
from importlib.resources import files
from typing import Any

import numpy as np
import soxr
import torch
import yaml
from torch import Tensor, nn

from deployments.audio import Pcm
from deployments.tts.openaudio.checkpoint import Checkpoint
from deployments.tts.openaudio.stand_ins import codec_modules

_OWN_SIZES = "codec.yaml"
_WEIGHTS = "codec.pth"


class Codec:
    """The codec's modules with their weights; float32."""

    def __init__(self, checkpoint: Checkpoint, device: torch.device) -> None:
        sizes = _sizes(checkpoint)
        with codec_modules() as (self.dac, self.rvq):
            with torch.device("meta"):
                self.model: Any = _built(sizes, self.dac, self.rvq)
            _load(self.model, checkpoint)
            _fold_weight_norms(self.model)
        self.model = self.model.eval().float().requires_grad_(requires_grad=False).to(device)
        self.device = device
        self.sample_rate = int(self.model.sample_rate)
        self.frame_samples = int(self.model.frame_length)
        self.codebooks = 1 + int(sizes["quantizer"]["n_codebooks"])
        self.codebook_sizes = (
            int(sizes["quantizer"]["semantic_codebook_size"]),
            int(sizes["quantizer"]["codebook_size"]),
        )
        self.longest_frames = int(self.model.quantizer.post_module.config.block_size)
        self.encoder = f"s1-{_digest(checkpoint)}"
        self.turn = threading.Lock()
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def encode(self, audio: Pcm) -> Tensor:
        """A recording at any rate: its codes, [codebooks, frames]."""
        samples = np.frombuffer(audio.samples, "<i2").astype(np.float32) / 32_768
        if audio.sample_rate != self.sample_rate:
            samples = soxr.resample(samples, audio.sample_rate, self.sample_rate)
        with self.turn, torch.inference_mode(), torch.cuda.stream(self.stream):
            wave = torch.from_numpy(np.ascontiguousarray(samples)).to(self.device)[None, None]
            codes, _ = self.model.encode(wave, torch.tensor([wave.shape[-1]], device=self.device))
            return codes[0].long().cpu()


class SoundStream:
    """Decodes one utterance window by window; the sound is that of one decode of the whole.

    The codec is causal. Every convolution is given what it saw last, and every layer of attention the
    keys in its window, so no frame is decoded twice.
    """

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._past: dict[nn.Module, Any] = {}
        self._position = 0

    def decode(self, codes: Tensor) -> np.ndarray:
        """The next frames, [codebooks, n]: n * 2048 samples of float32."""
        codec = self._codec
        with codec.turn, torch.inference_mode(), torch.cuda.stream(codec.stream):
            x = self._latents(codes.to(codec.device)[None])
            self._position += codes.shape[1]
            return self._through(codec.model.decoder.model, x)[0, 0].cpu().numpy()

    def _latents(self, codes: Tensor) -> Tensor:
        quantizer = self._codec.model.quantizer
        semantic, residual = self._codec.codebook_sizes
        x = quantizer.semantic_quantizer.from_codes(codes[:, :1].clamp(max=semantic - 1))[0]
        x = x + quantizer.quantizer.from_codes(codes[:, 1:].clamp(max=residual - 1))[0]
        return self._through(quantizer.upsample, self._transformed(quantizer.post_module, x))

    def _transformed(self, transformer: Any, x: Tensor) -> Tensor:
        x = transformer.input_proj(x.transpose(1, 2))
        here = torch.arange(self._position, self._position + x.shape[1], device=x.device)
        seen = torch.arange(
            max(0, self._position - transformer.window_size + 1), int(here[-1]) + 1, device=x.device
        )
        mask = (seen <= here[:, None]) & (seen > here[:, None] - transformer.window_size)
        rope = transformer.freqs_cis[here]
        for layer in transformer.layers:
            attended = self._attended(layer.attention, layer.attention_norm(x), rope, mask)
            x = x + layer.attention_layer_scale(attended)
            x = x + layer.ffn_layer_scale(layer.feed_forward(layer.ffn_norm(x)))
        return transformer.output_proj(transformer.norm(x)).transpose(1, 2)

    def _attended(self, attention: Any, x: Tensor, rope: Tensor, mask: Tensor) -> Tensor:
        shape = (1, x.shape[1], attention.n_head, attention.head_dim)
        q, k, v = (part.view(shape) for part in attention.wqkv(x).chunk(3, dim=-1))
        turn = self._codec.dac.apply_rotary_emb
        q, k, v = (part.transpose(1, 2) for part in (turn(q, rope), turn(k, rope), v))
        if (past := self._past.get(attention)) is not None:
            k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)
        k, v = k[:, :, -mask.shape[1] :], v[:, :, -mask.shape[1] :]
        self._past[attention] = k, v
        y = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return attention.wo(y.transpose(1, 2).reshape(1, x.shape[1], -1))

    def _through(self, module: Any, x: Tensor) -> Tensor:
        dac, rvq = self._codec.dac, self._codec.rvq
        match module:
            case nn.Sequential():
                y = x
                for part in module:
                    y = self._through(part, y)
            case dac.DecoderBlock():
                y = self._through(module.block, x)
            case dac.ResidualUnit():
                y = x + self._through(module.block, x)
            case dac.CausalConvNet() | rvq.CausalConvNet():
                y = module.conv(self._with_past(module, x, module.padding))
            case dac.CausalTransConvNet() | rvq.CausalTransConvNet():
                overlap = module.kernel_size // module.stride - 1
                y = module.conv(self._with_past(module, x, overlap))[..., overlap * module.stride :]
                y = y[..., : x.shape[-1] * module.stride]
            case rvq.ConvNeXtBlock():
                y = self._through(module.dwconv, x).transpose(1, 2)
                y = module.pwconv2(module.act(module.pwconv1(module.norm(y))))
                y = x + (module.gamma * y).transpose(1, 2)
            case _:
                y = module(x)
        return y

    def _with_past(self, module: nn.Module, x: Tensor, count: int) -> Tensor:
        """Values with the `count` values before it, which are zeros at the beginning."""
        if count == 0:
            return x
        past = self._past.get(module)
        if past is None:
            past = x.new_zeros((*x.shape[:-1], count))
        x = torch.cat([past, x], dim=-1)
        self._past[module] = x[..., -count:]
        return x


def _sizes(checkpoint: Checkpoint) -> dict[str, Any]:
    """fish-speech's sizes of S1-mini's codec, or the folder's own for another size of it."""
    packaged = files("fish_speech").joinpath("configs/modded_dac_vq.yaml")
    sizes: dict[str, Any] = yaml.safe_load(packaged.read_text(encoding="utf-8"))
    if checkpoint.has(_OWN_SIZES):
        try:
            own = yaml.safe_load(checkpoint.file(_OWN_SIZES).read_text(encoding="utf-8"))
            sizes = _overlaid(sizes, own)
        except (yaml.YAMLError, TypeError, ValueError) as error:
            raise checkpoint.wrong(f"{_OWN_SIZES}: {error}") from None
    return sizes


def _overlaid(sizes: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers in the place of numbers; nothing that `sizes` has not."""
    merged = dict(sizes)
    for name, value in own.items():
        if name not in sizes or name.startswith("_"):
            raise ValueError(f"there is no size '{name}'")
        if isinstance(sizes[name], Mapping):
            merged[name] = _overlaid(sizes[name], value)
        elif isinstance(value, int | float | list):
            merged[name] = value
        else:
            raise TypeError(f"'{name}' is not a number")
    return merged


def _plain(sizes: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments without `_target_`; YAML takes 1e-5 for a text."""
    return {
        name: float(value) if isinstance(value, str) else value
        for name, value in sizes.items()
        if not name.startswith("_")
    }


def _built(sizes: dict[str, Any], dac: Any, rvq: Any) -> nn.Module:
    def transformer(of: Mapping[str, Any]) -> nn.Module:
        return dac.WindowLimitedTransformer(
            **{**_plain(of), "config": dac.ModelArgs(**_plain(of["config"]))}
        )

    quantizer = _plain(sizes["quantizer"])
    quantizer["post_module"] = transformer(quantizer["post_module"])
    quantizer["pre_module"] = transformer(quantizer["pre_module"])
    whole = _plain(sizes)
    whole["quantizer"] = rvq.DownsampleResidualVectorQuantize(**quantizer)
    whole["transformer_general_config"] = partial(
        dac.ModelArgs, **_plain(sizes["transformer_general_config"])
    )
    return dac.DAC(**whole)


def _load(model: nn.Module, checkpoint: Checkpoint) -> None:
    """Masks are left out: they are 0.3 GB, and every call brings its own."""
    for module in model.modules():
        if hasattr(module, "causal_mask"):
            module.register_buffer("causal_mask", None)
    weights = checkpoint.weights(_WEIGHTS)
    if any(name.startswith("generator.") for name in weights):
        weights = {
            name.removeprefix("generator."): tensor
            for name, tensor in weights.items()
            if name.startswith("generator.")
        }
    weights = {name: each for name, each in weights.items() if not name.endswith("causal_mask")}
    checkpoint.fill(model, _WEIGHTS, weights)


def _fold_weight_norms(model: nn.Module) -> None:
    for module in model.modules():
        if nn.utils.parametrize.is_parametrized(module, "weight"):
            nn.utils.parametrize.remove_parametrizations(module, "weight")
        elif hasattr(module, "weight_g"):
            nn.utils.remove_weight_norm(module)


def _digest(checkpoint: Checkpoint) -> str:
    with checkpoint.file(_WEIGHTS).open("rb") as weights:
        return hashlib.file_digest(weights, "sha256").hexdigest()[:16]
