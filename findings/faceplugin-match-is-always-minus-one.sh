#!/usr/bin/env bash
# `matchFeature` of the npm package faceplugin-face-recognition-js answers -1 for any two different features, and NaN for
# two equal ones, whoever is on the pictures. It subtracts the mean of both vectors from each, which leaves one vector
# and its negation; their cosine is -1. It also overwrites the two features that it is given.
#
# Seen on 2026-12-01 with faceplugin-face-recognition-js 0.0.1, Node.js 20:
#   nearly the same features: -1, opposite features: -1, unrelated features: -1, equal features: NaN
# The network in the package (model/fr_feature.onnx) is sound: whoever uses it has to compare its features by their
# cosine. Thresholds and scores that were noted with matchFeature mean nothing.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund --ignore-scripts faceplugin-face-recognition-js@0.0.1 > /dev/null
# The package says that its files are CommonJS, but they are modules: Node.js needs the other suffix.
cp node_modules/faceplugin-face-recognition-js/lib/fr_feature.js fr_feature.mjs
cat > seen.mjs <<'JS'
import { matchFeature } from "./fr_feature.mjs";
const feature = (shift) => Float64Array.from({ length: 512 }, (_, i) => Math.sin(1.7 * i + shift));
const score = (a, b) => { const value = matchFeature(a, b); return Number.isNaN(value) ? "NaN" : value.toFixed(6); };
console.log("nearly the same features:", score(feature(0), feature(0.001)));
console.log("opposite features:", score(feature(0), feature(Math.PI)));
console.log("unrelated features:", score(feature(0), Float64Array.from({ length: 512 }, (_, i) => Math.cos(i * i))));
console.log("equal features:", score(feature(0), feature(0)));
JS
node seen.mjs | tee seen
expected=$'nearly the same features: -1.000000\nopposite features: -1.000000\nunrelated features: -1.000000\nequal features: NaN'
[ "$(cat seen)" = "$expected" ] || { echo "changed: matchFeature depends on the features now"; exit 1; }
