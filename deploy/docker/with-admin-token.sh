#!/bin/sh
# Runs its arguments with the operator's token. A token that everybody can read in compose.yaml would let everybody change the stock, and one that
# must be set before the first look around would stop that look. So an unset one is made up once and kept in the volume, for all API containers.
set -eu
if [ -z "${ADMIN_TOKEN:-}${ADMIN_TOKEN_FILE:-}" ]; then
  file=/var/lib/flash-sale/admin-token
  if [ ! -s "$file" ]; then
    # Several containers may start at once: each writes one whole, and the first to give it the name decides.
    mine=$(mktemp "$file.XXXXXX")
    node -p 'crypto.randomBytes(32).toString("base64url")' >"$mine"
    ln "$mine" "$file" 2>/dev/null || true
    rm "$mine"
  fi
  export ADMIN_TOKEN_FILE="$file"
  echo "ADMIN_TOKEN is not set. The one in use: docker compose exec api cat $file" >&2
fi
# Whoever is believed by his X-User-ID must come from this machine; who publishes it further has to choose.
if [ -z "${AUTH:-}" ]; then
  case "${PUBLISHED_ON:-}" in
    127.* | localhost | ::1 | '[::1]') export AUTH=header ;;
  esac
fi
exec "$@"
