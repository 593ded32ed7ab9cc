#!/bin/sh
# scripts/check_redis.sh: the doctor's checks of Redis. Of REDIS_URL if it is set, else of the
# containers if they run, else of `npm start`. Exit code 0: Redis answers, and nothing is wrong.
set -eu
cd "$(dirname "$0")/.."
case ${1:-} in -h | --help) sed -n '2,3s/^# //p' "$0"; exit ;; esac
doctor='npm run --silent doctor'
if [ -z "${REDIS_URL:-}" ] && docker compose ps --status running --services 2>/dev/null | grep -qx api; then
  doctor='docker compose exec -T api node scripts/doctor.ts'
fi
# Its exit code is of all checks.
$doctor | awk '
  /^  [^ ]/ { isShown = $2 ~ /^(REDIS_|SETTINGS)/; if (isShown && $1 != "ok" && $1 != "WARNING") bad = 1 }
  isShown && NF > 0 && !/checks:/ { print }
  $1 == "ok" && $2 == "REDIS_ANSWERS" { answers = 1 }
  END { exit bad || !answers }'
