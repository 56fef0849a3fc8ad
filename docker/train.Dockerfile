# Preprocessing, training and export.
#   docker build -f docker/train.Dockerfile -t mtl-tf .
#   docker run --rm -v "$PWD:/work" mtl-tf train --help
FROM python:3.11.13-slim-bookworm

WORKDIR /opt/mtl_tf
COPY setup.py pyproject.toml constraints.txt README.md ./
COPY mtl_tf mtl_tf
COPY pipelines pipelines
COPY serving serving
# TensorFlow imports twice as fast once byte-compiled.
RUN pip install --no-cache-dir --constraint constraints.txt . \
    && { python -m compileall -q /usr/local/lib/python3.11/site-packages > /dev/null || true; }

ENV TF_CPP_MIN_LOG_LEVEL=2
RUN useradd --uid 1000 --create-home mtl
USER mtl
WORKDIR /work
ENTRYPOINT ["mtl-tf"]
CMD ["--help"]
