#!/usr/bin/env bash
# The hand-written pipeline that `kubernaut ship` is compared with.
#
# It does less: it pins no digests, records nothing, explains no failure and does not roll back. To keep it fast, Helm deploys the
# local package instead of the one in the registry.
#
# Run it in a folder with examples/ and charts/, with REGISTRY, NAMESPACE and VERSION in the environment, and PLAIN_HTTP for a
# registry without TLS.
set -euo pipefail
: "${REGISTRY:?}" "${NAMESPACE:?}" "${VERSION:?}"

packages=$(mktemp -d)
trap 'rm -rf "$packages"' EXIT

docker build --quiet --tag "$REGISTRY/hello-world:$VERSION" examples/hello-world
docker push --quiet "$REGISTRY/hello-world:$VERSION"
helm package charts/hello-world --version "$VERSION" --app-version "$VERSION" --destination "$packages"
helm push ${PLAIN_HTTP:+--plain-http} "$packages/hello-world-$VERSION.tgz" "oci://$REGISTRY/charts"
helm upgrade --install hello-world "$packages/hello-world-$VERSION.tgz" --namespace "$NAMESPACE" --create-namespace \
  --set "image.repository=$REGISTRY/hello-world,image.tag=$VERSION" --wait --timeout 5m
