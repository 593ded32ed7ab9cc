#!/bin/bash
# Starts PostgreSQL as user postgres on a read-only root file system. Replaces the image's entry
# point, which starts as root.
#   PGDATA                                          the data, in the volume
#   POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE     for the account flash_sale; read only by the
#                                                   first start
#   POSTGRES_CONNECTIONS                            max_connections
set -euo pipefail
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  password=${POSTGRES_PASSWORD:-}
  if [ -z "$password" ]; then
    [ -s "${POSTGRES_PASSWORD_FILE:-}" ] || { echo "postgres: POSTGRES_PASSWORD_FILE (${POSTGRES_PASSWORD_FILE:-not set}) is missing or empty." >&2; exit 78; }
    password=$(cat "$POSTGRES_PASSWORD_FILE")
  fi
  # Atomic: initdb writes to a temporary folder, so that an interrupted one is repeated.
  fresh="$PGDATA.unfinished"
  rm -rf "$fresh"
  # C.UTF-8 sorts by bytes, so that indexes stay valid when the image's C library changes.
  initdb --pgdata="$fresh" --username=flash_sale --pwfile=<(printf '%s\n' "$password") --auth-host=scram-sha-256 --auth-local=trust \
    --encoding=UTF8 --locale=C.UTF-8
  echo 'host all all all scram-sha-256' >>"$fresh/pg_hba.conf"
  # Single-user mode: it accepts no connections.
  echo 'CREATE DATABASE flash_sale' | postgres --single -D "$fresh" postgres
  # This replaces an empty folder, never one with data.
  if [ -e "$PGDATA" ]; then rmdir "$PGDATA"; fi
  mv "$fresh" "$PGDATA"
fi
exec postgres -D "$PGDATA" -c listen_addresses='*' -c unix_socket_directories=/tmp -c max_connections="${POSTGRES_CONNECTIONS:?POSTGRES_CONNECTIONS is not set}"
