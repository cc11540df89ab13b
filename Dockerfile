# The gateway in an image without a shell, run by a user without rights.
#
#   docker build -t sealgate .
#   docker run -p 8080:8080 -v /etc/sealgate:/etc/sealgate:ro sealgate
#
# In the configuration, listen on all of the container's addresses: server.listen "0.0.0.0:8080". Liveness and readiness
# are /healthz and /readyz on server.admin_listen; the image has nothing to ask for them with, so the orchestrator does.
#
# The instructions of the build stage stand on one line each: .ci/run carries them out without Docker.

FROM rust:1.95.0-slim-bookworm AS build
WORKDIR /src
COPY . .
ENV CARGO_PROFILE_RELEASE_STRIP=symbols
RUN scripts/install-deps.sh
RUN scripts/apt-install.sh openssl
RUN scripts/pgo.sh --locked

FROM gcr.io/distroless/cc-debian12:nonroot
LABEL org.opencontainers.image.title="sealgate" \
      org.opencontainers.image.description="An S3 encryption gateway" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /src/target/pgo/release/sealgate /usr/local/bin/sealgate
COPY --from=build /src/LICENSE /usr/share/doc/sealgate/LICENSE
# glibc keeps memory for each thread otherwise: docs/PERFORMANCE.md.
ENV MALLOC_ARENA_MAX=1
USER 65532:65532
EXPOSE 8080 9090
ENTRYPOINT ["/usr/local/bin/sealgate"]
CMD ["serve", "--config", "/etc/sealgate/sealgate.yaml"]
