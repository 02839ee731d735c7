#!/usr/bin/env bash
# Brings this machine to another version, and back to the present one if it does not work.
#   update.sh VERSION     a commit, a tag or a branch of the repository; its images are tagged with the commit
#   update.sh --back      what the last update replaced; a second time changes nothing
#   update.sh --running   prints the commit that runs
# Exit codes: 0 it runs; 1 nothing has changed, or it was rolled back; 2 the rollback failed, too.
# Migrations are not undone: they only add (expand), and the version before works with them.
set -euo pipefail
# shellcheck source=deploy/lib.sh
. "$(dirname "$0")/lib.sh"

# What ran well last, as "COMMIT TAG"; the checkout itself may be that of an update that was cut off.
RUNNING=$STATE_DIR/running
# What the last update replaced, likewise. Its images may have another tag than the commit, as at the first boot.
BEFORE=$STATE_DIR/before

running() {
    cat "$RUNNING" 2>/dev/null || printf '%s %s\n' "$(git rev-parse HEAD)" "$(env_value IMAGE_TAG latest)"
}

resolve() {
    local name
    for name in "origin/$1" "$1"; do
        git rev-parse --quiet --verify "$name^{commit}" && return
    done
    return 1
}

# install_version COMMIT TAG: each step is that version's own.
install_version() {
    git checkout --quiet --force --detach "$1" &&
        deploy/environment.sh &&
        set_env <<<"IMAGE_TAG=$2" &&
        deploy/images.sh &&
        deploy/start.sh &&
        deploy/smoke.sh
}

# Keeps the version before, for the way back.
remove_old_images() {
    local tag
    docker image ls --format '{{.Tag}}' "$IMAGE" | while read -r tag; do
        case $tag in
            "$1" | "$2" | latest | '<none>') ;;
            *) docker image rm "$IMAGE:$tag" >/dev/null || say "$IMAGE:$tag is in use" ;;
        esac
    done
}

# change_to COMMIT TAG
change_to() {
    local before tag
    read -r before tag < <(running)
    say "from ${before:0:12} to ${1:0:12}"
    if install_version "$1" "$2"; then
        # A rollback leaves both as they are, so that two of them are one.
        if [[ ! $BACK ]]; then
            printf '%s %s\n' "$before" "$tag" >"$BEFORE"
            remove_old_images "$2" "$tag"
        fi
        printf '%s %s\n' "$1" "$2" >"$RUNNING"
        # The units are links into the checkout. Where there is no systemd there are no units.
        systemctl daemon-reload 2>/dev/null || true
        say "${1:0:12} runs"
        return
    fi
    say "${1:0:12} does not work; going back to ${before:0:12}" >&2
    if install_version "$before" "$tag"; then
        fail "rolled back: ${before:0:12} runs"
    fi
    say "the rollback to ${before:0:12} failed, too: this machine needs you" >&2
    exit 2
}

update() {
    local commit
    retry 60 git fetch --quiet --tags --force origin || fail 'the repository cannot be reached; nothing has changed'
    commit=$(resolve "$1") || fail "$1: expected a commit, a tag or a branch of the repository; nothing has changed"
    BACK='' change_to "$commit" "$commit"
}

go_back() {
    local commit tag
    [[ -e $BEFORE ]] || fail 'no update has replaced anything yet; nothing has changed'
    read -r commit tag <"$BEFORE"
    BACK=yes change_to "$commit" "$tag"
}

main() {
    [[ $# = 1 ]] || fail 'usage: update.sh VERSION | --back | --running'
    read_host
    cd "$PROJECT"
    mkdir -p "$STATE_DIR"
    if [[ $1 = --running ]]; then
        running | cut -d ' ' -f 1
        return
    fi
    exec 9>"$STATE_DIR/update.lock"
    flock --nonblock 9 || fail 'another update is at work'
    case $1 in
        --back) go_back ;;
        *) update "$1" ;;
    esac
}

# Read to its end before it runs, since the checkout replaces this file.
main "$@"
exit
