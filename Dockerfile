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

FROM python:3.12-slim
RUN useradd --system --uid 10001 --create-home wio
COPY --from=build /opt/wio /opt/wio
ENV PATH=/opt/wio/bin:$PATH PYTHONUNBUFFERED=1 WIO_HOST=0.0.0.0
USER wio
ENTRYPOINT ["wio"]
CMD ["serve", "proxy"]
