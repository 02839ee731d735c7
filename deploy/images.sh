#!/usr/bin/env bash
# Sees to it that this machine has the image that .env names: pulled where there is a registry, else built here.
set -euo pipefail
# shellcheck source=deploy/lib.sh
. "$(dirname "$0")/lib.sh"

main() {
    read_host
    local image service
    image=$IMAGE:$(env_value IMAGE_TAG latest)
    # A tag is a commit and never moves; so a rollback needs no registry.
    if docker image inspect "$image" >/dev/null 2>&1; then
        say "$image is here"
    elif [[ ${IMAGE_PREFIX:-} ]]; then
        say "pulling $image"
        retry "${PULL_SECONDS:-120}" docker pull --quiet "$image"
    else
        say "building $image, since IMAGE_PREFIX names no registry"
        [[ $ROLE = api ]] && service=fastapi || service=django
        compose build "$service"
    fi
}

main
