# One image for both planes: `wio serve proxy` or `wio serve broker`.
FROM python:3.12-slim AS build
WORKDIR /src
COPY requirements.lock ./
RUN python -m venv /opt/wio && /opt/wio/bin/pip install --no-cache-dir --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY sigv4 sigv4
COPY quota quota
COPY proxy proxy
COPY broker broker
RUN /opt/wio/bin/pip install --no-cache-dir --no-deps --no-build-isolation .
# The hot path, compiled. The folder is the cache of the image that runs as well, and root's: nobody writes to it there.
ENV XDG_CACHE_HOME=/opt/wio/cache
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends gcc libc6-dev \
    && cd / && /opt/wio/bin/python -m proxy.compiled \
    && /opt/wio/bin/python -c "from proxy import compiled; assert compiled.use()"

FROM python:3.12-slim
RUN useradd --system --uid 10001 --create-home wio
COPY --from=build /opt/wio /opt/wio
ENV PATH=/opt/wio/bin:$PATH PYTHONUNBUFFERED=1 WIO_HOST=0.0.0.0 XDG_CACHE_HOME=/opt/wio/cache
USER wio
ENTRYPOINT ["wio"]
CMD ["serve", "proxy"]
