# The images of the system: docker build --target api -t flash-sale-api .      (worker, proxy)
#   api       the API, and the commands migrate, doctor, audit-sale, recover-orders, backup and restore
#   worker    the worker
#   proxy     one port in front of several APIs
# No build step: Node 24 runs TypeScript, but not inside node_modules. So the workspace keeps its layout in the image,
# with linked folders, and `pnpm deploy` is not used.

FROM node:24-bookworm-slim AS base
WORKDIR /app
ENV NODE_ENV=production

# Without scripts, which change more often than dependencies.
FROM base AS root-manifest
COPY package.json ./
RUN node -e 'const { scripts, ...rest } = JSON.parse(fs.readFileSync("package.json")); fs.writeFileSync("package.json", JSON.stringify(rest))'

# Manifests only, so that a change of code does not install the dependencies again.
FROM base AS manifests
ENV CI=true
COPY --from=root-manifest /app/package.json ./
COPY pnpm-lock.yaml pnpm-workspace.yaml ./
# The version in package.json, without the checksum after "+".
RUN npm install --global "$(node -p 'require("./package.json").packageManager.split("+")[0]')"
COPY apps/api/package.json apps/api/
COPY apps/worker/package.json apps/worker/
COPY packages/core/package.json packages/core/
COPY packages/ops/package.json packages/ops/
COPY packages/launcher/package.json packages/launcher/

# Production dependencies of one service each. The root's development dependencies would bring a second Node and an
# embedded PostgreSQL. Types and source maps are half of the files, and only developers need them.
FROM manifests AS api-packages
RUN pnpm install --frozen-lockfile --prod --filter '@flash-sale/api...' --config.pmOnFail=ignore \
  && find node_modules -type f \( -name '*.map' -o -name '*.d.ts' -o -name '*.d.mts' -o -name '*.d.cts' \) -delete

FROM manifests AS worker-packages
RUN pnpm install --frozen-lockfile --prod --filter '@flash-sale/worker...' --config.pmOnFail=ignore \
  && find node_modules -type f \( -name '*.map' -o -name '*.d.ts' -o -name '*.d.mts' -o -name '*.d.cts' \) -delete

# The files belong to root, so that a service cannot change its own code.
FROM base AS api
COPY --from=api-packages /app ./
# Commands import core, ops and launcher as packages of the project's root, which is not installed here.
RUN mkdir -p node_modules/@flash-sale \
  && ln -s ../../packages/core ../../packages/ops ../../packages/launcher node_modules/@flash-sale/ \
  # The only writable folder; with-admin-token.sh keeps a generated token there.
  && install --directory --owner=node --group=node --mode=700 /var/lib/flash-sale
COPY packages/core packages/core
COPY packages/ops packages/ops
COPY packages/launcher packages/launcher
COPY scripts scripts
COPY deploy/docker/with-admin-token.sh deploy/docker/
COPY apps/api apps/api
USER node
# Published ports decide who reaches a container, so it listens on all its addresses.
ENV HOST=0.0.0.0 PORT=5001
EXPOSE 5001
# Ready: this process can accept orders. It can do so without PostgreSQL and workers; /health reports those.
HEALTHCHECK --interval=5s --timeout=4s --start-period=30s --retries=3 \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.PORT}/health/ready`).then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))"]
CMD ["node", "--max-semi-space-size=16", "--heap-growing-percent=100", "apps/api/src/main.ts"]

FROM base AS worker
COPY --from=worker-packages /app ./
COPY packages/core packages/core
COPY packages/ops packages/ops
COPY apps/worker apps/worker
USER node
# Ready: this worker takes jobs and has reached Redis within 15 s. The heartbeat in Redis is of all workers together.
ENV METRICS_PORT=9100
HEALTHCHECK --interval=5s --timeout=4s --start-period=30s --retries=3 \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.METRICS_PORT}/health/ready`).then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))"]
CMD ["node", "--max-semi-space-size=16", "--heap-growing-percent=100", "apps/worker/src/main.ts"]

# Debian's HAProxy on the services' base image, so that no other image is pulled.
FROM node:24-bookworm-slim AS proxy
RUN apt-get update \
  && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends haproxy \
  && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/*
COPY deploy/docker/haproxy.cfg /etc/haproxy/haproxy.cfg
USER haproxy
ENV GATEWAY_ADDRESSES=127.0.0.1
EXPOSE 5001
# SIGUSR1: stops accepting, and exits when open requests have their replies.
STOPSIGNAL SIGUSR1
HEALTHCHECK --interval=2s --timeout=4s --start-period=30s --retries=3 \
  CMD ["node", "-e", "fetch('http://127.0.0.1:8404/health').then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))"]
CMD ["haproxy", "-W", "-db", "-f", "/etc/haproxy/haproxy.cfg"]
