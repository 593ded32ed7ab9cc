# The two services, and the command that migrates the ledger:
#   docker build --target api -t flash-sale-api .      (worker, migrate)
# No build step: Node 24 runs the TypeScript. It does so only outside of node_modules, therefore the workspace keeps its
# shape in the image (core stays a linked folder) instead of being copied together by `pnpm deploy`.

FROM node:24-bookworm-slim AS base
WORKDIR /app
ENV NODE_ENV=production

# Manifests only: the packages below are installed again when one of these changes, not at every change of the code.
FROM base AS manifests
ENV CI=true
COPY package.json pnpm-lock.yaml pnpm-workspace.yaml ./
# The version that package.json names, without the checksum behind its "+".
RUN npm install --global "$(node -p 'require("./package.json").packageManager.split("+")[0]')"
COPY apps/api/package.json apps/api/
COPY apps/worker/package.json apps/worker/
COPY packages/core/package.json packages/core/
COPY packages/launcher/package.json packages/launcher/

# Production dependencies of one service each, as the lock file has them. Without the root's development dependencies there
# is no second Node and no embedded PostgreSQL.
FROM manifests AS api-packages
RUN pnpm install --frozen-lockfile --prod --filter '@flash-sale/api...' --config.pmOnFail=ignore

FROM manifests AS worker-packages
RUN pnpm install --frozen-lockfile --prod --filter '@flash-sale/worker...' --config.pmOnFail=ignore

# The files belong to root: a service cannot change its own code.
FROM base AS api
COPY --from=api-packages /app ./
COPY packages/core packages/core
COPY apps/api apps/api
# The one place that the service may write to; compose.yaml keeps the operator's token there when none is given.
RUN install --directory --owner=node --group=node --mode=700 /var/lib/flash-sale
USER node
# In a container the way in is the published port, so every address of the container itself is listened on.
ENV HOST=0.0.0.0 PORT=5001
EXPOSE 5001
# Ready means: this process can take orders. That the ledger or the workers are away is said by /health, and is no reason to
# take an API out of service that can go on promising units.
HEALTHCHECK --interval=5s --timeout=4s --start-period=30s --retries=3 \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.PORT}/health/ready`).then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))"]
CMD ["node", "--max-semi-space-size=16", "apps/api/src/main.ts"]

# No HEALTHCHECK: the sign of life in Redis is that of all workers together, so a sick one would hide behind the others.
# GET /health of the API names the worker when nobody gives the sign; a worker that ends is started again.
FROM base AS worker
COPY --from=worker-packages /app ./
COPY packages/core packages/core
COPY apps/worker apps/worker
USER node
CMD ["node", "--max-semi-space-size=16", "apps/worker/src/main.ts"]

FROM worker AS migrate
COPY scripts/migrate.ts scripts/
CMD ["node", "scripts/migrate.ts"]
