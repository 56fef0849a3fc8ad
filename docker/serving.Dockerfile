# TF Serving with metrics and a health check; models are mounted at /models.
#   docker build -f docker/serving.Dockerfile -t mtl-tf-serving .
#   docker run --rm -p 8500:8500 -v "$PWD/models:/models:ro" -e MODEL_NAME=shop mtl-tf-serving
# Keep its version at the TensorFlow that exports the models.
FROM tensorflow/serving:2.21.0

COPY docker/monitoring.config /etc/tf_serving/monitoring.config

# oneDNN's kernels are slower for products as small as a ranking model's (serving/runtime/environment.py).
ENV TF_ENABLE_ONEDNN_OPTS=0
USER 10001

# Healthy means that a version is AVAILABLE: an open port alone says nothing about the model.
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8501 && printf 'GET /v1/models/%s HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n' \"$MODEL_NAME\" >&3 && grep -q AVAILABLE <&3"]

# Arguments are added to the image's own: ports 8500 (gRPC), 8501 (REST), MODEL_NAME.
CMD ["--monitoring_config_file=/etc/tf_serving/monitoring.config"]
