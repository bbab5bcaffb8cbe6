# syntax=docker/dockerfile:1
# The wheel is built in the first stage; the second one has Python, the installed wheel, and a user without rights.

FROM python:3.13-slim AS build
WORKDIR /src
RUN apt-get update \
 && apt-get install -y --no-install-recommends gcc libc6-dev
COPY requirements.lock pyproject.toml hatch_build.py README.md LICENSE NOTICE ./
RUN python -m venv /opt/gateway \
 && /opt/gateway/bin/pip install --no-cache-dir --no-deps -r requirements.lock
COPY gateway gateway
COPY codecs codecs
RUN /opt/gateway/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation -w /tmp/wheel . \
 && /opt/gateway/bin/pip install --no-cache-dir --no-deps /tmp/wheel/*.whl \
 && /opt/gateway/bin/pip uninstall -y pip

FROM python:3.13-slim
RUN useradd --system --uid 10001 --home-dir /data --create-home gateway
COPY --from=build /opt/gateway /opt/gateway
ENV PATH=/opt/gateway/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    GATEWAY_HOST=0.0.0.0 \
    GATEWAY_PORT=8080 \
    GATEWAY_DATA_DIR=/data
WORKDIR /data
USER gateway
VOLUME /data
EXPOSE 8080
# Draining takes drain_timeout_s (30 s) and a little more: give `docker stop` at least --time 60.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
  CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ['GATEWAY_PORT'] + '/healthz', timeout=2)"]
ENTRYPOINT ["gateway", "serve"]
