#!/usr/bin/env bash
# Brings both machines to another version over SSH, the admin's first, asks both from outside, and takes both back to what
# they ran before if anything fails.
#   rollout.sh VERSION   a commit, a tag or a branch of the repository
# Environment:
#   DEPLOY_API_HOST, DEPLOY_ADMIN_HOST   addresses of the machines, as HOST or HOST:PORT
#   DEPLOY_KNOWN_HOSTS                   a file with their host keys, as ssh-keyscan prints them
#   DEPLOY_USER                          who logs in (ubuntu)
#   DEPLOY_SSH_KEY                       a file with his key; without it, ssh chooses
#   DEPLOY_API_URL, DEPLOY_ADMIN_URL     as clients call them: https://api.example.com
#   DEPLOY_ASK_SECONDS                   how long an answer from outside may take to be right (60)
#   DEPLOY_UPDATE                        the command on the machines (sudo /opt/rate-limiter/deploy/update.sh)
# Exit codes: 0 both run VERSION; 1 both run what they ran before; 2 at least one needs you.
set -euo pipefail

say() {
    printf 'rollout: %s\n' "$*"
}

fail() {
    say "$*" >&2
    exit "${STATUS:-1}"
}

# on HOST[:PORT] ARGUMENT: runs the update command there, without a terminal or a question.
on() {
    local host=${1%:*} port=22
    [[ $1 != *:* ]] || port=${1##*:}
    ssh -o BatchMode=yes -o StrictHostKeyChecking=yes -o UserKnownHostsFile="$DEPLOY_KNOWN_HOSTS" \
        -o ConnectTimeout=20 -o ServerAliveInterval=15 -o ServerAliveCountMax=8 \
        ${DEPLOY_SSH_KEY:+-o IdentitiesOnly=yes -i "$DEPLOY_SSH_KEY"} -p "$port" \
        "${DEPLOY_USER:-ubuntu}@$host" "${DEPLOY_UPDATE:-sudo /opt/rate-limiter/deploy/update.sh} $2" </dev/null
}

# ask URL STATUS [TEXT]: whether this is what clients get, soon.
ask() {
    local body='' deadline=$((SECONDS + ${DEPLOY_ASK_SECONDS:-60}))
    while ((SECONDS < deadline)); do
        body=$(curl --silent --max-time 10 --write-out '\n%{http_code}' "$1") || true
        [[ ${body##*$'\n'} != "$2" || $body != *"${3:-}"* ]] || return 0
        sleep 2
    done
    say "$1: expected $2${3:+ and $3}, got ${body##*$'\n'}" >&2
    return 1
}

all_well() {
    ask "${DEPLOY_API_URL%/}/health" 200 '"status":"ok"' && ask "${DEPLOY_API_URL%/}/api/check" 401 &&
        ask "${DEPLOY_ADMIN_URL%/}/admin/login/" 200
}

# roll_back ROLE HOST COMMIT: the machine remembers what it ran, its tag, too. 2 is the exit code of one that needs somebody.
roll_back() {
    say "taking the $1 back to ${3:0:12}" >&2
    on "$2" --back || STATUS=2 fail "the $1 did not go back to ${3:0:12}: it needs you"
}

main() {
    local each version=${1:-}
    [[ $# = 1 && $version =~ ^[A-Za-z0-9][A-Za-z0-9._/-]*$ ]] || fail 'usage: rollout.sh VERSION'
    for each in DEPLOY_API_HOST DEPLOY_ADMIN_HOST DEPLOY_KNOWN_HOSTS DEPLOY_API_URL DEPLOY_ADMIN_URL; do
        [[ ${!each:-} ]] || fail "$each is not set"
    done
    local admin_before api_before status=0
    admin_before=$(on "$DEPLOY_ADMIN_HOST" --running) || fail 'the admin cannot be reached; nothing has changed'
    api_before=$(on "$DEPLOY_API_HOST" --running) || fail 'the API cannot be reached; nothing has changed'

    # First the one that migrates: the API that still runs works with the new tables.
    say "the admin: from ${admin_before:0:12} to $version"
    on "$DEPLOY_ADMIN_HOST" "$version" || status=$?
    case $status in
        0) ;;
        1) fail "the admin stayed at ${admin_before:0:12}, and the API was not touched" ;;
        *) STATUS=2 fail "the admin may be neither here nor there, and the API was not touched: it needs you" ;;
    esac
    say "the API: from ${api_before:0:12} to $version"
    on "$DEPLOY_API_HOST" "$version" || status=$?
    if ((status == 0)); then
        say 'asking both from outside'
        all_well && say "both run $version" && return
        roll_back API "$DEPLOY_API_HOST" "$api_before"
    fi
    roll_back admin "$DEPLOY_ADMIN_HOST" "$admin_before"
    ((status < 2)) || STATUS=2 fail 'the API may be neither here nor there: it needs you'
    fail "both run what they ran before"
}

main "$@"
