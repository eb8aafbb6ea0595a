# The operator's image. Build it in the repository's root:  docker build -t cipher-operator:0.1.0 .
# Both stages start from the same image: the environment that is copied over points to its interpreter.
ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src

# Wheels only, each checked against its hash: nothing is compiled, so neither stage needs a compiler.
COPY requirements.lock requirements-build.lock ./
RUN python -m venv --without-pip /opt/cipher-operator \
 && python -m pip --python /opt/cipher-operator/bin/python install --only-binary :all: --require-hashes -r requirements.lock \
 && python -m venv /opt/build \
 && /opt/build/bin/pip install --only-binary :all: --require-hashes -r requirements-build.lock

# The operator is installed as a wheel: the image holds no folder called `operator`.
COPY pyproject.toml README.md LICENSE ./
COPY operator operator
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /opt/build/dist . \
 && python -m pip --python /opt/cipher-operator/bin/python install --no-deps --no-index /opt/build/dist/*.whl \
 && /opt/cipher-operator/bin/cipher-operator version


FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="cipher-operator" \
      org.opencontainers.image.description="Kubernetes operator: PostgreSQL storage for Cipher on servers you already have" \
      org.opencontainers.image.licenses="Apache-2.0"
# Works with a read-only root file system; /tmp is the only place that may be written. The name stands in for an entry
# in /etc/passwd, which a numeric user has not: kopf asks for it.
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp LOGNAME=cipher-operator
COPY --from=build /opt/cipher-operator /opt/cipher-operator
WORKDIR /tmp
USER 65532:65532
EXPOSE 8080 8081
ENTRYPOINT ["/opt/cipher-operator/bin/cipher-operator"]
CMD ["run"]
