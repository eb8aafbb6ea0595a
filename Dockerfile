# The operator's image. Build it in the repository's root:  docker build -t cipher-operator:0.1.0 .
# Both stages start from the same image: the environment that is copied over points to its interpreter. The digest is of
# the index of all architectures of python:3.13-slim-trixie (3.13.15, Debian 13); another Python >= 3.11 with venv will do.
ARG PYTHON_IMAGE=docker.io/library/python:3.13-slim-trixie@sha256:7c61056e61ac89e852de05f3dc6fa51a6dd2181797bceed46aa725dd7cb2cd3b

FROM ${PYTHON_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src

# Wheels only, each checked against its hash: nothing is compiled, so neither stage needs a compiler.
COPY requirements.lock requirements-build.lock ./
RUN python3 -m venv --without-pip /opt/cipher-operator \
 && python3 -m venv /opt/build \
 && /opt/build/bin/pip --python /opt/cipher-operator/bin/python3 install --no-compile --only-binary :all: --require-hashes -r requirements.lock \
 && /opt/build/bin/pip install --only-binary :all: --require-hashes -r requirements-build.lock

# The operator is installed as a wheel: the image holds no folder called `operator`. What is never imported goes. The rest is
# compiled here, since nothing can be written where it runs: 13 MB, and a start takes half of the processor's time.
COPY pyproject.toml README.md LICENSE ./
COPY operator operator
COPY release/prune.py release/prune.py
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /opt/build/dist . \
 && /opt/build/bin/pip --python /opt/cipher-operator/bin/python3 install --no-compile --no-deps --no-index /opt/build/dist/*.whl \
 && PYTHONDONTWRITEBYTECODE=1 /opt/cipher-operator/bin/python3 release/prune.py \
 && /opt/cipher-operator/bin/python3 -m compileall -q --invalidation-mode unchecked-hash /opt/cipher-operator/lib \
 && /opt/cipher-operator/bin/cipher-operator version


FROM ${PYTHON_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="cipher-operator" \
      org.opencontainers.image.description="Kubernetes operator: PostgreSQL storage for Cipher on servers you already have" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}"
# Works with a read-only root file system; /tmp is the only place that may be written. The name stands in for an entry
# in /etc/passwd, which a numeric user has not: kopf asks for it.
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp LOGNAME=cipher-operator
COPY --from=build /opt/cipher-operator /opt/cipher-operator
WORKDIR /tmp
USER 65532:65532
EXPOSE 8080 8081
ENTRYPOINT ["/opt/cipher-operator/bin/cipher-operator"]
CMD ["run"]
