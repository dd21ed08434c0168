# syntax=docker/dockerfile:1
# The service on processors. From the repository's root:
#   docker build -f deploy/docker/cpu.Dockerfile -t gemmavoice:cpu .
# Packages of the distribution are its newest: its mirrors keep no others (hadolint's DL3008).
# What is installed is fixed by the locks and their hashes; fix the base too, by its digest:
#   --build-arg PYTHON_IMAGE=python:3.12-slim-bookworm@sha256:…
ARG PYTHON_IMAGE=python:3.12-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --no-install-recommends --yes g++ \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY pyproject.toml README.md LICENSE ./
COPY requirements requirements
COPY scripts scripts
COPY configs configs
COPY deployments deployments
COPY serve_app serve_app
COPY serve_config.yaml ./
# Not for the processor of the machine that builds: for any with AVX2, or any 64-bit Arm.
ARG LLAMA_CMAKE_ARGS="-DGGML_NATIVE=OFF"
ARG LOCK=runtime
RUN --mount=type=cache,target=/root/.cache \
    UV_LINK_MODE=copy LLAMA_CMAKE_ARGS="${LLAMA_CMAKE_ARGS}" scripts/setup.sh "${LOCK}"

FROM ${PYTHON_IMAGE}
# libgomp1: llama.cpp's threads. wget: KubeRay's probes and the one below. The link: KubeRay may start
# Ray in a login shell, which has a PATH of its own.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --no-install-recommends --yes libgomp1 wget \
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
HEALTHCHECK --interval=10s --timeout=5s --start-period=10m --retries=6 \
    CMD ["wget", "-q", "-O", "/dev/null", "http://127.0.0.1:8000/health/live"]
ENTRYPOINT ["deploy/docker/entrypoint.sh"]
CMD ["python", "-m", "serve_app", "serve_config.yaml", "--host", "0.0.0.0"]
