"""A graph that scales in seconds, for tests: down at once, up as in `configs/cluster.yaml`."""

from pathlib import Path

from tests.serve.cluster import derived_config

MOST, PARALLEL = 4, 3  # replicas of the language model, and what each writes at a time
LLM, INGRESS, TTS = (f"ray::ServeReplica:speech:{each}" for each in ("llm", "dialogue", "tts"))

_QUICK = {
    "metrics_interval_s": 1,
    "look_back_period_s": 5,
    "upscale_delay_s": 2,
    "downscale_delay_s": 2,
}
_REPLY = " ".join(f"Word {number}." for number in range(20))


def elastic_graph(folder: Path) -> Path:
    """The model scales from 1 to 4, the ingress from 1 to 2 by its work, the voice from 0 to 1."""
    light = {
        "num_replicas": None,
        "graceful_shutdown_timeout_s": 60,
        "graceful_shutdown_wait_loop_s": 0.5,
        "ray_actor_options": {"num_cpus": 0.1},
    }
    llm = {"min_replicas": 1, "max_replicas": MOST, "target_ongoing_requests": PARALLEL}
    ingress = {
        "min_replicas": 1,
        "max_replicas": 2,
        "target_ongoing_requests": 6,
        "policy": {"policy_function": "serve_app.scaling:by_work"},
    }
    voice = {"min_replicas": 0, "max_replicas": 1, "downscale_to_zero_delay_s": 2}
    return derived_config(
        folder / "elastic.yaml",
        {
            "speech": {
                "llm": {
                    "reply": _REPLY,
                    "tokens_per_s": 10.0,
                    "first_token_s": 0.0,
                    "parallel": PARALLEL,
                },
                "may_sleep": ["tts"],
                # Those who come before the replicas do wait, and are not sent away.
                "admission": {"bulk_wait_s": 60.0},
                "timeouts": {"tts_first_audio_s": 60.0},
            }
        },
        {
            "llm": {**light, "autoscaling_config": {**_QUICK, **llm}},
            "dialogue": {**light, "autoscaling_config": {**_QUICK, **ingress}},
            "tts": {**light, "autoscaling_config": {**_QUICK, **voice}},
        },
    )
