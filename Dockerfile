# build -> runtime. The same deploy/setup.sh as on a developer's machine.
#
#   docker build -t pixembed .            (or: podman build, buildah bud)
#   docker run -p 50051:50051 -v /path/to/model:/models/default:ro pixembed
#
# PIP_CERT: a CA bundle for hosts that reach the package index through a proxy of their own.

FROM debian:bookworm-slim AS build
ARG PIP_CERT
ENV PIXEMBED_CACHE=/opt/pixembed-cache
WORKDIR /src
COPY deploy/setup.sh deploy/environment.sh deploy/install.cmake deploy/
COPY deploy/requirements deploy/requirements
RUN deploy/setup.sh build && rm -rf /var/lib/apt/lists/* /opt/pixembed-cache/downloads
COPY CMakeLists.txt CMakePresets.json ./
COPY proto proto
COPY src src
COPY api api
COPY embedded embedded
COPY server server
COPY client/cpp client/cpp
RUN cmake --preset release -DPIXEMBED_TESTS=OFF \
    && cmake --build --preset release \
    && cmake --install build/release --prefix /opt/pixembed --strip

FROM debian:bookworm-slim
COPY deploy/setup.sh deploy/environment.sh /opt/pixembed/deploy/
RUN PIXEMBED_CACHE=/tmp/pixembed-cache /opt/pixembed/deploy/setup.sh runtime \
    && rm -rf /var/lib/apt/lists/* /tmp/pixembed-cache /opt/pixembed/deploy \
    && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin pixembed \
    && mkdir --mode=1777 /run/pixembed
COPY --from=build /opt/pixembed /opt/pixembed
ENV PATH=/opt/pixembed/bin:$PATH
USER 10001:10001
EXPOSE 50051
# Every flag can be set by the environment: PIXEMBED_LISTEN, PIXEMBED_MODEL, ...
# The socket is for the health check alone: it speaks plain text and asks for no certificate, whatever
# the port does (docs/security.md). A volume, so that it can be made with --read-only too.
ENV PIXEMBED_LISTEN=0.0.0.0:50051,unix:/run/pixembed/health.sock PIXEMBED_MODEL=/models/default
VOLUME /run/pixembed
# The port, where --listen leaves the socket out.
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s CMD ["pixembed", "health", "--address=unix:/run/pixembed/health.sock,127.0.0.1:50051"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["pixembed-server"]
