# One image with all of Warren's programs: warren, producer, worker, query-service.
# The base images can be replaced, by mirrors for example: --build-arg BUILDER=… --build-arg RUNTIME=…
ARG BUILDER=rust:1.95.0-slim-bookworm
ARG RUNTIME=debian:bookworm-slim

FROM ${BUILDER} AS builder
# "dist" is optimised across crates; "release" is built in less time.
ARG PROFILE=dist
WORKDIR /build
COPY . .
RUN cargo build --profile ${PROFILE} --locked -p warren -p warren-producer -p warren-worker -p warren-query-service \
    && mkdir /out \
    && cd target/${PROFILE} && cp warren producer worker query-service /out/

FROM ${RUNTIME}
# For amqps://, links and object stores: the certificate authorities. A volume takes over owner and mode of the folder that it
# is mounted on for the first time.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /var/lib/warren --shell /usr/sbin/nologin warren \
    && install --directory --owner=warren --group=warren --mode=750 /var/lib/warren /var/lib/warren-snapshots
COPY --from=builder /out/ /usr/local/bin/
# By number, so that an orchestrator can see that it is not root.
USER 10001
ENV WARREN__DATA_DIR=/var/lib/warren
CMD ["warren", "--help"]
LABEL org.opencontainers.image.title="Warren" \
      org.opencontainers.image.description="Document search that lives in RabbitMQ" \
      org.opencontainers.image.source="https://github.com/warren-search/warren" \
      org.opencontainers.image.licenses="Apache-2.0"
