#!/bin/sh
# Redis in its container: as user redis from the first moment, on a root file system that it cannot write to. Whatever entry point the image
# has is left out, because that one begins as root.
#   REDISCLI_AUTH, or REDIS_PASSWORD_FILE   the password; also what redis-cli in this container takes
#   REDIS_MAXMEMORY                         below the memory of the container, which also has to hold a copy while the file is written anew
set -eu
password=${REDISCLI_AUTH:-}
if [ -z "$password" ]; then
  [ -s "${REDIS_PASSWORD_FILE:-}" ] || { echo "redis: REDIS_PASSWORD_FILE (${REDIS_PASSWORD_FILE:-not set}) is not there or empty." >&2; exit 78; }
  password=$(cat "$REDIS_PASSWORD_FILE")
fi
# noeviction: a full Redis must refuse, never forget a promised unit. The append-only file brings it back after a crash. By stdin, because
# arguments are seen by everybody on the machine.
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
