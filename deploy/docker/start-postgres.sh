#!/bin/bash
# PostgreSQL in its container: as user postgres from the first moment, on a root file system that it cannot write to. Whatever entry point the
# image has is left out, because that one begins as root.
#   PGDATA                                          the data; its folder is the volume
#   POSTGRES_PASSWORD, or POSTGRES_PASSWORD_FILE    of the account flash_sale; looked at only as the data is made
#   POSTGRES_CONNECTIONS                            max_connections
set -euo pipefail
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  password=${POSTGRES_PASSWORD:-}
  if [ -z "$password" ]; then
    [ -s "${POSTGRES_PASSWORD_FILE:-}" ] || { echo "postgres: POSTGRES_PASSWORD_FILE (${POSTGRES_PASSWORD_FILE:-not set}) is not there or empty." >&2; exit 78; }
    password=$(cat "$POSTGRES_PASSWORD_FILE")
  fi
  # Made under another name and then renamed: one that is cut off in the middle is made again, and never taken for whole.
  fresh="$PGDATA.unfinished"
  rm -rf "$fresh"
  # The locale C.UTF-8 sorts by bytes: an index stays right when the image's C library is another one.
  initdb --pgdata="$fresh" --username=flash_sale --pwfile=<(printf '%s\n' "$password") --auth-host=scram-sha-256 --auth-local=trust \
    --encoding=UTF8 --locale=C.UTF-8
  echo 'host all all all scram-sha-256' >>"$fresh/pg_hba.conf"
  # A server of one session, that nobody else reaches.
  echo 'CREATE DATABASE flash_sale' | postgres --single -D "$fresh" postgres
  # An empty folder may be there already; one with anything in it is not ours to replace.
  if [ -e "$PGDATA" ]; then rmdir "$PGDATA"; fi
  mv "$fresh" "$PGDATA"
fi
exec postgres -D "$PGDATA" -c listen_addresses='*' -c unix_socket_directories=/tmp -c max_connections="${POSTGRES_CONNECTIONS:?POSTGRES_CONNECTIONS is not set}"
