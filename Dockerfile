# The project and what it needs, for the CPU or for CUDA:
#     docker build -t lightbox .
#     docker build -t lightbox --build-arg TORCH=cu128 .
#     docker run --rm -v "$PWD/runs:/lightbox/runs" -v "$PWD/data:/lightbox/data" lightbox trainer.max_epochs=2
#     docker run --rm --gpus all --shm-size=8g ... lightbox data=fashion_mnist model=resnet20
# CUDA's libraries come with torch; the machine needs its driver and the NVIDIA container toolkit. Loader processes hand
# images over in /dev/shm, which is small in a container: --shm-size, or data.num_workers=0.
FROM python:3.12-slim

# cpu, cu126, cu128, ...: the builds of torch that uv knows as --torch-backend
ARG TORCH=cpu

RUN apt-get update \
    && apt-get install -y --no-install-recommends git dataset-fashion-mnist \
    && rm -rf /var/lib/apt/lists/*
RUN pip install --no-cache-dir uv

WORKDIR /lightbox
# What is installed changes less often than the code: a layer of its own.
COPY pyproject.toml README.md LICENSE ./
RUN uv pip install --system --no-cache --torch-backend=${TORCH} -e .
COPY . .

# Files below runs/ and data/ belong to whoever started the container: docker run --user "$(id -u):$(id -g)"
RUN mkdir -p runs data && chmod 777 runs data
ENV PYTHONUNBUFFERED=1 MPLCONFIGDIR=/tmp/matplotlib WANDB_DIR=/lightbox/runs
ENTRYPOINT ["python", "train.py"]
