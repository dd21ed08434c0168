# syntax=docker/dockerfile:1
# The service on NVIDIA GPUs. From the repository's root:
#   docker build -f deploy/docker/cuda.Dockerfile -t gemmavoice:cuda .
# Packages of the distribution are its newest: its mirrors keep no others (hadolint's DL3008).
# What is installed is fixed by the locks and their hashes; fix the bases too, by their digests:
#   --build-arg CUDA_BUILD_IMAGE=…@sha256:… --build-arg CUDA_IMAGE=…@sha256:…
ARG CUDA_BUILD_IMAGE=nvidia/cuda:12.8.1-devel-ubuntu24.04
ARG CUDA_IMAGE=nvidia/cuda:12.8.1-cudnn-runtime-ubuntu24.04

FROM ${CUDA_BUILD_IMAGE} AS build
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --no-install-recommends --yes g++ python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY pyproject.toml README.md LICENSE ./
COPY requirements requirements
COPY scripts scripts
COPY configs configs
COPY deployments deployments
COPY serve_app serve_app
COPY serve_config.yaml ./
# Neither for the processor nor for the GPU of the machine that builds: AVX2, and the architectures
# that llama.cpp builds by default.
ARG LLAMA_CMAKE_ARGS="-DGGML_CUDA=on -DGGML_NATIVE=OFF"
# openaudio: with S1-mini's torch, for configs/gpu.yaml.
ARG LOCK=openaudio
RUN --mount=type=cache,target=/root/.cache \
    UV_LINK_MODE=copy LLAMA_CMAKE_ARGS="${LLAMA_CMAKE_ARGS}" scripts/setup.sh "${LOCK}"

FROM ${CUDA_IMAGE}
# libgomp1: llama.cpp's threads. wget: KubeRay's probes and the one below. The link: KubeRay may start
# Ray in a login shell, which has a PATH of its own.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --no-install-recommends --yes libgomp1 python3 wget \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home gemmavoice \
    && install --directory --owner=10001 --group=10001 /models /tmp/ray \
    && ln --symbolic /app/.venv/bin/ray /app/.venv/bin/serve /usr/local/bin/
COPY --from=build /app /app
COPY deploy/docker/entrypoint.sh /app/deploy/docker/
WORKDIR /app
ENV PATH=/app/.venv/bin:$PATH HF_HOME=/models PYTHONUNBUFFERED=1
USER 10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30m --retries=6 \
    CMD ["wget", "-q", "-O", "/dev/null", "http://127.0.0.1:8000/health/live"]
ENTRYPOINT ["deploy/docker/entrypoint.sh"]
CMD ["python", "-m", "serve_app", "configs/gpu.yaml", "--host", "0.0.0.0"]
