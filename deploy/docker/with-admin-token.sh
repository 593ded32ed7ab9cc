#!/bin/sh
# Runs its arguments with ADMIN_TOKEN set. If it is not given, a token is generated once and stored
# in the volume for all API containers. A default in compose.yaml would be public.
set -eu
if [ -z "${ADMIN_TOKEN:-}${ADMIN_TOKEN_FILE:-}" ]; then
  file=/var/lib/flash-sale/admin-token
  if [ ! -s "$file" ]; then
    # Several containers may start at once: each writes its own file, and the first link wins.
    mine=$(mktemp "$file.XXXXXX")
    node -p 'crypto.randomBytes(32).toString("base64url")' >"$mine"
    ln "$mine" "$file" 2>/dev/null || true
    rm "$mine"
  fi
  export ADMIN_TOKEN_FILE="$file"
  echo "ADMIN_TOKEN is not set. Show the generated one: docker compose exec api cat $file" >&2
fi
# AUTH=header trusts X-User-ID, so it is the default only if the proxy is published on loopback.
if [ -z "${AUTH:-}" ] && [ -n "${PUBLISHED_ON:-}" ]; then
  case "$PUBLISHED_ON" in
    127.* | localhost | ::1 | '[::1]') export AUTH=header ;;
    *) echo "AUTH is not set, and HOST=$PUBLISHED_ON is open to others. Set AUTH=jwt, or AUTH=header behind a gateway that sets X-User-ID." >&2; exit 78 ;;
  esac
fi
exec "$@"
