#!/usr/bin/env bash
# Makes stand-ins for the base images of the stack on a machine that reaches Debian's packages and no image registry:
# warren-rabbitmq, warren-runtime and warren-builder, from Debian packages and from the Rust toolchain of this machine.
# Wants root, mmdebstrap, a running Docker engine, and for the builder cargo. deploy/README.md says how to use them.
#
#   deploy/stand-ins.sh [rabbitmq] [runtime] [builder]     all three if none is named
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

base() { # base IMAGE SUITE PACKAGES: a minimal Debian
    mmdebstrap --quiet --variant=minbase --include="$3" "$2" "$folder/$1.tar"
    docker import "$folder/$1.tar" "$1:base" >/dev/null
    rm "$folder/$1.tar"
}

# As the official image: runs as its own user, data in /var/lib/rabbitmq, more settings in /etc/rabbitmq/conf.d.
rabbitmq() {
    base warren-rabbitmq trixie rabbitmq-server,bash
    docker build --quiet --tag warren-rabbitmq - <<'DOCKERFILE'
FROM warren-rabbitmq:base
RUN ln -s /usr/lib/rabbitmq/lib/rabbitmq_server-* /opt/rabbitmq && mkdir -p /etc/rabbitmq/conf.d \
    && rm -f /etc/rabbitmq/rabbitmq-env.conf
ENV PATH=/opt/rabbitmq/sbin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/var/lib/rabbitmq LANG=C.UTF-8 RABBITMQ_LOGS=-
USER rabbitmq
CMD ["rabbitmq-server"]
DOCKERFILE
}

runtime() {
    base warren-runtime bookworm ca-certificates
    docker tag warren-runtime:base warren-runtime
}

builder() {
    base warren-builder bookworm gcc,libc6-dev,ca-certificates
    mkdir -p "$folder/context/cargo"
    cp -r "$(rustc --print sysroot)" "$folder/context/toolchain"
    rm -rf "$folder/context/toolchain/share/doc"
    cargo fetch --locked --quiet
    cp -r "${CARGO_HOME:-$HOME/.cargo}/registry" "$folder/context/cargo/registry"
    docker build --quiet --tag warren-builder --file - "$folder/context" <<'DOCKERFILE'
FROM warren-builder:base
COPY toolchain /opt/rust
COPY cargo /opt/cargo
ENV PATH=/opt/rust/bin:/usr/sbin:/usr/bin:/sbin:/bin CARGO_HOME=/opt/cargo CARGO_NET_OFFLINE=true
DOCKERFILE
}

(($#)) || set -- rabbitmq runtime builder
for image in "$@"; do
    case $image in
        rabbitmq | runtime | builder) "$image" ;;
        *) echo "there is no stand-in \"$image\": rabbitmq, runtime, builder" >&2 && exit 2 ;;
    esac
done
docker image ls --filter 'reference=warren-*:latest'
