# shellcheck shell=bash
# Objects in the buckets. It is sourced, after lib.sh.

# Ubuntu's rclone does not know Oracle's storage. Its own image does, and signs with this machine's identity, which
# containers reach through the host's network only.
RCLONE_IMAGE=${RCLONE_IMAGE:-rclone/rclone:1.71.0}

# STORAGE, any remote of this machine's own rclone (or a folder), takes the place of Oracle's storage.
bucket_rclone() {
    if [[ ${STORAGE:-} ]]; then
        rclone --quiet "$@"
    else
        # One request for each object: a machine may add backups, but an upload in parts asks for the right to replace.
        docker run --rm --interactive --network host \
            --env RCLONE_CONFIG_OCI_TYPE=oracleobjectstorage \
            --env RCLONE_CONFIG_OCI_PROVIDER=instance_principal_auth \
            --env "RCLONE_CONFIG_OCI_NAMESPACE=$OBJECT_NAMESPACE" \
            --env "RCLONE_CONFIG_OCI_COMPARTMENT=$COMPARTMENT_ID" \
            --env "RCLONE_CONFIG_OCI_REGION=$REGION" \
            --env RCLONE_CONFIG_OCI_NO_CHECK_BUCKET=true \
            --env RCLONE_CONFIG_OCI_UPLOAD_CUTOFF=5Gi \
            "$RCLONE_IMAGE" --quiet "$@"
    fi
}

# object BUCKET NAME: how rclone calls it.
object() {
    printf '%s' "${STORAGE:-oci:}${STORAGE:+/}$1/$2"
}

# put_object BUCKET NAME FILE
put_object() {
    local size
    size=$(stat --format %s "$3")
    bucket_rclone rcat --size "$size" "$(object "$1" "$2")" <"$3"
}

# get_object BUCKET NAME: prints it; fails when there is none.
get_object() {
    bucket_rclone cat "$(object "$1" "$2")"
}
