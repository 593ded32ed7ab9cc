#!/bin/sh
# Starts Redis as user redis on a read-only root file system. Replaces the image's entry point,
# which starts as root.
#   REDISCLI_AUTH or REDIS_PASSWORD_FILE    the password; redis-cli in this container uses
#                                           REDISCLI_AUTH
#   REDIS_MAXMEMORY                         below the container's memory: a rewrite needs more
set -eu
password=${REDISCLI_AUTH:-}
if [ -z "$password" ]; then
  [ -s "${REDIS_PASSWORD_FILE:-}" ] || { echo "redis: REDIS_PASSWORD_FILE (${REDIS_PASSWORD_FILE:-not set}) is missing or empty." >&2; exit 78; }
  password=$(cat "$REDIS_PASSWORD_FILE")
fi
# noeviction: a full Redis must refuse orders instead of evicting promised units. The configuration
# goes through stdin, because every user of the machine can see arguments.
exec redis-server - <<SETTINGS
dir /data
bind * -::*
requirepass "$password"
appendonly yes
appendfsync everysec
auto-aof-rewrite-min-size 256mb
maxmemory ${REDIS_MAXMEMORY:?REDIS_MAXMEMORY is not set}
maxmemory-policy noeviction
lazyfree-lazy-expire yes
hash-max-listpack-entries 64
SETTINGS
