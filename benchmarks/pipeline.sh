#!/usr/bin/env bash
# What `kubernaut ship` is measured against: the pipeline as one writes it by hand.
#
# It does less: nothing is pinned by digest, recorded, explained or rolled back. To be no easier to beat than need be, it gives Helm the
# package that lies here instead of fetching it from the registry.
#
# Runs in a folder with examples/ and charts/. REGISTRY, NAMESPACE and VERSION come from the environment; PLAIN_HTTP, too, if the
# registry has no TLS.
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
