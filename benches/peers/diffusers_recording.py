"""diffusers as it comes, or with a hook that records cross-attention; says when each step is done.

    python benches/peers/diffusers_recording.py plain|daam|keep MODEL f32|bf16 STEPS PIXELS GUIDANCE PROMPT

`daam` sums the conditional half's maps over steps, for each layer of the down and up blocks and each head, and at the
end brings them to the latent's size (bicubic), clamps them at zero and averages (Tang et al. 2023). `keep` moves the
maps of both halves to the CPU at every step and keeps all of them.
"""

import math
import sys

import torch
from diffusers import DDIMScheduler, DiffusionPipeline

mode, model, dtype, steps, pixels, guidance, prompt = sys.argv[1:]
pixels = int(pixels)
SMALLEST_DAAM_FACTOR_LEFT_OUT = 8


def say(text):
    print(text, file=sys.stderr, flush=True)


class Recording:
    """An attention processor that computes attention in the open and shows its probabilities."""

    def __init__(self, show):
        self.show = show

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, temb=None, **_):
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query, key, value = attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context)
        query, key, value = (attn.head_to_batch_dim(x) for x in (query, key, value))
        probs = attn.get_attention_scores(query, key, attention_mask)
        self.show(probs.unflatten(0, (-1, attn.heads)))
        hidden_states = attn.batch_to_head_dim(torch.bmm(probs, value))
        return attn.to_out[1](attn.to_out[0](hidden_states))


class Summed:
    """Maps of the conditional half, summed over steps."""

    def __init__(self, latent):
        self.latent, self.sums = latent, {}

    def of_layer(self, name):
        def show(probs):
            cond = probs[probs.shape[0] // 2:] if float(guidance) != 1.0 else probs
            side = math.isqrt(cond.shape[2])
            if self.latent // side >= SMALLEST_DAAM_FACTOR_LEFT_OUT:
                return
            maps = cond.transpose(2, 3).unflatten(3, (side, side)).float()
            self.sums[name] = self.sums[name] + maps if name in self.sums else maps
        return show

    def finish(self):
        size = (self.latent, self.latent)
        upscaled = [torch.nn.functional.interpolate(sum.flatten(0, 1), size=size, mode="bicubic").clamp(min=0)
                    for sum in self.sums.values()]
        return torch.cat(upscaled).mean(0)


class Kept:
    """All maps of all steps."""

    def __init__(self):
        self.maps = {}

    def of_layer(self, name):
        def show(probs):
            self.maps.setdefault(name, []).append(probs.detach().float().cpu().clone())
        return show

    def finish(self):
        return sum(x.numel() for maps in self.maps.values() for x in maps)


def hooked(unet, record):
    def processor(name, old):
        reads_prompt = "attn2" in name
        wanted = reads_prompt and not (mode == "daam" and name.startswith("mid_block"))
        return Recording(record.of_layer(name)) if wanted else old

    unet.set_attn_processor({name: processor(name, old) for name, old in unet.attn_processors.items()})


def main():
    dtypes = {"f32": torch.float32, "bf16": torch.bfloat16}
    pipe = DiffusionPipeline.from_pretrained(model, dtype=dtypes[dtype])
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    record = {"plain": lambda: None, "daam": lambda: Summed(pixels // pipe.vae_scale_factor), "keep": Kept}[mode]()
    if record is not None:
        hooked(pipe.unet, record)
    encoded = iter([lambda: say("prompts encoded")])
    pipe.unet.register_forward_pre_hook(lambda *_: next(encoded, lambda: None)())

    def step_done(_pipe, step, _timestep, values):
        say(f"step {step + 1} of {steps} done")
        return values

    pipe(prompt, num_inference_steps=int(steps), guidance_scale=float(guidance), height=pixels, width=pixels,
         generator=torch.Generator().manual_seed(0), callback_on_step_end=step_done)
    if record is not None:
        record.finish()


main()
